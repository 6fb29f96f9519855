//! The rows of one operator by key, ordered.
//!
//! `apply` is the only mutator, for a running query as for one that recovers: an epoch is computed against the store as
//! it stood at the last commit, and gives deltas that are applied when the changelog has them.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

/// One change of state: the row that a key has now, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDelta {
    /// The key, in the layout of [`super::codec`].
    pub key: Bytes,
    /// The row, in the operator's layout; `None` forgets the key.
    pub value: Option<Bytes>,
}

/// A change of the state of one operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorDelta {
    /// The operator, by its place in the plan.
    pub operator: u16,
    /// The change.
    pub delta: StateDelta,
}

/// The state of all operators of a query.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct States {
    stores: BTreeMap<u16, StateStore>,
    /// What an operator has that has never kept anything.
    empty: StateStore,
}

impl States {
    /// The state of an operator.
    pub fn of(&self, operator: u16) -> &StateStore {
        self.stores.get(&operator).unwrap_or(&self.empty)
    }

    /// Takes in one change.
    pub fn apply(&mut self, change: OperatorDelta) {
        self.stores.entry(change.operator).or_default().apply(change.delta);
    }

    /// The number of keys of all operators.
    pub fn len(&self) -> usize {
        self.stores.values().map(StateStore::len).sum()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.stores.values().all(StateStore::is_empty)
    }

    /// Bytes of keys and rows held.
    pub fn size_bytes(&self) -> usize {
        self.stores.values().map(StateStore::size_bytes).sum()
    }

    /// What must hold between any two calls; for tests and the simulator.
    ///
    /// # Panics
    /// When it does not.
    pub fn invariants(&self) {
        self.stores.values().for_each(StateStore::invariants);
        assert!(self.empty.is_empty(), "nothing is kept for an operator without state");
    }
}

/// Rows by key, in memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StateStore {
    rows: BTreeMap<Bytes, Bytes>,
    /// Bytes of keys and rows held, without the map's own.
    size_bytes: usize,
}

impl StateStore {
    /// A store without rows.
    pub fn new() -> Self {
        StateStore::default()
    }

    /// The row of a key.
    pub fn get(&self, key: &[u8]) -> Option<&Bytes> {
        self.rows.get(key)
    }

    /// The rows whose keys lie between these bounds, in the order of the keys.
    pub fn range(
        &self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
    ) -> std::collections::btree_map::Range<'_, Bytes, Bytes> {
        self.rows.range::<[u8], _>(bounds)
    }

    /// The rows whose keys begin with `prefix`, in the order of the keys.
    pub fn prefix(&self, prefix: &[u8]) -> std::collections::btree_map::Range<'_, Bytes, Bytes> {
        let end = super::overlay::after_prefix(prefix);
        self.rows.range::<[u8], _>((Bound::Included(prefix), end.as_ref().map(Vec::as_slice)))
    }

    /// All rows in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.rows.iter()
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes of keys and rows held.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Takes in one change. Applying it twice is applying it once.
    pub fn apply(&mut self, delta: StateDelta) {
        let key_length = delta.key.len();
        let old = match delta.value {
            Some(value) => {
                self.size_bytes += key_length + value.len();
                self.rows.insert(delta.key, value)
            }
            None => self.rows.remove(&delta.key),
        };
        if let Some(old) = old {
            self.size_bytes -= key_length + old.len();
        }
    }

    /// What must hold between any two calls; for tests and the simulator.
    ///
    /// # Panics
    /// When it does not.
    pub fn invariants(&self) {
        let held: usize = self.rows.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert_eq!(held, self.size_bytes, "the size is the sum of keys and rows");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn deltas_applied_twice_leave_what_they_leave_once(changes in proptest::collection::vec((any::<u8>(), proptest::option::of(any::<[u8; 3]>())), 0..50)) {
            let deltas = changes.iter().map(|(key, value)| StateDelta {
                key: Bytes::copy_from_slice(&[*key % 8]),
                value: value.map(|value| Bytes::copy_from_slice(&value)),
            });
            let (mut once, mut twice) = (StateStore::new(), StateStore::new());
            for delta in deltas {
                once.apply(delta.clone());
                twice.apply(delta.clone());
                twice.apply(delta);
                once.invariants();
            }
            prop_assert_eq!(once, twice);
        }
    }
}
