//! Ottla's Kafka client: [`Producer`], [`Consumer`] and [`Admin`] over TCP or in one process with a broker.
//!
//! Everything above the broker talks to it through this crate and the Kafka protocol alone, so that a foreign Kafka
//! cluster does as well. It must not know `ottla-broker`.
//!
//! ```no_run
//! use ottla_client::{Client, ClientConfig, ProducerConfig, Record};
//!
//! # async fn example() -> Result<(), ottla_client::ClientError> {
//! let config = ClientConfig { bootstrap_servers: vec!["localhost:9092".into()], ..Default::default() };
//! let client = Client::connect(config).await?;
//! let producer = client.producer(ProducerConfig::default()).await?;
//! let delivery = producer.send("flights", None, Record::new("JFK", "{}")).await?;
//! println!("at offset {}", delivery.await?.offset);
//! producer.close().await?;
//! # Ok(())
//! # }
//! ```

mod admin;
mod assignment;
mod backoff;
pub mod bench;
mod client;
mod cluster;
mod config;
mod connection;
mod consumer;
mod coordinator;
mod error;
mod group_offsets;
mod list_offsets;
mod metadata;
mod node_connection;
pub mod placement;
mod pool;
mod producer;
mod record;
pub mod security;
mod topic_partition;
mod transport;
mod versions;

pub use admin::{
    ACL_ANY, AclEntry, Admin, BrokerDescription, ClusterDescription, ConfigEntry, ConfigResource,
    ConfigSource, CreatedTopic, GroupDescription, GroupListing, GroupMember, LogDirDescription, NewTopic,
    ProducerState, QuorumDescription, QuorumReplica, Reassignment, ReplicaDescription,
    TransactionDescription, TransactionFilter, TransactionListing,
};
pub use assignment::Assignor;
pub use client::Client;
pub use config::ClientConfig;
pub use consumer::{Consumer, ConsumerConfig, FetchedPartition, IsolationLevel, OFFSET_STORED, OffsetReset};
pub use error::ClientError;
pub use group_offsets::{CommittedOffset, GroupMetadata};
pub use list_offsets::{OFFSET_EARLIEST, OFFSET_LATEST, OffsetAtTime};
pub use metadata::{PartitionDescription, TopicDescription};
pub use node_connection::NodeConnection;
pub use ottla_protocol::records::{Compression, Header};
pub use ottla_protocol::{ErrorCode, Uuid};
pub use producer::{Acks, Delivery, Producer, ProducerConfig, murmur2, partition_of_key};
pub use record::{ConsumerRecord, Record, RecordMetadata};
pub use topic_partition::TopicPartition;
pub use transport::{FrameConnection, TcpTransport, Transport};
