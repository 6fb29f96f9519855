//! Running queries: exactly once, by epochs that are fixed before their first effect.
//!
//! A query's changelog `<query>-changelog` (one partition) is its write-ahead log. Per epoch:
//!
//! ```text
//! 1  Intent{epoch, input ends}   ─▶ changelog     now the epoch is fixed: same input, same answer, whoever runs it
//! 2  compute                                      decode ─▶ operators ─▶ encode, against the state at the last commit
//! 3  outputs, dead letters       ─▶ their topics  each with a header ottla.epoch = <query>/<epoch>/<sequence>
//! 4  state deltas, Commit        ─▶ changelog     only now the state in memory changes
//! ```
//!
//! Recovery applies the changelog up to its last commit. If an intent follows, exactly that epoch is run again, and the
//! outputs whose epoch and sequence number are already in the topics are left out. This needs no transactions, so it
//! holds on any Kafka cluster; it needs that only one instance of a query runs, which the offsets of the changelog
//! betray if it is not so.
//!
//! | file | owns | pure |
//! |---|---|---|
//! | `machine.rs` | progress and state: what may follow what in the changelog | yes |
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
pub use epoch::{EPOCH_HEADER, EpochOutputs, EpochRunner, OutputRecord, Target, epoch_of};
pub use error::QueryError;
pub use input::{EpochInput, EpochLimits, FetchedInput, InputBuffer, InputRecord};
pub use listener::Changes;
pub use log::{QueryLog, RawChangelogRecord, Sink};
pub use machine::Machine;
pub use query::{Query, QueryConfig, QueryHandle};
pub use stages::{Stage, StageTimes};
pub use status::{QueryPhase, QueryStatus};

#[cfg(test)]
mod simulation;
