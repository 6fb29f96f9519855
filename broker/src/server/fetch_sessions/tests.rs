use std::collections::BTreeSet;

use bytes::Bytes;
use ottla_protocol::messages::k01_fetch::{FetchTopic, ForgottenTopic};
use ottla_protocol::wire::Records;

use super::*;
use crate::partition::{Event, Readers};
use crate::random::Random;

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

fn view() -> View {
    View { image: Weak::new(), up_to: UpTo::HighWatermark, broker_epoch: None }
}

fn named_key(partition: i32) -> FetchKey {
    key(&"t".into(), Uuid::nil(), partition)
}

/// An answer after which there may be more to be told.
fn answer(partition: i32, high_watermark: i64, bytes: usize) -> Answer {
    let data = PartitionData {
        partition_index: partition,
        high_watermark,
        records: Some(Records::Held(Bytes::from(vec![0; bytes]))),
        ..PartitionData::default()
    };
    Answer { key: named_key(partition), data, is_all: false }
}

/// An answer after which there is no more to be told.
fn all(partition: i32, high_watermark: i64) -> Answer {
    Answer { is_all: true, ..answer(partition, high_watermark, 0) }
}

fn offsets(wanted: &Wanted) -> Vec<(i32, i64)> {
    wanted.iter().map(|wanted| (wanted.key.partition, wanted.asked.fetch_offset)).collect()
}

fn partitions(answers: &[Answer]) -> Vec<i32> {
    answers.iter().map(|answer| answer.key.partition).collect()
}

fn begin(sessions: &mut FetchSessions, request: &FetchRequest, now_ms: u64) -> Begun {
    sessions.begin(request, false, &view(), now_ms).unwrap()
}

fn turn(begun: &Begun) -> Turn {
    let FetchKind::Incremental(turn) = begun.kind else { panic!("{:?}", begun.kind) };
    turn
}

fn create(sessions: &mut FetchSessions, begun: Begun, answers: &[Answer], random_id: i32, now: u64) -> i32 {
    sessions.create((begun.wanted, begun.news), answers, (false, view()), random_id, now)
}

fn session_of_three(sessions: &mut FetchSessions) -> i32 {
    let begun = begin(sessions, &request(0, 0, &[(0, 5), (1, 6), (2, 7)], &[]), 0);
    assert_eq!(begun.kind, FetchKind::New);
    create(sessions, begun, &[answer(0, 5, 0), answer(1, 6, 0), answer(2, 7, 0)], -9, 0)
}

#[test]
fn an_incremental_fetch_goes_on_with_what_was_named_before() {
    let mut sessions = FetchSessions::new(9);
    let id = session_of_three(&mut sessions);
    assert_eq!(id, 9);
    let begun = begin(&mut sessions, &request(id, 1, &[(1, 60), (3, 8)], &[0]), 1);
    assert_eq!((turn(&begun).id, begun.forgotten.clone()), (id, vec![named_key(0)]));
    assert_eq!(offsets(&begun.wanted), [(1, 60), (2, 7), (3, 8)]);
    let news = sessions.news(turn(&begun), vec![answer(1, 6, 0), answer(2, 9, 0), answer(3, 8, 10)]);
    assert_eq!(partitions(&news), [2, 3], "partition 1 has nothing new");
}

#[test]
fn a_partition_that_had_data_is_answered_last_the_next_time() {
    let mut sessions = FetchSessions::new(9);
    let id = session_of_three(&mut sessions);
    let begun = begin(&mut sessions, &request(id, 1, &[], &[]), 1);
    sessions.news(turn(&begun), vec![answer(0, 8, 100), answer(1, 6, 0), answer(2, 7, 0)]);
    let begun = begin(&mut sessions, &request(id, 2, &[], &[]), 1);
    assert_eq!(offsets(&begun.wanted), [(1, 6), (2, 7), (0, 5)]);
}

#[test]
fn what_has_no_more_to_tell_is_not_looked_at_until_it_has() {
    let mut sessions = FetchSessions::new(9);
    let id = session_of_three(&mut sessions);
    let begun = begin(&mut sessions, &request(id, 1, &[], &[]), 1);
    assert_eq!(partitions(&sessions.news(turn(&begun), vec![all(0, 5), all(1, 9), answer(2, 7, 0)])), [1]);
    let second = begin(&mut sessions, &request(id, 2, &[], &[]), 1);
    assert_eq!(offsets(&second.wanted), [(2, 7)]);
    assert!(sessions.hear(turn(&begun), &view()).is_none(), "another request has the turn");
    let readers = Readers::default();
    readers.add(&second.news, 0, UpTo::LastStable);
    readers.tell(Event::LogStart);
    assert_eq!(offsets(&sessions.hear(turn(&second), &view()).unwrap()), [(0, 5)]);
    readers.tell(Event::LogStart);
    assert_eq!(offsets(&sessions.hear(turn(&second), &view()).unwrap()), [], "it is looked at already");
    sessions.news(turn(&second), vec![all(0, 5), all(2, 7)]);
    let begun = begin(&mut sessions, &request(id, 3, &[(2, 7)], &[]), 1);
    assert_eq!(offsets(&begun.wanted), [(2, 7)], "it was named");
    sessions.news(turn(&begun), vec![all(2, 7)]);
    let follower = View { broker_epoch: Some(Offset(3)), ..view() };
    let begun = sessions.begin(&request(id, 4, &[], &[]), false, &follower, 1).unwrap();
    assert_eq!(offsets(&begun.wanted), [(0, 5), (1, 6), (2, 7)], "all may be otherwise now");
    assert!(begun.all_places_count);
}

#[test]
fn an_answer_to_an_earlier_request_does_not_say_that_a_partition_has_no_more() {
    let mut sessions = FetchSessions::new(9);
    let id = session_of_three(&mut sessions);
    let first = begin(&mut sessions, &request(id, 1, &[], &[]), 1);
    let second = begin(&mut sessions, &request(id, 2, &[(0, 2)], &[]), 1);
    sessions.news(turn(&second), vec![answer(0, 5, 10)]);
    sessions.news(turn(&first), vec![all(0, 5)]);
    let begun = begin(&mut sessions, &request(id, 3, &[], &[]), 1);
    assert_eq!(offsets(&begun.wanted), [(1, 6), (2, 7), (0, 2)]);
}

/// Whatever happens: a partition that a fetch does not look at has nothing to tell.
#[test]
fn nothing_is_missed_by_not_looking() {
    const PARTITIONS: i32 = 5;
    for seed in 0..500 {
        let mut random = Random::new(seed);
        let mut sessions = FetchSessions::new(9);
        let (mut id, mut epoch, mut cluster) = (0, 0, Arc::new(ClusterImage::default()));
        let readers: Vec<Readers> = (0..PARTITIONS).map(|_| Readers::default()).collect();
        let mut ends = [0_i64; PARTITIONS as usize];
        // What the reader wants, by partition, and what it was last told of the end.
        let (mut wanted, mut told) = (BTreeMap::from([(0, 0_i64)]), BTreeMap::new());
        let (mut changed, mut forgotten) = (BTreeSet::from([0]), BTreeSet::new());
        for _ in 0..200 {
            let partition = random.below(PARTITIONS as u64) as i32;
            match random.below(8) {
                0..3 => {
                    ends[partition as usize] += 1;
                    readers[partition as usize].tell(Event::More(UpTo::HighWatermark));
                }
                3 => {
                    let offset = random.below(ends[partition as usize] as u64 + 1) as i64;
                    wanted.insert(partition, offset);
                    changed.insert(partition);
                }
                4 if wanted.len() > 1 && wanted.remove(&partition).is_some() => {
                    changed.remove(&partition);
                    told.remove(&partition);
                    forgotten.insert(partition);
                }
                5 if random.chance(20) => cluster = Arc::new(ClusterImage::default()),
                6 if random.chance(20) => (id, epoch) = (0, 0),
                _ => {
                    if epoch == 0 {
                        changed = wanted.keys().copied().collect();
                        told.clear();
                        forgotten.clear();
                    }
                    let names: Vec<_> = changed.iter().map(|name| (*name, wanted[name])).collect();
                    let gone: Vec<_> = forgotten.iter().copied().collect();
                    let request = request(id, epoch, &names, &gone);
                    let view = View { image: Arc::downgrade(&cluster), ..view() };
                    let begun = sessions.begin(&request, false, &view, 0).unwrap();
                    gone.iter().for_each(|gone| readers[*gone as usize].remove(&begun.news));
                    (changed, forgotten) = (BTreeSet::new(), BTreeSet::new());
                    let look = |asked: &Asked| {
                        let (number, offset) = (asked.key.partition, asked.asked.fetch_offset);
                        readers[number as usize].add(&begun.news, asked.number, UpTo::HighWatermark);
                        let end = ends[number as usize];
                        let is_all = offset >= end;
                        Answer { is_all, ..answer(number, end, usize::from(!is_all)) }
                    };
                    let answers: Vec<Answer> = begun.wanted.iter().map(look).collect();
                    let answers = match begun.kind {
                        FetchKind::Incremental(turn) => sessions.news(turn, answers),
                        _ => {
                            let begun = (begun.wanted, begun.news);
                            id = sessions.create(begun, &answers, (false, view), 7, 0);
                            answers
                        }
                    };
                    // Where there is no room for a session, everything is told each time.
                    epoch = if id == NO_SESSION { 0 } else { epoch + 1 };
                    let answered: BTreeSet<i32> = partitions(&answers).into_iter().collect();
                    for (number, offset) in &wanted {
                        let end = ends[*number as usize];
                        let is_news = *offset < end || told.get(number) != Some(&end);
                        assert_eq!(answered.contains(number), is_news, "seed {seed}, partition {number}");
                    }
                    for answer in &answers {
                        let number = answer.key.partition;
                        told.insert(number, answer.data.high_watermark);
                        // It reads on, or has not had the answer.
                        if !answer.is_all && random.chance(70) {
                            wanted.insert(number, answer.data.high_watermark);
                            changed.insert(number);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_followers_places_count_again_after_a_while() {
    let mut sessions = FetchSessions::new(9);
    let id = session_of_three(&mut sessions);
    let mut epoch = 0;
    let counts = [0, 100, 500, 700, 999, 1000, 5000].map(|now_ms| {
        epoch += 1;
        begin(&mut sessions, &request(id, epoch, &[], &[]), now_ms).all_places_count
    });
    assert_eq!(counts, [false, false, true, false, false, true, true]);
    let full = begin(&mut sessions, &request(0, 0, &[(0, 5)], &[]), 1);
    assert!(full.all_places_count, "without a session they do");
}

#[test]
fn an_error_and_its_end_are_news() {
    let mut sessions = FetchSessions::new(9);
    let id = session_of_three(&mut sessions);
    let turn = turn(&begin(&mut sessions, &request(id, 1, &[], &[]), 1));
    let mut failed = answer(0, 5, 0);
    failed.data.error_code = ErrorCode::KafkaStorageError.code();
    assert_eq!(sessions.news(turn, vec![failed]).len(), 1);
    assert_eq!(sessions.news(turn, vec![answer(0, 5, 0)]).len(), 1);
    assert_eq!(sessions.news(turn, vec![answer(0, 5, 0)]).len(), 0);
}

#[test]
fn where_to_read_instead_is_news_each_time() {
    let mut sessions = FetchSessions::new(9);
    let id = session_of_three(&mut sessions);
    let turn = turn(&begin(&mut sessions, &request(id, 1, &[], &[]), 1));
    for _ in 0..2 {
        let mut elsewhere = answer(0, 5, 0);
        elsewhere.data.preferred_read_replica = 2;
        assert_eq!(sessions.news(turn, vec![elsewhere]).len(), 1);
    }
    assert_eq!(sessions.news(turn, vec![answer(0, 5, 0)]).len(), 0);
}

#[test]
fn a_wrong_session_or_epoch_is_refused() {
    let mut sessions = FetchSessions::new(9);
    let id = session_of_three(&mut sessions);
    let error = |sessions: &mut FetchSessions, id, epoch, by_id| {
        sessions.begin(&request(id, epoch, &[], &[]), by_id, &view(), 1).unwrap_err()
    };
    assert_eq!(error(&mut sessions, id + 1, 1, false), ErrorCode::FetchSessionIdNotFound);
    assert_eq!(error(&mut sessions, id, 2, false), ErrorCode::InvalidFetchSessionEpoch);
    assert_eq!(error(&mut sessions, id, 1, true), ErrorCode::FetchSessionTopicIdError);
    begin(&mut sessions, &request(id, 1, &[], &[]), 1);
    assert_eq!(error(&mut sessions, id, 1, false), ErrorCode::InvalidFetchSessionEpoch);
}

#[test]
fn a_final_or_a_new_full_fetch_ends_the_session() {
    for epoch in [FINAL_EPOCH, INITIAL_EPOCH] {
        let mut sessions = FetchSessions::new(9);
        let id = session_of_three(&mut sessions);
        let begun = begin(&mut sessions, &request(id, epoch, &[(4, 1)], &[]), 1);
        assert_eq!(offsets(&begun.wanted), [(4, 1)]);
        assert_eq!(sessions.len(), 0);
    }
}

#[test]
fn a_session_that_forgets_everything_ends() {
    let mut sessions = FetchSessions::new(9);
    let id = session_of_three(&mut sessions);
    let begun = begin(&mut sessions, &request(id, 1, &[], &[0, 1, 2]), 1);
    assert_eq!((begun.wanted, begun.kind), (Vec::new(), FetchKind::Sessionless));
    assert_eq!(sessions.len(), 0);
}

#[test]
fn a_full_cache_gives_up_only_what_idles() {
    let mut sessions = FetchSessions::new(1);
    let first = session_of_three(&mut sessions);
    let mut second = |now_ms| {
        let begun = begin(&mut sessions, &request(0, 0, &[(0, 5)], &[]), 0);
        create(&mut sessions, begun, &[], 5, now_ms)
    };
    assert_eq!(second(EVICTABLE_AFTER_MS - 1), NO_SESSION);
    assert_eq!(second(EVICTABLE_AFTER_MS), 5);
    let gone = sessions.begin(&request(first, 1, &[], &[]), false, &view(), EVICTABLE_AFTER_MS);
    assert_eq!(gone.unwrap_err(), ErrorCode::FetchSessionIdNotFound);
}

#[test]
fn a_partition_that_is_named_twice_is_read_where_it_was_named_last() {
    let mut sessions = FetchSessions::new(9);
    let begun = begin(&mut sessions, &request(0, 0, &[(0, 5), (1, 6), (0, 7)], &[]), 0);
    let id = create(&mut sessions, begun, &[], 5, 0);
    let begun = begin(&mut sessions, &request(id, 1, &[(3, 1)], &[]), 1);
    assert_eq!(offsets(&begun.wanted), [(1, 6), (0, 7), (3, 1)]);
    let numbers: BTreeSet<u64> = begun.wanted.iter().map(|wanted| wanted.number).collect();
    assert_eq!(numbers.len(), 3);
}

#[test]
fn epochs_wrap_to_one() {
    assert_eq!((next_epoch(0), next_epoch(i32::MAX)), (1, 1));
}
