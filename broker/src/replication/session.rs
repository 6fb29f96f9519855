//! The follower's side of a fetch session (KIP-227): of thousands of partitions only those travel whose place has changed. Pure.

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::messages::FetchRequest;
use ottla_protocol::messages::k01_fetch::{FetchPartition, FetchTopic, ForgottenTopic};
use uuid::Uuid;

use crate::replica::FetchPosition;

/// A partition, as it is named in a session.
pub(super) type Key = (Uuid, i32);

/// A session with one broker.
#[derive(Debug, Default)]
pub(super) struct Session {
    id: i32,
    /// Of the next request; 0 asks for a session.
    epoch: i32,
    /// What is to be fetched, and from where.
    wanted: BTreeMap<Key, FetchPosition>,
    /// What of it the broker was not told yet.
    news: BTreeSet<Key>,
    /// What the broker was told and is not to be fetched any more.
    forgotten: BTreeSet<Key>,
    /// What is wanted and not to be fetched now.
    held: BTreeSet<Key>,
}

impl Session {
    /// Fetches a partition from there on.
    pub fn want(&mut self, key: Key, position: FetchPosition) {
        let is_new = self.wanted.insert(key, position) != Some(position);
        if self.held.contains(&key) {
            return;
        }
        if is_new {
            self.news.insert(key);
        }
        self.forgotten.remove(&key);
    }

    /// Has what is wanted of these not be fetched until they are held no more, and fetches what was held before and is not among them.
    pub fn hold(&mut self, held: BTreeSet<Key>) {
        for key in held.difference(&self.held) {
            if self.wanted.contains_key(key) && self.epoch != 0 {
                self.forgotten.insert(*key);
            }
            self.news.remove(key);
        }
        for key in self.held.difference(&held) {
            if self.wanted.contains_key(key) {
                self.news.insert(*key);
                self.forgotten.remove(key);
            }
        }
        self.held = held;
    }

    /// Fetches it no more.
    pub fn leave(&mut self, key: Key) {
        // Maybe it was not told yet; a broker does not mind.
        if self.wanted.remove(&key).is_some() && self.epoch != 0 {
            self.forgotten.insert(key);
        }
        self.news.remove(&key);
    }

    /// From where a partition is fetched, if it is.
    pub fn position(&self, key: Key) -> Option<FetchPosition> {
        self.wanted.get(&key).copied()
    }

    /// Whether nothing is to be fetched now.
    pub fn is_empty(&self) -> bool {
        self.wanted.keys().all(|key| self.held.contains(key))
    }

    /// Puts into a request what the broker must be told so that it answers about what is wanted and about nothing else.
    pub fn ask(&mut self, bytes_max: i32, request: &mut FetchRequest) {
        (request.session_id, request.session_epoch) = (self.id, self.epoch);
        let mut topics: BTreeMap<Uuid, Vec<FetchPartition>> = BTreeMap::new();
        for key in std::mem::take(&mut self.news) {
            let Some(position) = self.wanted.get(&key) else { continue };
            topics.entry(key.0).or_default().push(FetchPartition {
                partition: key.1,
                current_leader_epoch: position.leader_epoch.0,
                fetch_offset: position.offset.0,
                log_start_offset: position.log_start.0,
                last_fetched_epoch: position.last_epoch.0,
                partition_max_bytes: bytes_max,
                ..FetchPartition::default()
            });
        }
        let mut forgotten: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
        for (topic_id, partition) in std::mem::take(&mut self.forgotten) {
            forgotten.entry(topic_id).or_default().push(partition);
        }
        let topic = |(topic_id, partitions)| FetchTopic { topic_id, partitions, ..FetchTopic::default() };
        request.topics = topics.into_iter().map(topic).collect();
        let topic =
            |(topic_id, partitions)| ForgottenTopic { topic_id, partitions, ..ForgottenTopic::default() };
        request.forgotten_topics_data = forgotten.into_iter().map(topic).collect();
    }

    /// The broker has answered, in the session that it names; 0 where it has made none.
    pub fn answered(&mut self, session_id: i32) {
        if session_id == 0 {
            return self.begin_anew();
        }
        self.id = session_id;
        self.epoch = if self.epoch == i32::MAX { 1 } else { self.epoch + 1 };
    }

    /// The connection or the session is lost: everything is told again.
    pub fn begin_anew(&mut self) {
        (self.id, self.epoch) = (0, 0);
        self.news = self.wanted.keys().filter(|key| !self.held.contains(key)).copied().collect();
        self.forgotten.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{LeaderEpoch, Offset};
    use crate::random::Random;

    const TOPIC: Uuid = Uuid::from_u128(1);

    fn want(session: &mut Session, partition: i32, offset: i64) {
        let position = FetchPosition {
            leader_epoch: LeaderEpoch(3),
            offset: Offset(offset),
            log_start: Offset(0),
            last_epoch: LeaderEpoch(2),
        };
        session.want((TOPIC, partition), position);
    }

    /// Session, epoch, partitions with offsets, forgotten ones.
    fn asked(session: &mut Session) -> (i32, i32, Vec<(i32, i64)>, Vec<i32>) {
        let mut request = FetchRequest::default();
        session.ask(100, &mut request);
        let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
        let partitions = partitions.map(|partition| (partition.partition, partition.fetch_offset)).collect();
        let forgotten = request.forgotten_topics_data.iter().flat_map(|topic| topic.partitions.clone());
        (request.session_id, request.session_epoch, partitions, forgotten.collect())
    }

    #[test]
    fn only_what_has_changed_travels() {
        let mut session = Session::default();
        want(&mut session, 0, 5);
        want(&mut session, 1, 7);
        want(&mut session, 9, 7);
        session.leave((TOPIC, 9));
        assert_eq!(asked(&mut session), (0, 0, vec![(0, 5), (1, 7)], vec![]));
        session.answered(44);
        want(&mut session, 0, 5);
        want(&mut session, 1, 8);
        assert_eq!(asked(&mut session), (44, 1, vec![(1, 8)], vec![]));
        session.answered(44);
        session.leave((TOPIC, 0));
        want(&mut session, 2, 0);
        assert_eq!(asked(&mut session), (44, 2, vec![(2, 0)], vec![0]));
        session.answered(44);
        session.leave((TOPIC, 2));
        want(&mut session, 2, 0);
        assert_eq!(asked(&mut session), (44, 3, vec![(2, 0)], vec![]), "it was left for a moment only");
        session.begin_anew();
        assert_eq!(asked(&mut session), (0, 0, vec![(1, 8), (2, 0)], vec![]));
        session.answered(0);
        assert_eq!(asked(&mut session), (0, 0, vec![(1, 8), (2, 0)], vec![]), "no session was made");
    }

    #[test]
    fn what_is_held_does_not_travel_and_is_told_again_from_where_it_is_then() {
        let mut session = Session::default();
        want(&mut session, 0, 5);
        want(&mut session, 1, 7);
        asked(&mut session);
        session.answered(44);
        session.hold([(TOPIC, 1), (TOPIC, 3)].into());
        want(&mut session, 1, 8);
        want(&mut session, 3, 1);
        assert_eq!(asked(&mut session), (44, 1, vec![], vec![1]));
        session.answered(44);
        assert!(!session.is_empty());
        session.hold([(TOPIC, 0), (TOPIC, 1), (TOPIC, 3)].into());
        assert!(session.is_empty(), "all of it is held");
        session.hold([].into());
        assert_eq!(asked(&mut session), (44, 2, vec![(0, 5), (1, 8), (3, 1)], vec![]));
    }

    /// Whatever happens, the broker knows what is wanted once it has answered.
    #[test]
    fn a_broker_knows_what_is_wanted() {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let mut session = Session::default();
            let mut broker: BTreeMap<i32, i64> = BTreeMap::new();
            let mut held: BTreeSet<i32> = BTreeSet::new();
            for _ in 0..200 {
                let partition = random.below(6) as i32;
                match random.below(6) {
                    0 | 1 => want(&mut session, partition, random.below(4) as i64),
                    5 => {
                        held = (0..6).filter(|_| random.chance(30)).collect();
                        session.hold(held.iter().map(|partition| (TOPIC, *partition)).collect());
                    }
                    2 => session.leave((TOPIC, partition)),
                    3 if random.chance(20) => session.begin_anew(),
                    _ => {
                        let (_, epoch, partitions, forgotten) = asked(&mut session);
                        if epoch == 0 {
                            broker.clear();
                        }
                        broker.retain(|partition, _| !forgotten.contains(partition));
                        broker.extend(partitions);
                        let wanted: BTreeMap<i32, i64> = (0..6)
                            .filter(|partition| !held.contains(partition))
                            .filter_map(|partition| {
                                Some((partition, session.position((TOPIC, partition))?.offset.0))
                            })
                            .collect();
                        assert_eq!(broker, wanted, "seed {seed}");
                        match random.chance(10) {
                            true => session.begin_anew(),
                            false => session.answered(i32::from(random.chance(95))),
                        }
                    }
                }
            }
        }
    }
}
