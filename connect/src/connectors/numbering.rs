//! Positions for the records of a source that has none of its own: a count, with a little of each record's content.
//!
//! ```text
//!   bits   63 … 24   how many records there were before, and this one
//!          23 … 0    of the record's content
//! ```
//! After a crash the records behind the last committed position are read again, and those that have the same place and the
//! same content as then are known to be written. When the outside has changed meanwhile they differ in one of the two, and a
//! record may be written twice, but is not left out.

use crate::fingerprint::fingerprint_bits;

const CONTENT_BITS: u32 = 24;

/// The position of the record after the one at `previous` (0 before the first).
pub(super) fn next_position(previous: u64, content: &[u8]) -> u64 {
    let count = (previous >> CONTENT_BITS) + 1;
    let bits = fingerprint_bits([content]);
    let content = (bits ^ (bits >> CONTENT_BITS) ^ (bits >> (2 * CONTENT_BITS))) & ((1 << CONTENT_BITS) - 1);
    count << CONTENT_BITS | content
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_grow_and_tell_other_contents_apart() {
        let first = next_position(0, b"a");
        assert!(first > 0 && next_position(first, b"a") > first && next_position(first, b"b") > first);
        assert_eq!(first, next_position(0, b"a"));
        assert_ne!(first, next_position(0, b"b"));
        assert_eq!(first >> CONTENT_BITS, 1);
        assert_eq!(next_position(first, b"") >> CONTENT_BITS, 2);
    }
}
