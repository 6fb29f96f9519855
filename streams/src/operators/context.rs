//! What an operator knows of the epoch besides its rows and its state.

use super::rows::Rejected;
use super::watermark::Watermark;

/// The epoch that an operator runs in.
pub(super) struct Context<'a> {
    /// The watermark before the epoch: what it has passed is closed, and rows for it are late.
    pub(super) before: Watermark,
    /// The watermark after the epoch: what it has passed is closed when the epoch ends.
    pub(super) now: Watermark,
    /// Takes rows that go to the dead letters.
    pub(super) rejected: &'a mut Vec<Rejected>,
}
