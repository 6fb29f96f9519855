//! What a query remembers: rows by key in memory, and their records in the changelog.
//!
//! | file | owns |
//! |---|---|
//! | `codec.rs` | values as bytes whose order is the values' order |
//! | `store.rs` | the rows of one operator, by key |
//! | `overlay.rs` | the same with the changes of the epoch under way |
//! | `changelog.rs` | the records of the changelog topic |
//!
//! Pure: nothing here knows topics or tasks.

pub mod changelog;
pub mod codec;
mod overlay;
mod store;

pub use overlay::Overlay;
pub use store::{OperatorDelta, StateDelta, StateStore, States};
