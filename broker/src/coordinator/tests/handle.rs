//! The handle, its tasks and a log.

use super::*;
use crate::groups::GenerationId;
use crate::groups::offsets::{CommitOffset, CommitOffsets, FetchOffsets, OffsetSelection};
use crate::ids::Producer;

fn commit(group: &str, offset: i64) -> Request {
    Request::CommitOffsets(offsets(group, offset))
}

fn offsets(group: &str, offset: i64) -> CommitOffsets {
    CommitOffsets {
        group: GroupId::from(group),
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
    }
}

async fn committed(coordinator: &GroupCoordinator, group: &str) -> Option<i64> {
    let group = GroupId::from(group);
    let fetch = Request::FetchOffsets(FetchOffsets {
        group: group.clone(),
        selection: OffsetSelection::All,
        member: None,
    });
    match coordinator.handle(&group, fetch).await {
        Reply::FetchOffsets(Ok(offsets)) => {
            offsets.first()?.committed.as_ref().map(|committed| committed.offset)
        }
        other => panic!("{other:?}"),
    }
}

fn done() -> Reply {
    Reply::CommitOffsets(Ok(vec![Ok(())]))
}

#[tokio::test]
async fn requests_take_effect_in_the_order_in_which_they_were_handed_over() {
    let log = MemoryLog::new();
    let coordinator = coordinator(&log);
    let group = GroupId::from("g");
    let commits: Vec<_> = (0..100).map(|offset| coordinator.handle(&group, commit("g", offset))).collect();
    // Polled last to first: only the order of handing over counts.
    for commit in commits.into_iter().rev() {
        assert_eq!(commit.await, done());
    }
    assert_eq!(committed(&coordinator, "g").await, Some(99));
}

#[tokio::test]
async fn commits_share_appends() {
    let log = MemoryLog::held();
    let coordinator = coordinator(&log);
    let group = GroupId::from("g");
    let commits: Vec<_> = (0..1000).map(|offset| coordinator.handle(&group, commit("g", offset))).collect();
    log.allow_appends(1000);
    for commit in commits {
        assert_eq!(commit.await, done());
    }
    assert!(log.batch_count() < 20, "{} appends", log.batch_count());
}

#[tokio::test]
async fn the_next_coordinator_finds_what_was_committed() {
    let log = MemoryLog::new();
    let first = coordinator(&log);
    for number in 0..20 {
        let name = format!("group-{number}");
        assert_eq!(first.handle(&GroupId::from(name.as_str()), commit(&name, number)).await, done());
    }
    first.close().await;
    let second = coordinator(&log);
    for number in 0..20 {
        assert_eq!(committed(&second, &format!("group-{number}")).await, Some(number));
    }
}

#[tokio::test]
async fn closing_makes_durable_what_was_decided_and_refuses_the_rest() {
    let log = MemoryLog::held();
    let first = coordinator(&log);
    let group = GroupId::from("g");
    let waiting = first.handle(&group, commit("g", 5));
    let closing = first.close();
    log.allow_appends(1);
    closing.await;
    assert_eq!(waiting.await, done());
    let late = first.handle(&group, commit("g", 6)).await;
    assert_eq!(late, Reply::CommitOffsets(Err(GroupError::NotCoordinator)));
    log.allow_appends(10);
    assert_eq!(committed(&coordinator(&log), "g").await, Some(5));
}

#[tokio::test]
async fn the_log_may_fail_and_recover() {
    let log = MemoryLog::new();
    let coordinator = coordinator(&log);
    let group = GroupId::from("g");
    assert_eq!(coordinator.handle(&group, commit("g", 1)).await, done());
    log.fail_appends(Some(LogError::NotLeader));
    let refused = coordinator.handle(&group, commit("g", 2)).await;
    assert_eq!(refused, Reply::CommitOffsets(Err(GroupError::NotCoordinator)));
    log.fail_appends(None);
    assert_eq!(committed(&coordinator, "g").await, Some(1), "what was refused did not happen");
    assert_eq!(coordinator.handle(&group, commit("g", 3)).await, done());
    assert_eq!(committed(&coordinator, "g").await, Some(3));
}

#[tokio::test]
async fn a_log_that_cannot_be_read_is_said_so() {
    let log = MemoryLog::new();
    log.fail_reads(Some(LogError::NotLeader));
    let coordinator = coordinator(&log);
    let reply = coordinator.handle(&GroupId::from("g"), commit("g", 1)).await;
    assert_eq!(reply, Reply::CommitOffsets(Err(GroupError::NotCoordinator)));
}

#[tokio::test]
async fn deleted_topics_take_their_offsets_along_in_every_partition() {
    let log = MemoryLog::new();
    let coordinator = coordinator(&log);
    for number in 0..20 {
        let name = format!("group-{number}");
        coordinator.handle(&GroupId::from(name.as_str()), commit(&name, number)).await;
    }
    coordinator.on_topics_deleted(&["events"]).await.unwrap();
    for number in 0..20 {
        assert_eq!(committed(&coordinator, &format!("group-{number}")).await, None);
    }
}

#[tokio::test]
async fn a_marker_that_overtakes_the_question_about_a_transaction_keeps_its_offsets_out() {
    let log = MemoryLog::new();
    let coordinator = coordinator(&log);
    let partition = coordinator.partition_for("g");
    let producer = Producer { id: 7, epoch: 0 };
    let verification = coordinator.begin_verification("g", producer);
    coordinator.end_transaction(partition, producer, 0, false).await.unwrap();
    let late = coordinator.commit_in_transaction(producer, offsets("g", 5), &verification).await;
    assert_eq!(late, Reply::CommitOffsets(Err(GroupError::InvalidTxnState)));
    // Had it been let in, the next transaction of the producer would commit it.
    coordinator.end_transaction(partition, producer, 0, true).await.unwrap();
    assert_eq!(committed(&coordinator, "g").await, None);

    let verification = coordinator.begin_verification("g", producer);
    let in_time = coordinator.commit_in_transaction(producer, offsets("g", 6), &verification);
    let marked = coordinator.end_transaction(partition, producer, 0, true);
    assert_eq!(in_time.await, done());
    marked.await.unwrap();
    assert_eq!(committed(&coordinator, "g").await, Some(6));
}
