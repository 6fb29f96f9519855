//! The shard's rules, event by event, with a clock of the test's own.

use tokio::sync::oneshot;

use super::super::shard::Shard;
use super::*;
use crate::groups::offsets::{CommitOffset, CommitOffsets, FetchOffsets, OffsetSelection};
use crate::groups::{GenerationId, Groups, Monotonic, Now, WallMs};

fn at(ms: u64) -> Now {
    Now { monotonic: Monotonic::from_millis(ms), wall: WallMs(1_000) }
}

fn shard() -> Shard<Groups> {
    Shard::new(CoordinatorConfig::default(), at(0))
}

fn loaded() -> Shard<Groups> {
    let mut shard = shard();
    assert_eq!(shard.next_read(), Some(0));
    shard.on_read(at(0), Ok(LogSlice::default()));
    shard
}

fn ask(shard: &mut Shard<Groups>, now: Now, request: Request) -> oneshot::Receiver<Reply> {
    let (reply, answered) = oneshot::channel();
    shard.on_request(now, request, Some(reply));
    answered
}

fn answer(receiver: &mut oneshot::Receiver<Reply>) -> Option<Reply> {
    receiver.try_recv().ok()
}

fn commit(offset: i64) -> Request {
    Request::CommitOffsets(CommitOffsets {
        group: GroupId::from("g"),
        generation: GenerationId::NONE,
        member_id: None,
        instance_id: None,
        knows_group_id_not_found: true,
        retention: None,
        offsets: vec![CommitOffset {
            topic: TopicName::from("events"),
            topic_id: EVENTS_ID,
            partition: 0,
            offset,
            leader_epoch: -1,
            metadata: "".into(),
        }],
    })
}

fn fetch() -> Request {
    Request::FetchOffsets(FetchOffsets {
        group: GroupId::from("g"),
        selection: OffsetSelection::All,
        member: None,
    })
}

fn fetched(reply: Option<Reply>) -> Vec<i64> {
    match reply {
        Some(Reply::FetchOffsets(Ok(offsets))) => offsets
            .into_iter()
            .filter_map(|offset| offset.committed)
            .map(|committed| committed.offset)
            .collect(),
        other => panic!("not fetched: {other:?}"),
    }
}

#[test]
fn a_commit_is_answered_when_it_is_durable() {
    let mut shard = loaded();
    let mut commit = ask(&mut shard, at(1), commit(1));
    assert_eq!(answer(&mut commit), None);
    assert!(shard.next_batch().is_some());
    assert_eq!(answer(&mut commit), None);
    shard.on_appended(at(2), Ok(0));
    assert_eq!(answer(&mut commit), Some(Reply::CommitOffsets(Ok(vec![Ok(())]))));
    assert!(shard.is_settled());
    assert_eq!(shard.waiting_count(), 0);
}

#[test]
fn what_is_told_of_a_commit_waits_until_the_commit_is_durable() {
    let mut shard = loaded();
    let _commit = ask(&mut shard, at(1), commit(1));
    let mut fetch = ask(&mut shard, at(1), fetch());
    assert_eq!(answer(&mut fetch), None);
    shard.next_batch().unwrap();
    shard.on_appended(at(2), Ok(0));
    assert_eq!(fetched(answer(&mut fetch)), vec![1]);
}

#[test]
fn a_rejection_waits_for_what_it_rests_on_too() {
    let mut shard = loaded();
    let _commit = ask(&mut shard, at(1), commit(1));
    let _deleted = ask(&mut shard, at(1), Request::DeleteGroup(GroupId::from("g")));
    let mut again = ask(&mut shard, at(1), Request::DeleteGroup(GroupId::from("g")));
    assert_eq!(answer(&mut again), None, "the deletion may yet fail");
    shard.next_batch().unwrap();
    shard.on_appended(at(2), Ok(0));
    assert_eq!(answer(&mut again), Some(Reply::DeleteGroup(Err(GroupError::GroupIdNotFound))));
}

#[test]
fn commits_that_come_during_an_append_share_the_next_one() {
    let mut shard = loaded();
    let _first = ask(&mut shard, at(1), commit(1));
    shard.next_batch().unwrap();
    let mut later: Vec<_> = (2..100).map(|offset| ask(&mut shard, at(1), commit(offset))).collect();
    assert!(shard.next_batch().is_none(), "one append at a time");
    shard.on_appended(at(2), Ok(0));
    let batch = Batches::new(shard.next_batch().unwrap()).next().unwrap().unwrap();
    assert_eq!(batch.header.record_count, 98);
    shard.on_appended(at(3), Ok(1));
    assert!(later.iter_mut().all(|receiver| answer(receiver).is_some()));
}

#[test]
fn requests_that_come_while_loading_are_held_for_a_moment() {
    let mut shard = shard();
    let mut fetch = ask(&mut shard, at(1), fetch());
    assert_eq!(answer(&mut fetch), None);
    assert_eq!(shard.next_read(), Some(0));
    assert_eq!(shard.next_read(), None, "one read at a time");
    shard.on_read(at(2), Ok(LogSlice::default()));
    assert_eq!(fetched(answer(&mut fetch)), Vec::<i64>::new());
}

#[test]
fn requests_are_told_of_the_load_when_it_takes_too_long() {
    let mut shard = shard();
    let mut early = ask(&mut shard, at(1), fetch());
    assert_eq!(shard.next_deadline(), Some(Monotonic::from_millis(200)));
    shard.on_deadline(at(200));
    let refused = Some(Reply::FetchOffsets(Err(GroupError::CoordinatorLoadInProgress)));
    assert_eq!(answer(&mut early), refused);
    let mut late = ask(&mut shard, at(300), fetch());
    assert_eq!(answer(&mut late), refused);
    assert_eq!(shard.next_deadline(), None);
}

#[test]
fn a_failed_append_refuses_everything_that_rests_on_it_and_reads_the_log_again() {
    let mut shard = loaded();
    let mut commit = ask(&mut shard, at(1), commit(1));
    let mut read = ask(&mut shard, at(1), fetch());
    shard.next_batch().unwrap();
    shard.on_appended(at(2), Err(LogError::Unavailable("disk full".to_owned())));
    let error = GroupError::CoordinatorNotAvailable;
    assert_eq!(answer(&mut commit), Some(Reply::CommitOffsets(Err(error))));
    assert_eq!(answer(&mut read), Some(Reply::FetchOffsets(Err(error))));
    assert_eq!(shard.next_batch(), None, "what failed is not tried again behind the client's back");
    assert_eq!(shard.next_read(), Some(0));
    shard.on_read(at(3), Ok(LogSlice::default()));
    let mut fetch = ask(&mut shard, at(4), fetch());
    assert_eq!(fetched(answer(&mut fetch)), Vec::<i64>::new());
}

#[test]
fn a_failed_append_that_did_reach_the_log_counts() {
    let mut shard = loaded();
    let _commit = ask(&mut shard, at(1), commit(7));
    let batches = shard.next_batch().unwrap();
    shard.on_appended(at(2), Err(LogError::Unavailable("timed out".to_owned())));
    assert_eq!(shard.next_read(), Some(0));
    shard.on_read(at(3), Ok(LogSlice { batches, next_offset: 1, end_offset: 1, ..LogSlice::default() }));
    let mut fetch = ask(&mut shard, at(4), fetch());
    assert_eq!(fetched(answer(&mut fetch)), vec![7]);
}

#[test]
fn a_failed_read_is_tried_again_after_a_while() {
    let mut shard = shard();
    assert_eq!(shard.next_read(), Some(0));
    shard.on_read(at(10), Err(LogError::NotLeader));
    assert_eq!(shard.next_read(), None);
    let retry = shard.next_deadline().unwrap();
    shard.on_deadline(Now { monotonic: retry, ..at(0) });
    assert_eq!(shard.next_read(), Some(0));
}

#[test]
fn a_damaged_log_keeps_the_partition_from_being_served() {
    let mut good = loaded();
    let _commit = ask(&mut good, at(1), commit(7));
    let mut bytes = good.next_batch().unwrap().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let mut shard = shard();
    shard.next_read();
    shard.on_read(
        at(1),
        Ok(LogSlice { batches: bytes.into(), next_offset: 1, end_offset: 1, ..LogSlice::default() }),
    );
    shard.on_deadline(at(300));
    let mut fetch = ask(&mut shard, at(300), fetch());
    assert_eq!(answer(&mut fetch), Some(Reply::FetchOffsets(Err(GroupError::CoordinatorNotAvailable))));
}

#[test]
fn a_client_that_went_away_disturbs_nobody() {
    let mut shard = loaded();
    drop(ask(&mut shard, at(1), commit(1)));
    let mut other = ask(&mut shard, at(1), commit(2));
    shard.next_batch().unwrap();
    shard.on_appended(at(2), Ok(0));
    assert!(answer(&mut other).is_some());
}
