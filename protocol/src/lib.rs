//! Kafka wire protocol and record batches: bytes in, bytes out.
pub mod records;
