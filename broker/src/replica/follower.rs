//! The follower's side: where it fetches from, what becomes of its log by the leader's answer, and how far it knows
//! records to be committed.
//!
//! Logs part where a leader wrote what nobody else has, and another leader wrote something else in its place. A follower says
//! with each fetch of which epoch its last record is; a leader in whose log that epoch ends earlier says where, and the
//! follower cuts back to there, as often as it takes (KIP-101, KIP-279, KIP-595). It never cuts because of its own high
//! watermark, which may be behind what is committed.

use super::bugs::{Bug, Bugs};
use super::leader::LogState;
use super::leader_and_isr::LeaderAndIsr;
use crate::ids::{LeaderEpoch, Offset};
use crate::log::LeaderEpochs;

/// From where a follower fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchPosition {
    /// The epoch of the leader that it follows.
    pub leader_epoch: LeaderEpoch,
    /// Where its log ends.
    pub offset: Offset,
    /// Where it begins.
    pub log_start: Offset,
    /// Of its last record; -1 where it has none.
    pub last_epoch: LeaderEpoch,
}

/// A follower of one leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follower {
    assignment: LeaderAndIsr,
    log: LogState,
    pub(super) bugs: Bugs,
}

impl Follower {
    /// Begins to follow, or waits for a leader.
    pub(super) fn new(assignment: LeaderAndIsr, log: LogState, bugs: Bugs) -> Follower {
        Follower { assignment, log, bugs }
    }

    /// What was decided about the partition.
    pub fn leader_and_isr(&self) -> &LeaderAndIsr {
        &self.assignment
    }

    /// Where the log is.
    pub fn log(&self) -> LogState {
        self.log
    }

    /// Whether it may fetch, which tells the leader that it has all before. With `durably` that is so once its disk has.
    pub fn may_fetch(&self, durably: bool) -> bool {
        !durably || self.log.durable_end == self.log.log_end || self.bugs.has(Bug::FetchBeforeTheDisk)
    }

    /// Records were appended, up to this log end, and the leader has committed what is below its high watermark. True where
    /// readers may see more.
    pub fn appended(&mut self, log_end: Offset, leader_high_watermark: Offset) -> bool {
        self.log.log_end = self.log.log_end.max(log_end);
        let known = leader_high_watermark.min(self.log.log_end);
        let has_advanced = known > self.log.high_watermark;
        self.log.high_watermark = self.log.high_watermark.max(known);
        has_advanced
    }

    /// The disk has confirmed everything below this.
    pub fn durable(&mut self, end: Offset) {
        self.log.durable_end = self.log.durable_end.max(end.min(self.log.log_end));
    }

    /// The log was cut, durably, and ends here now.
    pub fn cut(&mut self, log_end: Offset) {
        self.log = LogState {
            log_end,
            durable_end: log_end,
            // Only an unclean election takes back what was committed.
            high_watermark: self.log.high_watermark.min(log_end),
        };
    }

    /// Where the log is to end, when the leader has said that its epoch `epoch`, the newest not past the follower's last, ends at
    /// `end`.
    pub fn end_in_common(
        &self,
        epochs: &LeaderEpochs,
        log_start: Offset,
        epoch: LeaderEpoch,
        end: Offset,
    ) -> Offset {
        if self.bugs.has(Bug::CutToHighWatermark) {
            return self.log.high_watermark;
        }
        // What is of later epochs than the leader's, or past the end of that one, only this log has. With no epoch that old
        // nothing is in common.
        if self.bugs.has(Bug::CutToTheLeadersEnd) {
            return end.min(self.log.log_end);
        }
        let own = epochs.end_offset(epoch, self.log.log_end);
        let own_end = own.map_or(log_start, |(_, own_end)| own_end);
        own_end.min(end).min(self.log.log_end).max(log_start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;

    fn follower(log_end: i64, high_watermark: i64) -> Follower {
        let assignment = LeaderAndIsr {
            leader: Some(NodeId(2)),
            replicas: vec![NodeId(1), NodeId(2)],
            isr: vec![NodeId(1), NodeId(2)],
            ..LeaderAndIsr::alone(NodeId(1), LeaderEpoch(7))
        };
        Follower::new(
            assignment,
            LogState::recovered(Offset(log_end), Offset(high_watermark)),
            Bugs::default(),
        )
    }

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::default();
        for (epoch, start) in entries {
            epochs.assign(LeaderEpoch(*epoch), Offset(*start));
        }
        epochs
    }

    #[test]
    fn it_cuts_back_to_where_both_logs_were_written_by_the_same_leaders() {
        // KIP-279: its last record is of epoch 5, of which the leader has nothing; the leader's newest before is 3.
        let (follower, epochs) = (follower(40, 5), epochs(&[(1, 0), (3, 10), (5, 25)]));
        let end = |epoch, end| follower.end_in_common(&epochs, Offset(0), LeaderEpoch(epoch), Offset(end)).0;
        assert_eq!(end(3, 30), 25, "what is of epoch 5 goes");
        assert_eq!(end(3, 20), 20, "the leader's epoch 3 is shorter");
        assert_eq!(end(5, 33), 33);
        assert_eq!(
            end(2, 15),
            10,
            "of epoch 2 there is nothing here: only what is of epoch 1 may be the same"
        );
        assert_eq!(end(0, 4), 0, "nothing in common");
    }

    #[test]
    fn it_fetches_on_once_its_disk_has_what_it_says_it_has() {
        let mut follower = follower(10, 5);
        assert!(follower.may_fetch(true));
        assert!(follower.appended(Offset(20), Offset(12)));
        assert_eq!(follower.log().high_watermark, Offset(12));
        assert!(!follower.may_fetch(true) && follower.may_fetch(false));
        follower.durable(Offset(15));
        assert!(!follower.may_fetch(true));
        follower.durable(Offset(30));
        assert!(follower.may_fetch(true));
        assert_eq!(follower.log().durable_end, Offset(20));
        assert!(!follower.appended(Offset(20), Offset(11)), "it never goes back");
        follower.cut(Offset(8));
        assert_eq!(follower.log(), LogState::recovered(Offset(8), Offset(8)));
    }
}
