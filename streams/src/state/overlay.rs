//! The state of one operator as an epoch changes it: the rows of the last commit under the changes since.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::iter::Peekable;
use std::ops::Bound;

use bytes::Bytes;

use super::store::{StateDelta, StateStore};

/// A store and changes to it. Reading sees the changes; the store itself stays as it was.
#[derive(Debug)]
pub struct Overlay<'a> {
    base: &'a StateStore,
    changes: BTreeMap<Bytes, Change<'a>>,
}

/// What a key has had at the last commit, and has now.
#[derive(Debug)]
struct Change<'a> {
    before: Option<&'a Bytes>,
    now: Option<Bytes>,
}

impl<'a> Overlay<'a> {
    /// No changes yet.
    pub fn new(base: &'a StateStore) -> Self {
        Overlay { base, changes: BTreeMap::new() }
    }

    /// The state as of the last commit.
    pub fn base(&self) -> &'a StateStore {
        self.base
    }

    /// The row that a key has now.
    pub fn get(&self, key: &[u8]) -> Option<&Bytes> {
        match self.changes.get(key) {
            Some(change) => change.now.as_ref(),
            None => self.base.get(key),
        }
    }

    /// Gives a key a row, or takes it away.
    pub fn put(&mut self, key: Bytes, row: Option<Bytes>) {
        self.update(key, |_| row);
    }

    /// Gives a key the row that `change` makes of the one it has.
    pub fn update(&mut self, key: Bytes, change: impl FnOnce(Option<&Bytes>) -> Option<Bytes>) {
        match self.changes.entry(key) {
            Entry::Occupied(mut entry) => {
                let now = change(entry.get().now.as_ref());
                entry.get_mut().now = now;
            }
            Entry::Vacant(entry) => {
                let before = self.base.get(entry.key());
                entry.insert(Change { before, now: change(before) });
            }
        }
    }

    /// The rows whose keys begin with `prefix`, by growing key.
    pub fn prefix<'b>(&'b self, prefix: &[u8]) -> impl Iterator<Item = (&'b Bytes, &'b Bytes)> + use<'a, 'b> {
        self.range(&(Bound::Included(prefix.to_vec()), after_prefix(prefix)))
    }

    /// The same by falling key.
    pub fn prefix_back<'b>(
        &'b self,
        prefix: &[u8],
    ) -> impl Iterator<Item = (&'b Bytes, &'b Bytes)> + use<'a, 'b> {
        let bounds = (Bound::Included(prefix.to_vec()), after_prefix(prefix));
        let bounds = as_slices(&bounds);
        merge(self.base.range(bounds).rev(), self.changes.range::<[u8], _>(bounds).rev(), |left, right| {
            right.cmp(left)
        })
    }

    /// The rows whose keys begin with `prefix` and are less than `prefix` followed by `end`.
    pub fn prefix_below<'b>(
        &'b self,
        prefix: &[u8],
        end: &[u8],
    ) -> impl Iterator<Item = (&'b Bytes, &'b Bytes)> + use<'a, 'b> {
        self.range(&(Bound::Included(prefix.to_vec()), Bound::Excluded([prefix, end].concat())))
    }

    fn range<'b>(
        &'b self,
        bounds: &(Bound<Vec<u8>>, Bound<Vec<u8>>),
    ) -> impl Iterator<Item = (&'b Bytes, &'b Bytes)> + use<'a, 'b> {
        let bounds = as_slices(bounds);
        merge(self.base.range(bounds), self.changes.range::<[u8], _>(bounds), Bytes::cmp)
    }

    /// What is different from the last commit, by growing key.
    pub fn into_deltas(self) -> Vec<StateDelta> {
        let changes = self.changes.into_iter().filter(|(_, change)| change.before != change.now.as_ref());
        changes.map(|(key, change)| StateDelta { key, value: change.now }).collect()
    }
}

/// The least key that is greater than all that begin with `prefix`.
pub(super) fn after_prefix(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Bound::Excluded(end);
        }
    }
    Bound::Unbounded
}

fn as_slices(bounds: &(Bound<Vec<u8>>, Bound<Vec<u8>>)) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (bounds.0.as_ref().map(Vec::as_slice), bounds.1.as_ref().map(Vec::as_slice))
}

/// Old rows under changes, both in the order of `compare`.
fn merge<'b>(
    old: impl Iterator<Item = (&'b Bytes, &'b Bytes)>,
    changes: impl Iterator<Item = (&'b Bytes, &'b Change<'b>)>,
    compare: fn(&Bytes, &Bytes) -> Ordering,
) -> impl Iterator<Item = (&'b Bytes, &'b Bytes)> {
    Merge { old: old.peekable(), changes: changes.peekable(), compare }
}

struct Merge<A: Iterator, B: Iterator> {
    old: Peekable<A>,
    changes: Peekable<B>,
    compare: fn(&Bytes, &Bytes) -> Ordering,
}

impl<'b, A, B> Iterator for Merge<A, B>
where
    A: Iterator<Item = (&'b Bytes, &'b Bytes)>,
    B: Iterator<Item = (&'b Bytes, &'b Change<'b>)>,
{
    type Item = (&'b Bytes, &'b Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (self.old.peek(), self.changes.peek()) {
                (Some((old, _)), Some((new, _))) => (self.compare)(old, new),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return None,
            };
            if order == Ordering::Less {
                return self.old.next();
            }
            if order == Ordering::Equal {
                self.old.next();
            }
            if let Some((key, Change { now: Some(row), .. })) = self.changes.next() {
                return Some((key, row));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(byte: u8) -> Bytes {
        Bytes::copy_from_slice(&[byte / 8, byte % 8])
    }

    proptest! {
        #[test]
        fn reads_as_a_store_with_the_changes_applied(
            old in proptest::collection::btree_map(0..32u8, any::<u8>(), 0..20),
            changes in proptest::collection::vec((0..32u8, proptest::option::of(any::<u8>())), 0..20),
            prefix in 0..4u8,
        ) {
            let row = |value: u8| Bytes::copy_from_slice(&[value]);
            let mut base = StateStore::new(None);
            for (number, value) in &old {
                base.apply(StateDelta { key: key(*number), value: Some(row(*value)) });
            }
            let mut overlay = Overlay::new(&base);
            let mut expected = base.clone();
            for (number, value) in changes {
                overlay.put(key(number), value.map(row));
                expected.apply(StateDelta { key: key(number), value: value.map(row) });
            }
            let within: Vec<(&Bytes, &Bytes)> = expected.iter().filter(|(key, _)| key[0] == prefix).collect();
            prop_assert_eq!(overlay.prefix(&[prefix]).collect::<Vec<_>>(), within.clone());
            prop_assert_eq!(overlay.prefix_back(&[prefix]).collect::<Vec<_>>(), within.iter().rev().copied().collect::<Vec<_>>());
            prop_assert_eq!(overlay.prefix(&[]).count(), expected.len());
            let below: Vec<_> = within.into_iter().filter(|(key, _)| key[1] < 4).collect();
            prop_assert_eq!(overlay.prefix_below(&[prefix], &[4]).collect::<Vec<_>>(), below);
            let mut applied = base.clone();
            for delta in overlay.into_deltas() {
                applied.apply(delta);
            }
            prop_assert_eq!(applied, expected);
        }
    }

    #[test]
    fn the_end_of_a_prefix_of_greatest_bytes_is_the_end_of_all() {
        assert_eq!(after_prefix(&[1, 0xFF]), Bound::Excluded(vec![2]));
        assert_eq!(after_prefix(&[0xFF]), Bound::Unbounded);
        assert_eq!(after_prefix(&[]), Bound::Unbounded);
    }
}
