//! Streaming operators, one file each. Pure: Arrow batches in, Arrow batches and state deltas out.
//!
//! | file | operator |
//! |---|---|
//! | `filter.rs` | rows for which an expression is true |
//! | `project.rs` | one column per expression |
//! | `tumble.rs` | the window of a row, as a scalar function |
//! | `watermark.rs` | event time: rows without it, and how far it has come |
//! | `aggregate.rs` | one row per group, pre-aggregated per epoch and merged into state |
//! | `chain.rs` | the operators of one query, one after the other |

mod aggregate;
mod chain;
mod filter;
mod project;
mod rows;
pub(crate) mod tumble;
mod watermark;

pub use chain::{Chain, ChainEpoch, EpochResult};
pub use rows::{Rejected, Rows};
pub use watermark::{EventClock, Watermark};
