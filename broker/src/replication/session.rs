//! The follower's side of a fetch session (KIP-227): of thousands of partitions only those travel whose place has changed. Pure.

use std::collections::BTreeMap;

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
    /// What the broker was told.
    told: BTreeMap<Key, FetchPosition>,
}

impl Session {
    /// Puts into a request what the broker must be told so that it answers about these partitions and no others.
    pub fn ask(&mut self, wanted: &BTreeMap<Key, FetchPosition>, bytes_max: i32, request: &mut FetchRequest) {
        let is_new = self.epoch == 0;
        (request.session_id, request.session_epoch) = (self.id, self.epoch);
        let mut topics: BTreeMap<Uuid, Vec<FetchPartition>> = BTreeMap::new();
        for (key, position) in wanted {
            if is_new || self.told.get(key) != Some(position) {
                topics.entry(key.0).or_default().push(FetchPartition {
                    partition: key.1,
                    current_leader_epoch: position.leader_epoch.0,
                    fetch_offset: position.offset.0,
                    last_fetched_epoch: position.last_epoch.0,
                    partition_max_bytes: bytes_max,
                    ..FetchPartition::default()
                });
            }
        }
        let mut forgotten: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
        for (topic_id, partition) in self.told.keys().filter(|key| !is_new && !wanted.contains_key(key)) {
            forgotten.entry(*topic_id).or_default().push(*partition);
        }
        let topic = |(topic_id, partitions)| FetchTopic { topic_id, partitions, ..FetchTopic::default() };
        request.topics = topics.into_iter().map(topic).collect();
        let topic =
            |(topic_id, partitions)| ForgottenTopic { topic_id, partitions, ..ForgottenTopic::default() };
        request.forgotten_topics_data = forgotten.into_iter().map(topic).collect();
        self.told.clone_from(wanted);
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
        *self = Session::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{LeaderEpoch, Offset};

    fn wanted(entries: &[(i32, i64)]) -> BTreeMap<Key, FetchPosition> {
        let position = |offset| FetchPosition {
            leader_epoch: LeaderEpoch(3),
            offset: Offset(offset),
            last_epoch: LeaderEpoch(2),
        };
        entries.iter().map(|(number, offset)| ((Uuid::from_u128(1), *number), position(*offset))).collect()
    }

    /// Session, epoch, partitions with offsets, forgotten ones.
    fn asked(session: &mut Session, entries: &[(i32, i64)]) -> (i32, i32, Vec<(i32, i64)>, Vec<i32>) {
        let mut request = FetchRequest::default();
        session.ask(&wanted(entries), 100, &mut request);
        let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
        let partitions = partitions.map(|partition| (partition.partition, partition.fetch_offset)).collect();
        let forgotten = request.forgotten_topics_data.iter().flat_map(|topic| topic.partitions.clone());
        (request.session_id, request.session_epoch, partitions, forgotten.collect())
    }

    #[test]
    fn only_what_has_changed_travels() {
        let mut session = Session::default();
        assert_eq!(asked(&mut session, &[(0, 5), (1, 7)]), (0, 0, vec![(0, 5), (1, 7)], vec![]));
        session.answered(44);
        assert_eq!(asked(&mut session, &[(0, 5), (1, 8)]), (44, 1, vec![(1, 8)], vec![]));
        session.answered(44);
        assert_eq!(asked(&mut session, &[(1, 8), (2, 0)]), (44, 2, vec![(2, 0)], vec![0]));
        session.begin_anew();
        assert_eq!(asked(&mut session, &[(1, 8)]), (0, 0, vec![(1, 8)], vec![]));
        session.answered(0);
        assert_eq!(asked(&mut session, &[(1, 8)]), (0, 0, vec![(1, 8)], vec![]), "no session was made");
    }
}
