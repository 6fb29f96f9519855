//! Which rows of an operator can be forgotten when. Made of the rows, so that no changelog has to keep it.

use std::collections::BTreeMap;

use bytes::Bytes;

/// Where a row has the time after which it is not needed, in eight bytes that end it: by the first byte of its key, which
/// is 0 or 1. A row that ends before is needed for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpiryAt(pub [usize; 2]);

impl ExpiryAt {
    /// The time in milliseconds after which the watermark has no use for a row, if there is one.
    pub fn of(self, key: &[u8], row: &[u8]) -> Option<i64> {
        let at = self.0.get(usize::from(*key.first()?))?;
        row.get(*at..)?.try_into().ok().map(i64::from_be_bytes)
    }
}

/// The keys of rows by when they can be forgotten.
#[derive(Debug, Clone, Default)]
pub(super) struct Expiries {
    by_time: BTreeMap<i64, Expiring>,
    /// Keys in all lists, also of rows that are gone.
    listed: usize,
    /// Rows that are there and have an expiry.
    live: usize,
}

#[derive(Debug, Clone, Default)]
struct Expiring {
    /// Each row that is there has its key here once at least; others have gone.
    keys: Vec<Bytes>,
    live: usize,
}

impl Expiries {
    /// A row that was not there is.
    pub(super) fn add(&mut self, expiry: i64, key: Bytes) {
        let expiring = self.by_time.entry(expiry).or_default();
        expiring.keys.push(key);
        expiring.live += 1;
        self.listed += 1;
        self.live += 1;
    }

    /// A row that was there is not any more. Its key may stay in the list while others of the same time are there.
    pub(super) fn remove(&mut self, expiry: i64) {
        self.live -= 1;
        if let Some(expiring) = self.by_time.get_mut(&expiry) {
            expiring.live -= 1;
            if expiring.live == 0 {
                self.listed -= expiring.keys.len();
                self.by_time.remove(&expiry);
            }
        }
    }

    /// Whether most of what is listed has gone, so that the lists should be made anew.
    pub(super) fn is_stale(&self) -> bool {
        self.listed > 2 * self.live + 1_024
    }

    /// The keys of rows whose time the watermark has passed, and whether the row may have gone.
    pub(super) fn passed(&self, watermark: i64) -> impl Iterator<Item = (&Bytes, bool)> {
        self.by_time.range(..=watermark).flat_map(|(_, expiring)| {
            let some_have_gone = expiring.keys.len() > expiring.live;
            expiring.keys.iter().map(move |key| (key, some_have_gone))
        })
    }

    /// Rows that are there and have an expiry.
    pub(super) fn live(&self) -> usize {
        self.live
    }
}
