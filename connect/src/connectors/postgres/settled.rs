//! Up to which row nobody can still write: pure.
//!
//! A number is taken from a sequence when a row is inserted, and the row is seen when its transaction commits, so a row with
//! a lower number may be seen after one with a higher. Reading past it would leave it out for ever.
//!
//! ```text
//!   A  takes 5 ────────────────────────── commits      a reader that sees 6 at ▲ and goes on after it
//!   B       takes 6 ── commits                          never sees 5
//!                               ▲
//! ```
//! Who inserts holds a lock on the table from before it takes a number until it has committed. So: look up the last row,
//! then who holds such a lock. When none of these does any more, nothing can come at or below that row.

use std::collections::BTreeSet;

/// What is known of a table, with `K` the key by which its rows are ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settled<K> {
    /// Up to here nobody can still write.
    upto: Option<K>,
    /// The last row when it was looked up, and who could still write before it then.
    next: Option<(K, BTreeSet<String>)>,
}

impl<K: Ord + Clone> Settled<K> {
    pub(super) fn new() -> Self {
        Self { upto: None, next: None }
    }

    /// Takes in what a look-up has found: the last row, then who writes. Gives the key up to which rows may be read.
    pub(super) fn look(&mut self, last: Option<K>, writers: BTreeSet<String>) -> Option<K> {
        if let Some((key, were_writing)) = self.next.take() {
            match were_writing.is_disjoint(&writers) {
                true => self.raise(key),
                false => self.next = Some((key, were_writing)),
            }
        }
        match last {
            Some(last) if writers.is_empty() => {
                self.raise(last);
                self.next = None;
            }
            Some(last) if self.next.is_none() => self.next = Some((last, writers)),
            _ => {}
        }
        self.upto.clone()
    }

    fn raise(&mut self, key: K) {
        if self.upto.as_ref().is_none_or(|upto| *upto < key) {
            self.upto = Some(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn writers(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn rows_are_read_when_all_who_could_write_before_them_have_ended() {
        let mut settled = Settled::new();
        assert_eq!(settled.look(None, writers(&[])), None);
        assert_eq!(settled.look(Some(3), writers(&[])), Some(3));
        assert_eq!(settled.look(Some(6), writers(&["a"])), Some(3));
        // One that came later holds nothing up.
        assert_eq!(settled.look(Some(9), writers(&["b"])), Some(6));
        assert_eq!(settled.look(Some(9), writers(&["b", "c"])), Some(6));
        assert_eq!(settled.look(Some(9), writers(&[])), Some(9));
    }

    proptest! {
        /// Transactions take numbers and commit in any order; a reader that looks in between misses none.
        #[test]
        fn no_row_is_ever_left_out(steps in proptest::collection::vec((0_usize..3, 0_usize..4), 0..80)) {
            let mut settled = Settled::new();
            let mut open: Vec<Option<(u32, Vec<u64>)>> = vec![None; 4];
            let (mut next, mut begun) = (1_u64, 0_u32);
            let mut committed: BTreeSet<u64> = BTreeSet::new();
            let mut read: Vec<u64> = Vec::new();
            let mut position = 0;
            let finish = (0..4).map(|slot| (1, slot)).chain([(2, 0), (2, 0)]);
            for (step, slot) in steps.into_iter().chain(finish) {
                match step {
                    0 => {
                        let transaction = open[slot].get_or_insert_with(|| { begun += 1; (begun, Vec::new()) });
                        transaction.1.push(next);
                        next += 1;
                    }
                    1 => if let Some((_, rows)) = open[slot].take() { committed.extend(rows) },
                    _ => {
                        let last = committed.last().copied();
                        let writing = open.iter().flatten().map(|(name, _)| name.to_string()).collect();
                        if let Some(upto) = settled.look(last, writing).filter(|upto| *upto > position) {
                            read.extend(committed.range(position + 1..=upto).copied());
                            position = upto;
                        }
                    }
                }
            }
            prop_assert_eq!(read, committed.into_iter().collect::<Vec<_>>());
        }
    }
}
