//! The broker: partition logs, controller, groups, and the server that speaks Kafka.

mod broker;
pub mod controller;
pub mod coordinator;
mod group_topics;
pub mod groups;
pub mod ids;
pub mod log;
pub mod machine;
pub mod metrics;
mod monitor;
mod offsets_log;
pub mod partition;
pub mod replica;
pub mod security;
pub mod server;

pub use broker::{Broker, StartError};
pub use monitor::{Monitor, Problem};
pub use server::{BrokerConfig, SettingError};
