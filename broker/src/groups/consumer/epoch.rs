//! Epochs of groups and members.

use std::fmt;

/// Counts the changes of a group. A member's epoch is the one of the target assignment that it has reached.
///
/// ```text
///   -2          -1         0        1 …
///   left, will  left       joins    reached
///   be back
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub i32);

impl Epoch {
    /// A member joins.
    pub const JOIN: Epoch = Epoch(0);
    /// A member leaves. Also stands for "none before" and, with offsets, for "no member".
    pub const LEAVE: Epoch = Epoch(-1);
    /// A static member leaves and will be back.
    pub const LEAVE_STATIC: Epoch = Epoch(-2);

    /// The one after this.
    pub fn next(self) -> Epoch {
        Epoch(self.0.saturating_add(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
