//! Sets of partitions, by topic id.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

/// Partitions of any topics. A topic without partitions is not in it, so that equal sets are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionSet(BTreeMap<Uuid, BTreeSet<i32>>);

impl PartitionSet {
    /// Nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    /// Whether the partition is in it.
    pub fn contains(&self, topic: Uuid, partition: i32) -> bool {
        self.0.get(&topic).is_some_and(|partitions| partitions.contains(&partition))
    }

    /// Adds one.
    pub fn insert(&mut self, topic: Uuid, partition: i32) {
        self.0.entry(topic).or_default().insert(partition);
    }

    /// Takes one out.
    pub fn remove(&mut self, topic: Uuid, partition: i32) {
        if let Some(partitions) = self.0.get_mut(&topic) {
            partitions.remove(&partition);
            if partitions.is_empty() {
                self.0.remove(&topic);
            }
        }
    }

    /// One by one, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Uuid, i32)> + '_ {
        self.0.iter().flat_map(|(topic, partitions)| partitions.iter().map(|partition| (*topic, *partition)))
    }

    /// Topic by topic, in order.
    pub fn topics(&self) -> impl Iterator<Item = (Uuid, &BTreeSet<i32>)> {
        self.0.iter().map(|(topic, partitions)| (*topic, partitions))
    }

    /// What is also in `other`.
    pub fn intersection(&self, other: &PartitionSet) -> PartitionSet {
        self.iter().filter(|(topic, partition)| other.contains(*topic, *partition)).collect()
    }

    /// What is not in `other`.
    pub fn difference(&self, other: &PartitionSet) -> PartitionSet {
        self.iter().filter(|(topic, partition)| !other.contains(*topic, *partition)).collect()
    }

    /// Whether all of it is in `other`.
    pub fn is_subset(&self, other: &PartitionSet) -> bool {
        self.iter().all(|(topic, partition)| other.contains(topic, partition))
    }

    /// Whether any of it is in `other`.
    pub fn intersects(&self, other: &PartitionSet) -> bool {
        self.iter().any(|(topic, partition)| other.contains(topic, partition))
    }
}

impl FromIterator<(Uuid, i32)> for PartitionSet {
    fn from_iter<I: IntoIterator<Item = (Uuid, i32)>>(partitions: I) -> PartitionSet {
        let mut set = PartitionSet::default();
        set.extend(partitions);
        set
    }
}

impl Extend<(Uuid, i32)> for PartitionSet {
    fn extend<I: IntoIterator<Item = (Uuid, i32)>>(&mut self, partitions: I) {
        for (topic, partition) in partitions {
            self.insert(topic, partition);
        }
    }
}
