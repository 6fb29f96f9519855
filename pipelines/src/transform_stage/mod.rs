//! The worker of a transform that calls a plugin: topics in, a topic out, exactly once.
//!
//! ```text
//!   input partitions ─► batches ─► plugin ─► records with a position ─► output topic
//!                                    └─ refused ─► halves, down to the record at fault ─► dead-letter topic
//!   when all of it is acknowledged: next offsets and the output's ends ─► the stage's consumer group
//! ```
//!
//! Exactly once without transactions: what a record becomes depends on that record alone, so every output has
//! a position that is the same in every run, (offset, number among the record's outputs). It stands in a
//! header, and it grows along each output partition, because an idempotent producer writes a partition in
//! order and without gaps. After a crash the tail of the output tells the highest position there, and
//! everything up to it is not written again.
//!
//! | file | owns | pure |
//! |---|---|---|
//! | `origin.rs` | the header that carries the position | yes |
//! | `ledger.rs` | what is written already, and what to commit | yes |
//! | `apply.rs` | a batch through the plugin, and the search for the record at fault | yes |
//! | `status.rs` | the handle, its orders and counters | |
//! | `cluster.rs` | what is asked of the cluster, and the same through the client | |
//! | `task.rs` | the order of effects | |

mod apply;
mod cluster;
mod kafka;
mod ledger;
mod origin;
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
    /// Unique in the cluster. Names the consumer group that keeps the offsets, and stands in each record's
    /// header.
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
            StageError::Client { error, .. } => error.is_retriable(),
            StageError::BadRecord { .. }
            | StageError::Plugin(_)
            | StageError::NoTopic(_)
            | StageError::TornDown => false,
        }
    }
}
