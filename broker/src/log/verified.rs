//! Which bytes of a segment were found whole since they came off the disk.
//!
//! A batch is checked when it arrives, but a disk may give back other bytes than it was given. To check every batch each
//! time it is served would cost more than serving it; to check none would serve what is damaged. So this remembers, and
//! knows nothing of how batches are checked:
//!
//! ```text
//!   0                                    own from               size
//!   |---- found by the start: unknown ------|--- written since ---|
//!        |== checked ==|    |== checked ==|
//! ```
//! What this process wrote stays in the page cache as it came, until a read finds that it is not there. From then on
//! nothing is known but what is checked anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::segment::unpoison;

/// Damaged records of a segment that are told of one by one.
const TOLD_MAX: usize = 100;

/// What is known of one segment.
#[derive(Debug)]
pub(super) struct Verified {
    own_from: AtomicU32,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Where whole batches that were checked begin and end; apart from each other.
    spans: BTreeMap<u32, u32>,
    /// Relative offsets of damaged records that were asked for.
    damaged: BTreeSet<u32>,
}

impl Verified {
    /// Of a file that has so many bytes already.
    pub fn new(size: u32) -> Verified {
        Verified { own_from: AtomicU32::new(size), known: Mutex::default() }
    }

    /// The file was cut here: what comes is our own.
    pub fn cut(&self, size: u32) {
        self.own_from.fetch_min(size, Ordering::Relaxed);
    }

    /// Whether all of it was checked, or written by us.
    pub fn covers(&self, begin: u32, end: u32) -> bool {
        let own_from = self.own_from.load(Ordering::Relaxed);
        let end = end.min(own_from);
        if begin >= end {
            return true;
        }
        let known = unpoison(self.known.lock());
        known.spans.range(..=begin).next_back().is_some_and(|(_, checked_to)| *checked_to >= end)
    }

    /// These are whole batches and were checked.
    pub fn add(&self, begin: u32, end: u32) {
        let mut known = unpoison(self.known.lock());
        let (mut begin, mut end) = (begin, end);
        while let Some((from, to)) = known.spans.range(..=end).next_back().map(|(from, to)| (*from, *to))
            && to >= begin
        {
            known.spans.remove(&from);
            (begin, end) = (begin.min(from), end.max(to));
        }
        known.spans.insert(begin, end);
    }

    /// Pages were dropped from the cache, nobody knows which. `size` is that of the segment.
    pub fn forget(&self, size: u32) {
        self.own_from.fetch_max(size, Ordering::Relaxed);
        unpoison(self.known.lock()).spans.clear();
    }

    /// Whether a damaged record, by its relative offset, was not asked for before.
    pub fn is_news(&self, damaged: u32) -> bool {
        let mut known = unpoison(self.known.lock());
        known.damaged.len() < TOLD_MAX && known.damaged.insert(damaged)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_covered_was_checked_byte_by_byte(
            own_from in 0u32..60,
            added in proptest::collection::vec((0u32..50, 1u32..12), 0..12),
            asked in proptest::collection::vec((0u32..60, 1u32..20), 1..12),
        ) {
            let verified = Verified::new(own_from);
            let mut bytes = [false; 100];
            bytes[own_from as usize..].fill(true);
            for (begin, length) in added {
                verified.add(begin, begin + length);
                bytes[begin as usize..(begin + length) as usize].fill(true);
            }
            for (begin, length) in asked {
                let all = bytes[begin as usize..(begin + length) as usize].iter().all(|byte| *byte);
                prop_assert_eq!(verified.covers(begin, begin + length), all);
            }
        }
    }

    #[test]
    fn own_bytes_are_known_until_pages_were_dropped_and_later_ones_again() {
        let verified = Verified::new(100);
        assert!(verified.covers(100, 300));
        verified.add(0, 100);
        assert!(verified.covers(50, 300));
        verified.forget(300);
        assert!(!verified.covers(0, 100) && !verified.covers(100, 300));
        assert!(verified.covers(300, 400));
    }
}
