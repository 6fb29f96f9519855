//! Which connectors there are and what they shall do: Kafka Connect's herder, for one worker.
//!
//! Properties and target states are records of `connect-configs`; what is in the topic is what runs, also after a restart.
//!
//! | file | owns | pure |
//! |---|---|---|
//! | `definition.rs` | what properties mean | yes |
//! | `records.rs` | the records of `connect-configs` | yes |
//! | `status.rs` | the records of `connect-status` | yes |
//! | `describe.rs` | plugins, and properties with what is wrong about them | yes |
//! | `store.rs` | reading and writing the topics | |
//! | `connector.rs` | one connector: its tasks, in line with what it shall do | |
//! | `plugin_uses.rs` | which connectors call which installed plugin | |
//! | `herder.rs` | all of them, one change of a connector after the other | |
//! | `offsets.rs` | reading and setting the offsets of connectors | |
//! | `rest.rs` | Kafka Connect's REST API | |

mod connector;
mod definition;
mod describe;
#[allow(clippy::module_inception)]
mod herder;
mod offsets;
mod plugin_uses;
mod records;
mod rest;
mod status;
mod store;

#[cfg(test)]
mod tests;

pub use connector::{ConnectorStatus, TaskReport};
pub use definition::Properties;
pub use herder::{Herder, HerderError};
pub use plugin_uses::PluginUsers;
pub(crate) use records::TOPIC as CONFIGS_TOPIC;
pub use records::TargetState;
pub(crate) use status::TOPIC as STATUS_TOPIC;
