//! The broker: partition logs, controller, groups, and the server that speaks Kafka.

pub mod ids;
pub mod log;
