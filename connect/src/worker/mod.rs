//! The worker: it runs source and sink tasks, and is the only one that writes records, offsets and dead letters.
//!
//! | file | owns | pure |
//! |---|---|---|
//! | `task.rs` | handles, status and counters of tasks, retries | |
//! | `source_task.rs` | source to topic | |
//! | `source_records.rs` | rows of a source as records: key, partition, headers | yes |
//! | `sink_task.rs` | topic to sink | |
//! | `sink_under_way.rs` | what a sink was given and has not answered | |
//! | `sink_letters.rs` | the dead letters of a sink | |
//! | `sink_batches.rs` | records as batches, deletes and bad records | yes |
//! | `offsets.rs` | the `connect-offsets` topic's keys and values | yes |
//! | `transactional_writer.rs` | records and positions in one transaction | |
//! | `origin.rs` | the `ottla.source` header | yes |
//! | `dead_letter.rs` | dead letters and their headers | yes |
//! | `cluster.rs` | everything that is asked of the Kafka cluster | |

pub(crate) mod cluster;
mod dead_letter;
pub(crate) mod offsets;
mod origin;
mod sink_batches;
mod sink_letters;
mod sink_task;
mod sink_under_way;
mod source_records;
mod source_task;
mod task;
mod transactional_writer;

#[cfg(test)]
pub(crate) mod memory_cluster;
#[cfg(test)]
mod tests;

pub(crate) use sink_task::group_of;
pub use sink_task::{SinkTask, SinkTaskConfig};
pub use source_task::{SourceTask, SourceTaskConfig, TransactionBoundary};
pub use task::{RetryPolicy, TaskHandle, TaskState, TaskStatus};
pub use transactional_writer::{TransactionalWriter, may_pass};

/// What to do with a record that a stage cannot handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnError {
    /// Write it to this topic with its place and the reason, and go on.
    DeadLetter {
        /// The dead-letter topic; made with one partition when it does not exist.
        topic: String,
    },
    /// Stop the task with an error.
    Stop,
}
