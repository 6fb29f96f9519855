//! The broker: partition logs, controller, groups, and the server that speaks Kafka.

mod active_controller;
mod broker;
mod broker_session;
pub mod controller;
pub mod coordinator;
mod group_topics;
pub mod groups;
pub mod ids;
mod internal_topic;
pub mod log;
pub mod machine;
mod markers;
pub mod metrics;
mod monitor;
mod other_brokers;
pub mod partition;
mod producer_id_source;
pub mod quorum;
pub mod quotas;
#[cfg(test)]
mod random;
pub mod replica;
pub mod replication;
pub mod security;
pub mod server;
pub mod transactions;

pub use broker::{Broker, StartError};
pub use monitor::{Monitor, Problem};
pub use server::{BrokerConfig, Roles, SettingError};
