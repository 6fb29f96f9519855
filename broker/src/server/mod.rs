//! The server: sockets, frames, and which handler answers which API.
//!
//! A request goes `listener` → `connection` (frames in, replies out in request order) → `dispatch` (versions,
//! decoding) → `handlers/kNN_name.rs` → partitions, controller or group coordinator.
//!
//! Handling has two stages, so that one connection can have many requests under way: calling a handler does what
//! fixes the order (a produce request's batches enter their partitions' queues), and the future it gives does the
//! rest (waits for the disk, for data, for a coordinator) and makes the reply.

mod access;
mod cluster;
mod cluster_settings;
mod config;
mod connection;
mod context;
mod data_settings;
mod dispatch;
mod endpoint;
mod fetch_sessions;
pub(crate) mod forwarding;
mod frames;
mod handlers;
mod in_process;
mod lane;
mod leader_throttle;
mod limits;
mod listener;
mod meter;
mod own_settings;
mod peer;
mod replica_selector;
mod reply;
mod security_settings;
mod send;
mod settings;
mod transaction_verifier;
mod transport;
mod visitor;

pub use config::{BrokerConfig, ConsumerGroupSettings, Roles};
pub(crate) use connection::RequestMemory;
pub use context::Context;
pub use endpoint::Endpoint;
pub(crate) use fetch_sessions::FetchSessions;
pub(crate) use frames::FrameReader;
pub use in_process::InProcess;
pub(crate) use limits::ConnectionLimits;
pub(crate) use listener::{Listener, keep_certificates};
pub use replica_selector::ReplicaSelector;
pub use security_settings::{ListenerConfig, SaslConfig, TokensConfig};
pub use settings::SettingError;
pub use transaction_verifier::TransactionVerifier;
pub(crate) use visitor::{Duplex, Entrance, Visitor};

pub use dispatch::SERVED;
