//! Fetch sessions (KIP-227): a consumer names its partitions once, and from then on only what changed travels. Pure.
//!
//! ```text
//!   id 0, epoch 0    a full fetch that asks for a session: answered with its id
//!   id n, epoch e    an incremental fetch: partitions added, changed, forgotten; the rest is as before
//!   id n, epoch 0    a full fetch that replaces session n
//!   any, epoch -1    a full fetch without a session; ends session n
//! ```
//!
//! A partition of which a session has told all there is is *quiet*: fetches do not look at it until it has news (`partition/readers.rs`),
//! its reader says something else of it, or what all answers depend on has changed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k01_fetch::{FetchPartition, FetchRequest, PartitionData};
use ottla_protocol::wire::{Str, Uuid};

use crate::controller::ClusterImage;
use crate::ids::Offset;
use crate::partition::{News, UpTo};

const NO_SESSION: i32 = 0;
const INITIAL_EPOCH: i32 = 0;
const FINAL_EPOCH: i32 = -1;
/// A session unused for this long gives its place to a new one (`min.incremental.fetch.session.eviction.ms`).
const EVICTABLE_AFTER_MS: u64 = 120_000;

/// How often the places of a follower's partitions that are not quiet count again where it has not told them anew.
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

/// A partition that a fetch is to look at.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// Which.
    pub key: FetchKey,
    /// What its reader has said of it.
    pub asked: FetchPartition,
    /// By which its news come.
    pub number: u64,
}

/// What is to be looked at, in order.
pub type Wanted = Vec<Asked>;

/// What the answers about all partitions depend on.
#[derive(Debug, Clone)]
pub struct View {
    /// What the node knows of the cluster.
    pub image: Weak<ClusterImage>,
    /// How far is read.
    pub up_to: UpTo,
    /// Of a follower, the epoch of its registration as a broker.
    pub broker_epoch: Option<Offset>,
}

impl PartialEq for View {
    fn eq(&self, other: &View) -> bool {
        self.image.ptr_eq(&other.image)
            && self.up_to == other.up_to
            && self.broker_epoch == other.broker_epoch
    }
}

/// What kind of fetch a request turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchKind {
    /// Everything is answered, no session.
    Sessionless,
    /// Everything is answered, and a session is made if there is room.
    New,
    /// Of a session: only what changed is answered.
    Incremental(Turn),
}

/// One request of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The session.
    pub id: i32,
    /// That the next request will have.
    next_epoch: i32,
}

/// A request that was taken in.
#[derive(Debug)]
pub struct Begun {
    /// Of which kind it is.
    pub kind: FetchKind,
    /// What is to be looked at.
    pub wanted: Wanted,
    /// What is not read any more.
    pub forgotten: Vec<FetchKey>,
    /// What the partitions have told.
    pub news: Arc<News>,
    /// Whether the places of all that is wanted count, or only those that came with the request.
    pub all_places_count: bool,
}

/// What a fetch has found out about a partition.
#[derive(Debug)]
pub struct Answer {
    /// Which.
    pub key: FetchKey,
    /// What the reader is told, if it does not know it already.
    pub data: PartitionData,
    /// Whether there is no more to be told until the partition has news.
    pub is_all: bool,
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
    /// By which its news come.
    number: u64,
}

#[derive(Debug)]
struct Session {
    /// Of the next request.
    epoch: i32,
    by_id: bool,
    view: View,
    news: Arc<News>,
    partitions: HashMap<FetchKey, CachedPartition>,
    /// Those that are not quiet, by who is answered first; partitions that had data go to the end, so that none starves.
    order: BTreeMap<u64, FetchKey>,
    next_place: u64,
    /// Which partition news are of.
    numbers: HashMap<u64, FetchKey>,
    next_number: u64,
    used_ms: u64,
    /// When the places of a follower last counted.
    places_ms: u64,
}

impl Session {
    fn new(by_id: bool, view: View, news: Arc<News>, now_ms: u64) -> Session {
        Session {
            epoch: next_epoch(INITIAL_EPOCH),
            by_id,
            view,
            news,
            partitions: HashMap::new(),
            order: BTreeMap::new(),
            next_place: 0,
            numbers: HashMap::new(),
            next_number: 0,
            used_ms: now_ms,
            places_ms: now_ms,
        }
    }

    fn upsert(&mut self, key: FetchKey, asked: FetchPartition) {
        if let Some(cached) = self.partitions.get_mut(&key) {
            cached.asked = asked;
            self.order.insert(cached.place, key);
            return;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.insert(Asked { key, asked, number });
    }

    fn insert(&mut self, Asked { key, asked, number }: Asked) {
        let place = self.next_place;
        self.next_place += 1;
        self.next_number = self.next_number.max(number + 1);
        self.order.insert(place, key.clone());
        self.numbers.insert(number, key.clone());
        let cached =
            CachedPartition { asked, high_watermark: -1, log_start_offset: -1, failed: false, place, number };
        self.partitions.insert(key, cached);
    }

    fn remove(&mut self, key: &FetchKey) {
        if let Some(cached) = self.partitions.remove(key) {
            self.order.remove(&cached.place);
            self.numbers.remove(&cached.number);
        }
    }

    fn asked(&self, key: &FetchKey) -> Option<Asked> {
        let CachedPartition { asked, number, .. } = self.partitions.get(key)?;
        Some(Asked { key: key.clone(), asked: asked.clone(), number: *number })
    }

    fn wanted(&self) -> Wanted {
        self.order.values().filter_map(|key| self.asked(key)).collect()
    }

    /// Takes in what the partitions have told since the last time, by what is known now; gives those that were quiet and are not any
    /// more.
    fn hear(&mut self, view: &View) -> Wanted {
        let heard = self.news.take();
        let has_changed = self.view != *view;
        let keys: Vec<FetchKey> = match has_changed {
            true => self.partitions.keys().cloned().collect(),
            false => heard.iter().filter_map(|number| self.numbers.get(number)).cloned().collect(),
        };
        self.view = view.clone();
        let mut woken = Wanted::new();
        for key in keys {
            let Some(cached) = self.partitions.get(&key) else { continue };
            if self.order.insert(cached.place, key.clone()).is_none() {
                woken.extend(self.asked(&key));
            }
        }
        woken
    }

    /// Whether an answer is news for the consumer; notes what it says.
    fn is_news(&mut self, answer: &Answer, is_last_word: bool) -> bool {
        let Answer { key, data, is_all } = answer;
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
        } else if *is_all && is_last_word {
            self.order.remove(&cached.place);
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

    /// Takes a request in. `by_id` says that the request's version names topics by id.
    pub fn begin(
        &mut self,
        request: &FetchRequest,
        by_id: bool,
        view: &View,
        now_ms: u64,
    ) -> Result<Begun, ErrorCode> {
        let id = request.session_id;
        let full = |kind| Begun {
            kind,
            wanted: named(request)
                .zip(0..)
                .map(|((key, asked), number)| Asked { key, asked, number })
                .collect(),
            forgotten: Vec::new(),
            news: Arc::default(),
            all_places_count: true,
        };
        match request.session_epoch {
            INITIAL_EPOCH | FINAL_EPOCH => {
                self.sessions.remove(&id);
                Ok(full(match request.session_epoch {
                    INITIAL_EPOCH => FetchKind::New,
                    _ => FetchKind::Sessionless,
                }))
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
                let forgotten: Vec<FetchKey> = forgotten(request).collect();
                forgotten.iter().for_each(|key| session.remove(key));
                named(request).for_each(|(key, asked)| session.upsert(key, asked));
                if session.partitions.is_empty() {
                    self.sessions.remove(&id);
                    return Ok(Begun { wanted: Vec::new(), ..full(FetchKind::Sessionless) });
                }
                let all_places_count =
                    session.view != *view || now_ms.saturating_sub(session.places_ms) >= PLACES_INTERVAL_MS;
                if all_places_count {
                    session.places_ms = now_ms;
                }
                session.hear(view);
                Ok(Begun {
                    kind: FetchKind::Incremental(Turn { id, next_epoch: session.epoch }),
                    wanted: session.wanted(),
                    forgotten,
                    news: session.news.clone(),
                    all_places_count,
                })
            }
        }
    }

    /// What else is to be looked at now, since a request of a session began. `None` where a later request has taken its turn.
    pub fn hear(&mut self, turn: Turn, view: &View) -> Option<Wanted> {
        let session = self.sessions.get_mut(&turn.id).filter(|session| session.epoch == turn.next_epoch)?;
        Some(session.hear(view))
    }

    /// Makes a session of a full fetch with what was answered; 0 when there is no room. `random_id` is tried first.
    pub fn create(
        &mut self,
        begun: (Wanted, Arc<News>),
        answers: &[Answer],
        (by_id, view): (bool, View),
        random_id: i32,
        now_ms: u64,
    ) -> i32 {
        let (wanted, news) = begun;
        if wanted.is_empty() || !self.make_room(now_ms) {
            return NO_SESSION;
        }
        let mut id = random_id.saturating_abs().max(1);
        while self.sessions.contains_key(&id) {
            id = if id == i32::MAX { 1 } else { id + 1 };
        }
        let mut session = Session::new(by_id, view, news, now_ms);
        for asked in wanted {
            // Who names one twice means what he says last.
            session.remove(&asked.key);
            session.insert(asked);
        }
        for answer in answers {
            session.is_news(answer, true);
        }
        self.sessions.insert(id, session);
        id
    }

    /// Of the answers to an incremental fetch, those that the consumer does not know yet.
    pub fn news(&mut self, turn: Turn, answers: Vec<Answer>) -> Vec<Answer> {
        let Some(session) = self.sessions.get_mut(&turn.id) else { return answers };
        // Of a later request the reader may read elsewhere.
        let is_last_word = session.epoch == turn.next_epoch;
        answers.into_iter().filter(|answer| session.is_news(answer, is_last_word)).collect()
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

/// What a request wants no more.
fn forgotten(request: &FetchRequest) -> impl Iterator<Item = FetchKey> {
    request.forgotten_topics_data.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| key(&topic.topic, topic.topic_id, *partition))
    })
}

#[cfg(test)]
mod tests;
