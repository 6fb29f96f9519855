//! Streaming operators, one file each. Pure: changes of rows in, changes of rows and of state out.
//!
//! A change is a row with a weight: +1 adds it, -1 takes it back. An operator gets all changes of an epoch at once, so
//! their order inside the epoch never matters.
//!
//! | file | operator |
//! |---|---|
//! | `filter.rs` | rows for which an expression is true |
//! | `project.rs` | one column per expression |
//! | `tumble.rs`, `hop.rs` | the windows of a row, as scalar functions |
//! | `session.rs` | windows that end with a pause |
//! | `unnest.rs` | one row per element of a list |
//! | `table.rs` | a table's records as changes of its rows |
//! | `aggregate/` | one row per group |
//! | `join.rs` | pairs of rows |
//! | `top_n.rs` | the first rows of each partition |
//! | `consolidate.rs` | what is left of the changes of a keyed result |
//! | `watermark.rs` | event time: rows without it, and how far it has come |
//! | `dataflow.rs` | the operators of one query, each after its inputs |

mod aggregate;
mod consolidate;
mod context;
mod dataflow;
mod evaluate;
mod filter;
pub(crate) mod hop;
mod join;
mod project;
mod rows;
mod session;
mod state_keys;
mod table;
mod top_n;
pub(crate) mod tumble;
mod unnest;
mod watermark;

pub use consolidate::{KeyedChanges, consolidate, net_changes};
pub use dataflow::{Dataflow, DataflowEpoch, EpochResult};
pub use rows::{Rejected, Rows};
pub use watermark::{EventClock, Watermark};
