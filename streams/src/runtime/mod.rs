//! Running queries: exactly once, an epoch a transaction.
//!
//! A query's changelog `<query>-changelog` (one partition, compacted) has its progress and state. Per epoch:
//!
//! ```text
//! 1  cut         how much of the input it takes
//! 2  compute     decode ─▶ operators ─▶ encode, against the state at the last commit
//! 3  commit      outputs, dead letters, state deltas and Commit ─▶ their topics, in one transaction
//! 4  apply       only now the state in memory changes
//! ```
//!
//! Readers of committed records see an epoch whole or not at all, and so does recovery, which applies what the changelog
//! has. The transactional id `ottla-query-<query>` fences an instance that another one has replaced.
//!
//! | file | owns | pure |
//! |---|---|---|
//! | `machine.rs` | progress and state, and what the changelog gets of an epoch | yes |
//! | `input.rs` | fetched records, and how much of them an epoch takes | yes |
//! | `epoch.rs` | one epoch from record bytes to record bytes | yes |
//! | `table_keys.rs` | the keys by which a table's rows are deleted | yes |
//! | `dead_letter.rs` | the headers of rejected records | yes |
//! | `driver.rs` | the order of effects | no |
//! | `log.rs`, `kafka.rs`, `kafka_input.rs` | the topics of a query, and the same through the client | no |
//! | `listener.rs` | a query whose changes go to a listener | no |
//! | `stages.rs` | where a query's time goes | no |
//! | `query.rs` | starting a query, and the handle to it | no |

mod dead_letter;
mod driver;
mod epoch;
mod error;
mod input;
mod kafka;
mod kafka_input;
mod listener;
mod log;
mod machine;
mod query;
mod stages;
mod status;
mod table_keys;
pub(crate) mod topics;

pub use driver::EpochPace;
pub use epoch::{EpochOutputs, EpochRunner, OutputRecord, Target};
pub use error::QueryError;
pub use input::{EpochInput, EpochLimits, FetchedInput, InputBuffer, InputRecord};
pub use listener::Changes;
pub use log::{EpochRecords, QueryLog, RawChangelogRecord};
pub use machine::Machine;
pub use query::{Query, QueryConfig, QueryHandle};
pub use stages::{Stage, StageTimes};
pub use status::{QueryPhase, QueryStatus};

#[cfg(test)]
mod simulation;
