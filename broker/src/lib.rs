//! The broker: partition logs, controller, groups, and the server that speaks Kafka.

pub mod controller;
pub mod ids;
pub mod log;
pub mod partition;
pub mod replica;
