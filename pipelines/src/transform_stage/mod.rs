//! The worker of a transform that calls a plugin: topics in, a topic out, exactly once.
//!
//! ```text
//!   input partitions ─► batches ─► plugin ─► output topic ──────────────────────────────┐
//!                                    └─ refused ─► halves, down to the record at fault   ├─ one transaction
//!                                                   └─► dead-letter topic ──────────────┤
//!   next offsets ─► the stage's consumer group ─────────────────────────────────────────┘
//! ```
//!
//! Exactly once: outputs, dead letters and the input's offsets are one transaction. Whoever starts becomes the only one that
//! can commit for the stage, what was left open is aborted, and only then the offsets are read: they stand for all that was
//! written and nothing else.
//!
//! | file | owns | pure |
//! |---|---|---|
//! | `apply.rs` | a batch through the plugin, and the search for the record at fault | yes |
//! | `status.rs` | the handle, its orders and counters | |
//! | `cluster.rs` | what is asked of the cluster | |
//! | `kafka.rs` | the same through the client | |
//! | `task.rs` | the order of effects | |

mod apply;
mod cluster;
mod kafka;
mod status;
mod task;

#[cfg(test)]
mod memory_cluster;
#[cfg(test)]
mod tests;

use crate::resolve::ErrorPolicy;

pub use kafka::KafkaStageCluster;
pub use status::{StageHandle, StageState, StageStatus};
pub use task::start;

/// What a stage is called, reads and writes.
#[derive(Clone, Debug)]
pub struct StageConfig {
    /// Unique in the cluster. Names the consumer group that keeps the offsets, and the transactions.
    pub id: String,
    pub inputs: Vec<String>,
    pub output: String,
    pub on_error: ErrorPolicy,
}

/// Why a stage could not go on. What was committed stays, and the next start goes on from there.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StageError {
    #[error("{what}: {error}")]
    Client { what: &'static str, error: ottla_client::ClientError },
    #[error("{place}: {reason}; the policy is to stop (on_error: stop)")]
    BadRecord { place: String, reason: String },
    #[error("the plugin cannot run: {0}")]
    Plugin(String),
    #[error("the topic {0} does not exist")]
    NoTopic(String),
    #[error("it was torn down")]
    TornDown,
}

impl StageError {
    fn client(what: &'static str) -> impl Fn(ottla_client::ClientError) -> StageError {
        move |error| StageError::Client { what, error }
    }

    fn is_retriable(&self) -> bool {
        match self {
            StageError::Client { error, .. } => ottla_connect::worker::may_pass(error),
            StageError::BadRecord { .. }
            | StageError::Plugin(_)
            | StageError::NoTopic(_)
            | StageError::TornDown => false,
        }
    }
}
