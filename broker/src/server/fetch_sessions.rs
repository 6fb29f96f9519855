//! Fetch sessions (KIP-227): a consumer names its partitions once, and from then on only what changed travels. Pure.
//!
//! ```text
//!   id 0, epoch 0    a full fetch that asks for a session: answered with its id
//!   id n, epoch e    an incremental fetch: partitions added, changed, forgotten; the rest is as before
//!   id n, epoch 0    a full fetch that replaces session n
//!   any, epoch -1    a full fetch without a session; ends session n
//! ```

use std::collections::{BTreeMap, HashMap};

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k01_fetch::{FetchPartition, FetchRequest, PartitionData};
use ottla_protocol::wire::{Str, Uuid};

const NO_SESSION: i32 = 0;
const INITIAL_EPOCH: i32 = 0;
const FINAL_EPOCH: i32 = -1;
/// A session unused for this long gives its place to a new one (`min.incremental.fetch.session.eviction.ms`).
const EVICTABLE_AFTER_MS: u64 = 120_000;

/// How often a follower's places count again that it has not told anew: by that its leader knows that it still has everything.
const PLACES_INTERVAL_MS: u64 = 500;

/// A partition as a consumer named it: by topic name, or from version 13 by topic id alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FetchKey {
    /// Empty where the version has ids.
    pub topic: Str,
    /// Nil where the version has names.
    pub topic_id: Uuid,
    /// Its number.
    pub partition: i32,
}

/// What a fetch is to read, in order.
pub type Wanted = Vec<(FetchKey, FetchPartition)>;

/// What kind of fetch a request turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchKind {
    /// Everything is answered, no session.
    Sessionless,
    /// Everything is answered, and a session is made if there is room.
    New,
    /// Of this session: only what changed is answered.
    Incremental(i32),
}

#[derive(Debug)]
struct CachedPartition {
    asked: FetchPartition,
    high_watermark: i64,
    log_start_offset: i64,
    /// The last answer was an error, so the next good one is news.
    failed: bool,
    /// The place in [`Session::order`].
    place: u64,
}

#[derive(Debug)]
struct Session {
    /// Of the next request.
    epoch: i32,
    by_id: bool,
    partitions: HashMap<FetchKey, CachedPartition>,
    /// Who is answered first; partitions that had data go to the end, so that none starves.
    order: BTreeMap<u64, FetchKey>,
    next_place: u64,
    used_ms: u64,
    /// When all of a follower's places last counted.
    places_ms: u64,
}

impl Session {
    fn upsert(&mut self, key: FetchKey, asked: FetchPartition) {
        if let Some(cached) = self.partitions.get_mut(&key) {
            cached.asked = asked;
            return;
        }
        let place = self.next_place;
        self.next_place += 1;
        self.order.insert(place, key.clone());
        let cached =
            CachedPartition { asked, high_watermark: -1, log_start_offset: -1, failed: false, place };
        self.partitions.insert(key, cached);
    }

    fn remove(&mut self, key: &FetchKey) {
        if let Some(cached) = self.partitions.remove(key) {
            self.order.remove(&cached.place);
        }
    }

    fn wanted(&self) -> Wanted {
        let cached = |key: &FetchKey| Some((key.clone(), self.partitions.get(key)?.asked.clone()));
        self.order.values().filter_map(cached).collect()
    }

    /// Whether an answer is news for the consumer; notes what it says.
    fn is_news(&mut self, key: &FetchKey, data: &PartitionData) -> bool {
        let Some(cached) = self.partitions.get_mut(key) else { return false };
        let has_data = data.records.as_ref().is_some_and(|records| !records.is_empty());
        let failed = data.error_code != ErrorCode::None.code();
        let news = has_data
            || failed
            || cached.failed
            || data.diverging_epoch.epoch >= 0
            || data.preferred_read_replica >= 0
            || cached.high_watermark != data.high_watermark
            || cached.log_start_offset != data.log_start_offset;
        cached.high_watermark = data.high_watermark;
        cached.log_start_offset = data.log_start_offset;
        cached.failed = failed;
        if has_data {
            self.order.remove(&cached.place);
            cached.place = self.next_place;
            self.next_place += 1;
            self.order.insert(cached.place, key.clone());
        }
        news
    }
}

/// All sessions of a broker.
#[derive(Debug)]
pub struct FetchSessions {
    sessions: HashMap<i32, Session>,
    sessions_max: usize,
}

impl FetchSessions {
    /// None yet; at most `sessions_max` at the same time.
    pub fn new(sessions_max: usize) -> FetchSessions {
        FetchSessions { sessions: HashMap::new(), sessions_max }
    }

    /// How many there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Takes a request in: what is to be read, and what kind of fetch it is. `by_id` says that the request's version
    /// names topics by id.
    pub fn begin(
        &mut self,
        request: &FetchRequest,
        by_id: bool,
        now_ms: u64,
    ) -> Result<(Wanted, FetchKind), ErrorCode> {
        let id = request.session_id;
        match request.session_epoch {
            INITIAL_EPOCH | FINAL_EPOCH => {
                self.sessions.remove(&id);
                let kind = match request.session_epoch {
                    INITIAL_EPOCH => FetchKind::New,
                    _ => FetchKind::Sessionless,
                };
                Ok((named(request).collect(), kind))
            }
            epoch => {
                let session = self.sessions.get_mut(&id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
                if session.by_id != by_id {
                    return Err(ErrorCode::FetchSessionTopicIdError);
                }
                if session.epoch != epoch {
                    return Err(ErrorCode::InvalidFetchSessionEpoch);
                }
                session.epoch = next_epoch(epoch);
                session.used_ms = now_ms;
                for topic in &request.forgotten_topics_data {
                    for partition in &topic.partitions {
                        session.remove(&key(&topic.topic, topic.topic_id, *partition));
                    }
                }
                named(request).for_each(|(key, asked)| session.upsert(key, asked));
                if session.partitions.is_empty() {
                    self.sessions.remove(&id);
                    return Ok((Vec::new(), FetchKind::Sessionless));
                }
                Ok((session.wanted(), FetchKind::Incremental(id)))
            }
        }
    }

    /// Makes a session of a full fetch with what was answered; 0 when there is no room. `random_id` is tried first.
    pub fn create(
        &mut self,
        wanted: &Wanted,
        answers: &[(FetchKey, PartitionData)],
        by_id: bool,
        random_id: i32,
        now_ms: u64,
    ) -> i32 {
        if wanted.is_empty() || !self.make_room(now_ms) {
            return NO_SESSION;
        }
        let mut id = random_id.saturating_abs().max(1);
        while self.sessions.contains_key(&id) {
            id = if id == i32::MAX { 1 } else { id + 1 };
        }
        let mut session = Session {
            epoch: next_epoch(INITIAL_EPOCH),
            by_id,
            partitions: HashMap::with_capacity(wanted.len()),
            order: BTreeMap::new(),
            next_place: 0,
            used_ms: now_ms,
            places_ms: now_ms,
        };
        wanted.iter().for_each(|(key, asked)| session.upsert(key.clone(), asked.clone()));
        for (key, data) in answers {
            session.is_news(key, data);
        }
        self.sessions.insert(id, session);
        id
    }

    /// Of the answers to an incremental fetch, those that the consumer does not know yet.
    pub fn news(
        &mut self,
        id: i32,
        answers: Vec<(FetchKey, PartitionData)>,
    ) -> Vec<(FetchKey, PartitionData)> {
        let Some(session) = self.sessions.get_mut(&id) else { return answers };
        answers.into_iter().filter(|(key, data)| session.is_news(key, data)).collect()
    }

    /// Whether all places of a follower's session count, or only those that came with its last request.
    pub fn all_places_count(&mut self, id: i32, now_ms: u64) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return true };
        let is_due = now_ms.saturating_sub(session.places_ms) >= PLACES_INTERVAL_MS;
        if is_due {
            session.places_ms = now_ms;
        }
        is_due
    }

    fn make_room(&mut self, now_ms: u64) -> bool {
        if self.sessions.len() < self.sessions_max {
            return true;
        }
        let oldest = self.sessions.iter().min_by_key(|(id, session)| (session.used_ms, **id));
        let evictable = oldest
            .filter(|(_, session)| session.used_ms.saturating_add(EVICTABLE_AFTER_MS) <= now_ms)
            .map(|(id, _)| *id);
        evictable.is_some_and(|id| self.sessions.remove(&id).is_some())
    }
}

fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

fn key(topic: &Str, topic_id: Uuid, partition: i32) -> FetchKey {
    FetchKey { topic: topic.clone(), topic_id, partition }
}

/// What a request names itself.
pub fn named(request: &FetchRequest) -> impl Iterator<Item = (FetchKey, FetchPartition)> {
    request.topics.iter().flat_map(|topic| {
        let named =
            |asked: &FetchPartition| (key(&topic.topic, topic.topic_id, asked.partition), asked.clone());
        topic.partitions.iter().map(named)
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ottla_protocol::messages::k01_fetch::{FetchTopic, ForgottenTopic};
    use ottla_protocol::wire::Records;

    use super::*;

    fn request(id: i32, epoch: i32, partitions: &[(i32, i64)], forgotten: &[i32]) -> FetchRequest {
        let asked = |(partition, fetch_offset): &(i32, i64)| FetchPartition {
            partition: *partition,
            fetch_offset: *fetch_offset,
            ..FetchPartition::default()
        };
        FetchRequest {
            session_id: id,
            session_epoch: epoch,
            topics: vec![FetchTopic {
                topic: "t".into(),
                partitions: partitions.iter().map(asked).collect(),
                ..FetchTopic::default()
            }],
            forgotten_topics_data: vec![ForgottenTopic {
                topic: "t".into(),
                partitions: forgotten.to_vec(),
                ..ForgottenTopic::default()
            }],
            ..FetchRequest::default()
        }
    }

    fn answer(partition: i32, high_watermark: i64, bytes: usize) -> (FetchKey, PartitionData) {
        let data = PartitionData {
            partition_index: partition,
            high_watermark,
            records: Some(Records::Held(Bytes::from(vec![0; bytes]))),
            ..PartitionData::default()
        };
        (key(&"t".into(), Uuid::nil(), partition), data)
    }

    fn offsets(wanted: &Wanted) -> Vec<(i32, i64)> {
        wanted.iter().map(|(key, asked)| (key.partition, asked.fetch_offset)).collect()
    }

    fn session_of_three(sessions: &mut FetchSessions) -> i32 {
        let (wanted, kind) =
            sessions.begin(&request(0, 0, &[(0, 5), (1, 6), (2, 7)], &[]), false, 0).unwrap();
        assert_eq!(kind, FetchKind::New);
        sessions.create(&wanted, &[answer(0, 5, 0), answer(1, 6, 0), answer(2, 7, 0)], false, -9, 0)
    }

    #[test]
    fn an_incremental_fetch_goes_on_with_what_was_named_before() {
        let mut sessions = FetchSessions::new(9);
        let id = session_of_three(&mut sessions);
        assert_eq!(id, 9);
        let (wanted, kind) = sessions.begin(&request(id, 1, &[(1, 60), (3, 8)], &[0]), false, 1).unwrap();
        assert_eq!(kind, FetchKind::Incremental(id));
        assert_eq!(offsets(&wanted), [(1, 60), (2, 7), (3, 8)]);
        let news = sessions.news(id, vec![answer(1, 6, 0), answer(2, 9, 0), answer(3, 8, 10)]);
        let told: Vec<i32> = news.iter().map(|(key, _)| key.partition).collect();
        assert_eq!(told, [2, 3], "partition 1 has nothing new");
    }

    #[test]
    fn a_partition_that_had_data_is_answered_last_the_next_time() {
        let mut sessions = FetchSessions::new(9);
        let id = session_of_three(&mut sessions);
        sessions.begin(&request(id, 1, &[], &[]), false, 1).unwrap();
        sessions.news(id, vec![answer(0, 8, 100), answer(1, 6, 0), answer(2, 7, 0)]);
        let (wanted, _) = sessions.begin(&request(id, 2, &[], &[]), false, 1).unwrap();
        assert_eq!(offsets(&wanted), [(1, 6), (2, 7), (0, 5)]);
    }

    #[test]
    fn a_followers_places_count_again_after_a_while() {
        let mut sessions = FetchSessions::new(9);
        let id = session_of_three(&mut sessions);
        let counts = [0, 100, 500, 700, 999, 1000, 5000].map(|now_ms| sessions.all_places_count(id, now_ms));
        assert_eq!(counts, [false, false, true, false, false, true, true]);
        assert!(sessions.all_places_count(id + 1, 1), "without a session they do");
    }

    #[test]
    fn an_error_and_its_end_are_news() {
        let mut sessions = FetchSessions::new(9);
        let id = session_of_three(&mut sessions);
        let mut failed = answer(0, 5, 0);
        failed.1.error_code = ErrorCode::KafkaStorageError.code();
        assert_eq!(sessions.news(id, vec![failed]).len(), 1);
        assert_eq!(sessions.news(id, vec![answer(0, 5, 0)]).len(), 1);
        assert_eq!(sessions.news(id, vec![answer(0, 5, 0)]).len(), 0);
    }

    #[test]
    fn where_to_read_instead_is_news_each_time() {
        let mut sessions = FetchSessions::new(9);
        let id = session_of_three(&mut sessions);
        for _ in 0..2 {
            let mut elsewhere = answer(0, 5, 0);
            elsewhere.1.preferred_read_replica = 2;
            assert_eq!(sessions.news(id, vec![elsewhere]).len(), 1);
        }
        assert_eq!(sessions.news(id, vec![answer(0, 5, 0)]).len(), 0);
    }

    #[test]
    fn a_wrong_session_or_epoch_is_refused() {
        let mut sessions = FetchSessions::new(9);
        let id = session_of_three(&mut sessions);
        let error = |sessions: &mut FetchSessions, id, epoch, by_id| {
            sessions.begin(&request(id, epoch, &[], &[]), by_id, 1).unwrap_err()
        };
        assert_eq!(error(&mut sessions, id + 1, 1, false), ErrorCode::FetchSessionIdNotFound);
        assert_eq!(error(&mut sessions, id, 2, false), ErrorCode::InvalidFetchSessionEpoch);
        assert_eq!(error(&mut sessions, id, 1, true), ErrorCode::FetchSessionTopicIdError);
        assert!(sessions.begin(&request(id, 1, &[], &[]), false, 1).is_ok());
        assert_eq!(error(&mut sessions, id, 1, false), ErrorCode::InvalidFetchSessionEpoch);
    }

    #[test]
    fn a_final_or_a_new_full_fetch_ends_the_session() {
        for epoch in [FINAL_EPOCH, INITIAL_EPOCH] {
            let mut sessions = FetchSessions::new(9);
            let id = session_of_three(&mut sessions);
            let (wanted, _) = sessions.begin(&request(id, epoch, &[(4, 1)], &[]), false, 1).unwrap();
            assert_eq!(offsets(&wanted), [(4, 1)]);
            assert_eq!(sessions.len(), 0);
        }
    }

    #[test]
    fn a_session_that_forgets_everything_ends() {
        let mut sessions = FetchSessions::new(9);
        let id = session_of_three(&mut sessions);
        let begun = sessions.begin(&request(id, 1, &[], &[0, 1, 2]), false, 1).unwrap();
        assert_eq!(begun, (Vec::new(), FetchKind::Sessionless));
        assert_eq!(sessions.len(), 0);
    }

    #[test]
    fn a_full_cache_gives_up_only_what_idles() {
        let mut sessions = FetchSessions::new(1);
        let first = session_of_three(&mut sessions);
        let (wanted, _) = sessions.begin(&request(0, 0, &[(0, 5)], &[]), false, 0).unwrap();
        assert_eq!(sessions.create(&wanted, &[], false, 5, EVICTABLE_AFTER_MS - 1), NO_SESSION);
        assert_eq!(sessions.create(&wanted, &[], false, 5, EVICTABLE_AFTER_MS), 5);
        let gone = sessions.begin(&request(first, 1, &[], &[]), false, EVICTABLE_AFTER_MS);
        assert_eq!(gone, Err(ErrorCode::FetchSessionIdNotFound));
    }

    #[test]
    fn epochs_wrap_to_one() {
        assert_eq!((next_epoch(0), next_epoch(i32::MAX)), (1, 1));
    }
}
