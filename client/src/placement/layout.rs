//! All partitions and where they are, while a plan is made: brokers, racks and topics by number.

use std::collections::BTreeMap;

use super::counts::Counts;
use super::{PlacedPartition, PlacementBroker, PlacementChange, PlacementError};

/// One replica: on one of the brokers of the plan, or on one that has to give it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    On(usize),
    Elsewhere(i32),
}

/// The state of a plan. Brokers, topics and partitions are numbered as they are sorted.
pub(super) struct Layout<'a> {
    partitions: &'a [PlacedPartition],
    ids: Vec<i32>,
    takes_more: Vec<bool>,
    /// Of each broker.
    racks: Vec<usize>,
    rack_count: usize,
    /// Of each partition.
    topics: Vec<usize>,
    of_topic: Vec<Vec<usize>>,
    places: Vec<Vec<Place>>,
    pub replicas: Counts,
    /// Preferred leaders.
    pub leaders: Counts,
}

impl<'a> Layout<'a> {
    pub fn of(brokers: &[PlacementBroker], partitions: &'a [PlacedPartition]) -> Layout<'a> {
        let mut brokers: Vec<&PlacementBroker> = brokers.iter().collect();
        brokers.sort_by_key(|broker| broker.id);
        brokers.dedup_by_key(|broker| broker.id);
        let ids: Vec<i32> = brokers.iter().map(|broker| broker.id).collect();
        let (racks, rack_count) = number_racks(&brokers);
        let names: BTreeMap<&str, usize> = partitions
            .iter()
            .map(|partition| &*partition.partition.topic)
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .zip(0..)
            .collect();
        let topics: Vec<usize> =
            partitions.iter().map(|partition| names[&*partition.partition.topic]).collect();
        let mut of_topic = vec![Vec::new(); names.len()];
        topics.iter().enumerate().for_each(|(partition, topic)| of_topic[*topic].push(partition));
        let place = |id: &i32| ids.binary_search(id).map_or(Place::Elsewhere(*id), Place::On);
        let places: Vec<Vec<Place>> =
            partitions.iter().map(|partition| partition.replicas.iter().map(place).collect()).collect();
        let mut replicas = Counts::new(names.len(), ids.len());
        let mut leaders = Counts::new(names.len(), ids.len());
        for (topic, places) in topics.iter().zip(&places) {
            for (nth, place) in places.iter().enumerate() {
                let Place::On(broker) = place else { continue };
                replicas.add(*topic, *broker);
                if nth == 0 {
                    leaders.add(*topic, *broker);
                }
            }
        }
        let takes_more = brokers.iter().map(|broker| broker.takes_more).collect();
        Layout { partitions, ids, takes_more, racks, rack_count, topics, of_topic, places, replicas, leaders }
    }

    pub fn broker_count(&self) -> usize {
        self.ids.len()
    }

    pub fn topic_count(&self) -> usize {
        self.of_topic.len()
    }

    pub fn partition_count(&self) -> usize {
        self.places.len()
    }

    /// The partitions of a topic.
    pub fn of_topic(&self, topic: usize) -> &[usize] {
        &self.of_topic[topic]
    }

    pub fn topic_of(&self, partition: usize) -> usize {
        self.topics[partition]
    }

    /// The preferred leader first.
    pub fn places(&self, partition: usize) -> &[Place] {
        &self.places[partition]
    }

    pub fn size_bytes(&self, partition: usize) -> u64 {
        self.partitions[partition].size_bytes
    }

    /// Whether a broker may get more of anything.
    pub fn takes_more(&self, broker: usize) -> bool {
        self.takes_more[broker]
    }

    /// Whether a partition could be on a broker on which it is not.
    pub fn may_get(&self, partition: usize, broker: usize) -> bool {
        self.takes_more[broker] && self.position(partition, broker).is_none()
    }

    /// Why a replica of a partition can be nowhere.
    pub fn too_few_brokers(&self, partition: usize) -> PlacementError {
        let brokers = (0..self.ids.len())
            .filter(|broker| self.takes_more[*broker] || self.position(partition, *broker).is_some());
        PlacementError::TooFewBrokers {
            partition: self.partitions[partition].partition.clone(),
            replicas: self.places[partition].len(),
            brokers: brokers.count(),
        }
    }

    /// Where in the order of the partition's replicas a broker is.
    pub fn position(&self, partition: usize, broker: usize) -> Option<usize> {
        self.places[partition].iter().position(|place| *place == Place::On(broker))
    }

    pub fn rack_of(&self, broker: usize) -> usize {
        self.racks[broker]
    }

    /// The racks on which a partition is, without the replica at `except`.
    pub fn racks(&self, partition: usize, except: Option<usize>) -> Vec<usize> {
        let others = self.places[partition].iter().enumerate().filter(|(nth, _)| Some(*nth) != except);
        let mut racks: Vec<usize> = others
            .filter_map(|(_, place)| match place {
                Place::On(broker) => Some(self.racks[*broker]),
                Place::Elsewhere(_) => None,
            })
            .collect();
        racks.sort_unstable();
        racks.dedup();
        racks
    }

    /// The racks that a partition can be on at once.
    pub fn racks_max(&self, partition: usize) -> usize {
        self.places[partition].len().min(self.rack_count)
    }

    /// Puts the replica at `nth` on another broker.
    pub fn put(&mut self, partition: usize, nth: usize, broker: usize) {
        let topic = self.topics[partition];
        let before = std::mem::replace(&mut self.places[partition][nth], Place::On(broker));
        if let Place::On(before) = before {
            self.replicas.take(topic, before);
            if nth == 0 {
                self.leaders.take(topic, before);
            }
        }
        self.replicas.add(topic, broker);
        if nth == 0 {
            self.leaders.add(topic, broker);
        }
    }

    /// Makes a broker that has the partition its preferred leader; the one that was takes its place in the order.
    pub fn lead(&mut self, partition: usize, broker: usize) {
        let Some(nth) = self.position(partition, broker) else { return };
        let topic = self.topics[partition];
        if let Place::On(before) = self.places[partition][0] {
            self.leaders.take(topic, before);
        }
        self.leaders.add(topic, broker);
        self.places[partition].swap(0, nth);
    }

    /// What is not as it was.
    pub fn changes(self) -> Vec<PlacementChange> {
        let id = |place: &Place| match place {
            Place::On(broker) => self.ids[*broker],
            Place::Elsewhere(id) => *id,
        };
        let all = self.partitions.iter().zip(&self.places).map(|(partition, places)| PlacementChange {
            partition: partition.partition.clone(),
            from: partition.replicas.clone(),
            to: places.iter().map(id).collect(),
            size_bytes: partition.size_bytes,
        });
        all.filter(|change| change.from != change.to).collect()
    }
}

/// The rack of each broker by number, and how many there are.
fn number_racks(brokers: &[&PlacementBroker]) -> (Vec<usize>, usize) {
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    let mut count = 0;
    let numbers = brokers.iter().map(|broker| {
        let mut next = || {
            count += 1;
            count - 1
        };
        match &broker.rack {
            Some(rack) => *known.entry(rack).or_insert_with(next),
            None => next(),
        }
    });
    let numbers = numbers.collect();
    (numbers, count)
}
