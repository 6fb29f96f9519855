use super::*;
use proptest::prelude::*;

const ME: NodeId = NodeId(1);

fn leader(log_end: i64) -> Leader {
    let log = LogState::recovered(Offset(log_end), Offset(log_end));
    Leader::elected(
        LeaderAndIsr::alone(ME, LeaderEpoch(0)),
        log,
        1,
        Monotonic::default(),
        Bugs::default(),
        &mut Vec::new(),
    )
}

/// Leads with two followers, of which those in `isr` are in sync.
fn replicated(log: LogState, isr: &[i32], min_isr: usize) -> Leader {
    let assignment = replicas(isr, 5);
    Leader::elected(assignment, log, min_isr, Monotonic::default(), Bugs::default(), &mut Vec::new())
}

fn replicas(isr: &[i32], partition_epoch: i32) -> LeaderAndIsr {
    LeaderAndIsr {
        partition_epoch,
        replicas: vec![NodeId(1), NodeId(2), NodeId(3)],
        isr: isr.iter().copied().map(NodeId).collect(),
        ..LeaderAndIsr::alone(ME, LeaderEpoch(4))
    }
}

fn told(leader: &mut Leader, tell: impl FnOnce(&mut Leader, &mut Vec<Effect>)) -> Vec<Effect> {
    let mut effects = Vec::new();
    tell(leader, &mut effects);
    leader.invariants().unwrap();
    effects
}

fn park(leader: &mut Leader, ack: u64, base: Option<i64>, end: i64) -> Vec<Effect> {
    let park = Park { ack: AckId(ack), base: base.map(Offset), end: Offset(end), durable: true };
    told(leader, |leader, effects| leader.park(park, effects))
}

fn append(leader: &mut Leader, log_end: i64) -> Vec<Effect> {
    append_at(leader, log_end, 0)
}

fn append_at(leader: &mut Leader, log_end: i64, at_ms: u64) -> Vec<Effect> {
    told(leader, |leader, effects| leader.appended(Offset(log_end), Monotonic::from_millis(at_ms), effects))
}

fn sync(leader: &mut Leader, end: i64) -> Vec<Effect> {
    told(leader, |leader, effects| leader.durable(Offset(end), effects))
}

fn fetch(leader: &mut Leader, from: i32, end: i64, at_ms: u64) -> Vec<Effect> {
    let fetched = Fetched {
        from: NodeId(from),
        broker_epoch: Offset(from.into()),
        end: Offset(end),
        log_start: Offset(end / 2),
        at: Monotonic::from_millis(at_ms),
    };
    told(leader, |leader, effects| leader.fetched(fetched, effects))
}

fn readable(offset: i64) -> Effect {
    Effect::AdvanceHighWatermark(Offset(offset))
}

fn proposal(partition_epoch: i32, isr: &[(i32, i64)]) -> Effect {
    let isr = isr.iter().map(|(id, epoch)| (NodeId(*id), Offset(*epoch))).collect();
    Effect::Propose(Proposal { leader_epoch: LeaderEpoch(4), partition_epoch, isr })
}

#[test]
fn a_batch_of_acks_all_is_answered_and_readable_once_it_is_durable() {
    let mut leader = leader(10);
    assert_eq!(park(&mut leader, 1, Some(10), 13), []);
    assert_eq!(append(&mut leader, 13), []);
    assert_eq!(sync(&mut leader, 13), [readable(13), Effect::Answer(AckId(1))]);
}

#[test]
fn a_batch_of_a_weaker_promise_is_readable_at_once_unless_one_before_it_waits() {
    let mut leader = leader(10);
    assert_eq!(append(&mut leader, 12), [readable(12)]);
    park(&mut leader, 1, Some(14), 15);
    assert_eq!(append(&mut leader, 15), [readable(14)]);
    assert_eq!(append(&mut leader, 20), []);
    assert_eq!(sync(&mut leader, 15), [readable(20), Effect::Answer(AckId(1))]);
}

#[test]
fn a_duplicate_of_what_is_readable_but_not_durable_still_waits_for_the_disk() {
    let mut leader = leader(10);
    append(&mut leader, 12);
    assert_eq!(park(&mut leader, 4, None, 12), []);
    assert_eq!(sync(&mut leader, 12), [Effect::Answer(AckId(4))]);
}

#[test]
fn an_answer_for_what_is_durable_is_given_at_once() {
    assert_eq!(park(&mut leader(10), 4, None, 10), [Effect::Answer(AckId(4))]);
}

#[test]
fn a_record_is_committed_when_everybody_in_sync_has_it_on_disk() {
    let mut leader = replicated(LogState::recovered(Offset(10), Offset(10)), &[1, 2], 2);
    park(&mut leader, 1, Some(10), 12);
    append(&mut leader, 12);
    assert_eq!(fetch(&mut leader, 2, 10, 1), []);
    assert_eq!(fetch(&mut leader, 2, 12, 2), [], "not on the leader's own disk");
    assert_eq!(sync(&mut leader, 12), [readable(12), Effect::Answer(AckId(1))]);
    // The other way round.
    park(&mut leader, 2, Some(12), 14);
    append(&mut leader, 14);
    assert_eq!(sync(&mut leader, 14), []);
    assert_eq!(fetch(&mut leader, 3, 10, 3), [], "not in sync, and behind");
    assert_eq!(fetch(&mut leader, 2, 14, 4), [readable(14), Effect::Answer(AckId(2))]);
}

#[test]
fn who_has_everything_is_proposed_and_counts_from_then_on() {
    let mut leader = replicated(LogState::recovered(Offset(10), Offset(10)), &[1], 1);
    assert_eq!(fetch(&mut leader, 3, 9, 1), []);
    assert_eq!(fetch(&mut leader, 3, 10, 2), [proposal(5, &[(1, -1), (3, 3)])]);
    assert_eq!(fetch(&mut leader, 2, 10, 3), [], "one proposal at a time");
    assert_eq!(append(&mut leader, 12), [], "who may be in sync already must have it");
    assert_eq!(fetch(&mut leader, 3, 12, 4), [readable(12)]);
    // The controller will not: it counts until that is decided, and is proposed again a little later.
    let refused = |leader: &mut Leader, epoch| {
        told(leader, |leader, effects| leader.refused(epoch, Monotonic::from_millis(5), effects))
    };
    append(&mut leader, 13);
    assert_eq!(refused(&mut leader, 4), [], "of an earlier decision");
    assert_eq!(refused(&mut leader, 5), [proposal(5, &[(1, -1)])], "an earlier copy may count yet");
    assert_eq!(leader.log().high_watermark, Offset(12));
    let decided = told(&mut leader, |leader, effects| {
        leader.decided(replicas(&[1], 6), Monotonic::from_millis(6), effects);
    });
    assert_eq!(decided, [readable(13)]);
    assert_eq!(fetch(&mut leader, 3, 13, 7), []);
    assert_eq!(fetch(&mut leader, 3, 13, 1_000), [proposal(6, &[(1, -1), (3, 3)])]);
    // It agrees.
    let decided = told(&mut leader, |leader, effects| {
        leader.decided(replicas(&[1, 3], 7), Monotonic::from_millis(1_001), effects);
    });
    assert_eq!(decided, []);
    assert_eq!(append(&mut leader, 14), []);
    assert_eq!(fetch(&mut leader, 3, 14, 1_002), [readable(14)]);
}

#[test]
fn a_new_leader_takes_nobody_in_who_lacks_what_it_began_with() {
    let log = LogState::recovered(Offset(10), Offset(6));
    let mut leader = replicated(log, &[1], 1);
    assert_eq!(leader.log().high_watermark, Offset(10), "alone in sync, all it has is committed");
    assert_eq!(fetch(&mut leader, 2, 6, 1), []);
    let mut leader = replicated(log, &[1, 3], 1);
    assert_eq!(leader.log().high_watermark, Offset(6), "what the other has is not known yet");
    assert_eq!(fetch(&mut leader, 2, 8, 1), [], "past the high watermark, and yet not all");
    assert_eq!(fetch(&mut leader, 3, 10, 2), [readable(10)]);
}

#[test]
fn a_follower_that_lags_is_proposed_to_leave_and_holds_records_up_until_it_has() {
    let mut leader = replicated(LogState::recovered(Offset(10), Offset(10)), &[1, 2, 3], 1);
    let lag = |leader: &mut Leader, at_ms| {
        told(leader, |leader, effects| {
            leader.check_lag(Monotonic::from_millis(at_ms), Duration::from_millis(100), effects);
        })
    };
    fetch(&mut leader, 2, 10, 1);
    fetch(&mut leader, 3, 10, 1);
    assert_eq!(lag(&mut leader, 500), [], "who has everything may be silent");
    append_at(&mut leader, 12, 500);
    fetch(&mut leader, 2, 12, 501);
    assert_eq!(lag(&mut leader, 600), [], "until then it had everything");
    append_at(&mut leader, 13, 600);
    fetch(&mut leader, 2, 13, 601);
    assert_eq!(lag(&mut leader, 601), [proposal(5, &[(1, -1), (2, 2)])]);
    assert_eq!(leader.log().high_watermark, Offset(10), "it may be the next leader until it is out");
    let decided = told(&mut leader, |leader, effects| {
        leader.decided(replicas(&[1, 2], 6), Monotonic::from_millis(602), effects);
    });
    assert_eq!(decided, [readable(13)]);
}

#[test]
fn with_too_few_in_sync_nothing_is_committed() {
    let mut leader = replicated(LogState::recovered(Offset(10), Offset(10)), &[1], 2);
    park(&mut leader, 1, Some(10), 11);
    append(&mut leader, 11);
    assert_eq!(sync(&mut leader, 11), []);
    assert_eq!(fetch(&mut leader, 2, 11, 1), [proposal(5, &[(1, -1), (2, 2)])]);
    let decided = told(&mut leader, |leader, effects| {
        leader.decided(replicas(&[1, 2], 6), Monotonic::from_millis(2), effects);
    });
    assert_eq!(decided, [readable(11), Effect::Answer(AckId(1))]);
}

#[test]
fn what_a_new_leaders_disk_has_not_confirmed_is_held() {
    let log = LogState { log_end: Offset(12), durable_end: Offset(10), high_watermark: Offset(9) };
    let mut leader = replicated(log, &[1], 1);
    assert_eq!(leader.log().high_watermark, Offset(10));
    assert_eq!(sync(&mut leader, 12), [readable(12)]);
}

#[test]
fn a_fetch_of_an_earlier_run_of_a_broker_counts_for_nothing() {
    let mut leader = replicated(LogState::recovered(Offset(10), Offset(10)), &[1, 2], 1);
    fetch(&mut leader, 2, 10, 1);
    let late = Fetched {
        from: NodeId(2),
        broker_epoch: Offset(1),
        end: Offset(4),
        log_start: Offset(3),
        at: Monotonic::from_millis(2),
    };
    assert_eq!(told(&mut leader, |leader, effects| leader.fetched(late, effects)), []);
    assert_eq!(leader.follower_end(NodeId(2)), Some(Offset(10)));
}

#[test]
fn it_knows_where_followers_are_that_have_fetched_from_it() {
    let mut leader = replicated(LogState::recovered(Offset(10), Offset(10)), &[1, 2, 3], 1);
    assert_eq!(leader.follower_places(), []);
    fetch(&mut leader, 2, 10, 7);
    fetch(&mut leader, 3, 4, 8);
    let place = |id, log_start, log_end, caught_up_ms| FollowerPlace {
        id: NodeId(id),
        log_start: Offset(log_start),
        log_end: Offset(log_end),
        caught_up_at: Monotonic::from_millis(caught_up_ms),
    };
    assert_eq!(leader.follower_places(), [place(2, 5, 10, 7), place(3, 2, 4, 0)]);
}

proptest! {
    #[test]
    fn every_answer_comes_once_in_offset_order_and_nothing_is_read_or_answered_early(
        seed in proptest::collection::vec((0u8..4, 1i64..5), 0..80)
    ) {
        let mut leader = leader(0);
        let (mut end, mut durable, mut acks) = (0i64, 0i64, 0u64);
        let mut parked = BTreeMap::new();
        let mut answered = Vec::new();
        for (kind, amount) in seed {
            let mut effects = Vec::new();
            match kind {
                0 | 1 => {
                    let base = end;
                    end += amount;
                    if kind == 1 {
                        acks += 1;
                        parked.insert(acks, (base, end));
                        effects = park(&mut leader, acks, Some(base), end);
                    }
                    effects.extend(append(&mut leader, end));
                }
                2 => {
                    acks += 1;
                    parked.insert(acks, (end, end));
                    effects = park(&mut leader, acks, None, end);
                }
                _ => {
                    durable = (durable + amount).min(end);
                    effects = sync(&mut leader, durable);
                }
            }
            for effect in effects {
                match effect {
                    Effect::Answer(AckId(ack)) => {
                        prop_assert!(parked[&ack].1 <= durable);
                        prop_assert!(!answered.contains(&ack));
                        answered.push(ack);
                    }
                    Effect::AdvanceHighWatermark(readable) => {
                        let hidden = parked.values().filter(|(base, end)| base < end && *end > durable);
                        let hidden = hidden.map(|(base, _)| *base).min().unwrap_or(end);
                        prop_assert_eq!(readable.0, hidden);
                    }
                    Effect::Propose(_) => prop_assert!(false, "nobody else keeps it"),
                }
            }
        }
        sync(&mut leader, end);
        prop_assert_eq!(leader.parked_len(), 0);
        prop_assert_eq!(leader.log().high_watermark, Offset(end));
    }
}
