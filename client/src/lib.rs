//! Kafka client: producer, consumer, admin, over TCP or in process.
