//! What a query remembers: rows by key in memory, and their records in the changelog.
//!
//! | file | owns |
//! |---|---|
//! | `codec.rs` | values as bytes whose order is the values' order |
//! | `store.rs` | the rows of one operator, by key |
//! | `expiry.rs` | which of them can be forgotten when |
//! | `overlay.rs` | the same with the changes of the epoch under way |
//! | `sorting.rs` | keys in order, many at a time |
//! | `changelog.rs` | the records of the changelog topic |
//!
//! Pure: nothing here knows topics or tasks.

pub mod changelog;
pub mod codec;
mod expiry;
mod overlay;
mod sorting;
mod store;

pub use expiry::ExpiryAt;
pub use overlay::Overlay;
pub use sorting::sort_by_bytes;
pub use store::{OperatorDelta, StateDelta, StateStore, States};
