//! The rows of one operator by key, ordered.
//!
//! `apply` is the only mutator, for a running query as for one that recovers: an epoch is computed against the store as
//! it stood at the last commit, and gives deltas that are applied when the changelog has them.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::expiry::{Expiries, ExpiryAt};

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
    /// Of the operators whose rows say when they can be forgotten.
    expiries: BTreeMap<u16, ExpiryAt>,
    /// What an operator has that has never kept anything.
    empty: StateStore,
}

impl States {
    /// Nothing is remembered yet. `expiries` are those of operators whose rows say when they can be forgotten.
    pub fn new(expiries: BTreeMap<u16, ExpiryAt>) -> Self {
        States { expiries, ..States::default() }
    }

    /// The state of an operator.
    pub fn of(&self, operator: u16) -> &StateStore {
        self.stores.get(&operator).unwrap_or(&self.empty)
    }

    /// Takes in one change.
    pub fn apply(&mut self, change: OperatorDelta) {
        let OperatorDelta { operator, delta } = change;
        let store = self.stores.entry(operator);
        store.or_insert_with(|| StateStore::new(self.expiries.get(&operator).copied())).apply(delta);
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
#[derive(Debug, Clone, Default)]
pub struct StateStore {
    rows: BTreeMap<Bytes, Bytes>,
    /// Bytes of keys and rows held, without the map's own.
    size_bytes: usize,
    expiry_at: Option<ExpiryAt>,
    expiries: Expiries,
}

impl PartialEq for StateStore {
    /// Expiries follow from the rows.
    fn eq(&self, other: &Self) -> bool {
        (&self.rows, self.expiry_at) == (&other.rows, other.expiry_at)
    }
}

impl Eq for StateStore {}

impl StateStore {
    /// A store without rows, which may say where they have their expiry.
    pub fn new(expiry_at: Option<ExpiryAt>) -> Self {
        StateStore { expiry_at, ..StateStore::default() }
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

    /// The keys of rows whose expiry the watermark has passed.
    pub fn expired(&self, watermark: i64) -> impl Iterator<Item = &Bytes> {
        let is_over = move |key: &Bytes| {
            let expiry = self.rows.get(key).and_then(|row| self.expiry_of(key, row));
            expiry.is_some_and(|expiry| expiry <= watermark)
        };
        let passed = self.expiries.passed(watermark);
        passed.filter(move |(key, may_have_gone)| !may_have_gone || is_over(key)).map(|(key, _)| key)
    }

    fn expiry_of(&self, key: &[u8], row: &[u8]) -> Option<i64> {
        self.expiry_at?.of(key, row)
    }

    /// Takes in one change. Applying it twice is applying it once.
    pub fn apply(&mut self, delta: StateDelta) {
        let StateDelta { key, value } = delta;
        let expires = self.expiry_at.is_some().then(|| key.clone());
        let new = value.as_ref().and_then(|row| self.expiry_of(&key, row));
        let key_length = key.len();
        let old = match value {
            Some(value) => {
                self.size_bytes += key_length + value.len();
                self.rows.insert(key, value)
            }
            None => self.rows.remove(&key),
        };
        if let Some(old) = &old {
            self.size_bytes -= key_length + old.len();
        }
        if let Some(key) = expires {
            let old = old.and_then(|row| self.expiry_of(&key, &row));
            self.expiry_changed(key, old, new);
        }
    }

    fn expiry_changed(&mut self, key: Bytes, old: Option<i64>, new: Option<i64>) {
        if old == new {
            return;
        }
        if let Some(expiry) = new {
            self.expiries.add(expiry, key);
        }
        if let Some(expiry) = old {
            self.expiries.remove(expiry);
        }
        if self.expiries.is_stale() {
            self.expiries = self.expiries_of_rows();
        }
    }

    fn expiries_of_rows(&self) -> Expiries {
        let mut expiries = Expiries::default();
        for (key, row) in &self.rows {
            if let Some(expiry) = self.expiry_of(key, row) {
                expiries.add(expiry, key.clone());
            }
        }
        expiries
    }

    /// What must hold between any two calls; for tests and the simulator.
    ///
    /// # Panics
    /// When it does not.
    pub fn invariants(&self) {
        let held: usize = self.rows.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert_eq!(held, self.size_bytes, "the size is the sum of keys and rows");
        let expiries = self.rows.iter().filter_map(|(key, row)| self.expiry_of(key, row));
        let times: Vec<i64> = expiries.collect();
        assert_eq!(times.len(), self.expiries.live(), "every row that expires is counted");
        if let Some(last) = times.iter().max() {
            let found: std::collections::BTreeSet<&Bytes> = self.expired(*last).collect();
            assert_eq!(found.len(), times.len(), "every row that expires is found");
        }
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
            let (mut once, mut twice) = (StateStore::new(None), StateStore::new(None));
            for delta in deltas {
                once.apply(delta.clone());
                twice.apply(delta.clone());
                twice.apply(delta);
                once.invariants();
            }
            prop_assert_eq!(once, twice);
        }
    }

    proptest! {
        #[test]
        fn what_expires_is_found_by_its_time_whatever_came_and_went(
            changes in proptest::collection::vec((0..6u8, proptest::option::of((0..2i64, proptest::option::of(0..9i64)))), 0..200),
            watermark in 0..9i64,
        ) {
            // A row of key 1 has another number before its expiry.
            let mut store = StateStore::new(Some(ExpiryAt([8, 16])));
            let mut expected: BTreeMap<Bytes, Option<i64>> = BTreeMap::new();
            for (number, row) in changes {
                let key = Bytes::copy_from_slice(&[number % 2, number / 2]);
                let numbers = row.map(|(weight, expiry)| match number % 2 {
                    0 => [vec![weight], expiry.into_iter().collect()].concat(),
                    _ => [vec![weight, 0], expiry.into_iter().collect()].concat(),
                });
                let value = numbers.map(|numbers| {
                    numbers.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<u8>>().into()
                });
                store.apply(StateDelta { key: key.clone(), value });
                match row {
                    Some((_, expiry)) => expected.insert(key, expiry),
                    None => expected.remove(&key),
                };
                store.invariants();
            }
            let over = |(key, expiry): (&Bytes, &Option<i64>)| expiry.filter(|at| *at <= watermark).map(|_| key.clone());
            let expected: std::collections::BTreeSet<Bytes> = expected.iter().filter_map(over).collect();
            prop_assert_eq!(store.expired(watermark).cloned().collect::<std::collections::BTreeSet<_>>(), expected);
        }
    }

    #[test]
    fn keys_of_rows_that_have_gone_do_not_pile_up() {
        let mut store = StateStore::new(Some(ExpiryAt([0, 0])));
        let row = |time: i64| Some(Bytes::copy_from_slice(&time.to_be_bytes()));
        store.apply(StateDelta { key: Bytes::from_static(b"\0stays"), value: row(7) });
        for number in 0..10_000u32 {
            let key = Bytes::from([&[0], number.to_be_bytes().as_slice()].concat());
            store.apply(StateDelta { key: key.clone(), value: row(7) });
            store.apply(StateDelta { key, value: None });
            assert!(store.expiries.passed(7).count() <= 2 * 2 + 1_024);
        }
        assert_eq!(store.expired(7).count(), 1);
        store.invariants();
    }
}
