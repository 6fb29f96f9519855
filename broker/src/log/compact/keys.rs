//! What a round of compaction remembers of the keys.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// The last offset of every key that was seen, by a hash of 128 bits that nobody outside can aim at.
#[derive(Debug)]
pub(super) struct LatestOffsets {
    hashers: [RandomState; 2],
    offsets: HashMap<u128, i64>,
}

impl LatestOffsets {
    pub fn new() -> LatestOffsets {
        LatestOffsets { hashers: [RandomState::new(), RandomState::new()], offsets: HashMap::new() }
    }

    fn hash(&self, key: &[u8]) -> u128 {
        let [high, low] = &self.hashers;
        u128::from(high.hash_one(key)) << 64 | u128::from(low.hash_one(key))
    }

    pub fn note(&mut self, key: &[u8], offset: i64) {
        let hash = self.hash(key);
        self.offsets.insert(hash, offset);
    }

    pub fn get(&self, key: &[u8]) -> Option<i64> {
        self.offsets.get(&self.hash(key)).copied()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }
}
