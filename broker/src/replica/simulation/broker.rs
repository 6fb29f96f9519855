//! A simulated broker: what its owner task, fetcher and session do, in one place.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::bugs::{Bug, Bugs};
use super::super::leader::diverging;
use super::super::{
    AckId, Effect, FetchPosition, Fetched, LeaderAndIsr, LogState, NodeRun, Park, Proposal, Replica,
};
use super::checker::Checker;
use super::disk::{Disk, Entry};
use crate::controller::{ClusterImage, MetadataRecord};
use crate::ids::{LeaderEpoch, NodeId, Offset};
use crate::machine::Monotonic;

pub(super) const LAG_MAX: Duration = Duration::from_millis(1_000);
const RECORDS_PER_FETCH_MAX: usize = 15;

/// An answer to a fetch.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Records {
        entries: Vec<Entry>,
        high_watermark: Offset,
    },
    Diverges {
        epoch: LeaderEpoch,
        end: Offset,
    },
    /// The broker does not lead in that epoch.
    NotNow,
}

/// A broker from its start to its end.
pub(super) struct Run {
    node: NodeRun,
    /// How many decisions it has heard of.
    pub heard: usize,
    pub image: ClusterImage,
    /// The epoch of its registration.
    pub registered: Option<Offset>,
    pub replica: Option<Replica>,
    /// Syncs under way: when each ends, how far it reaches, and how often the log had been cut when it began.
    pub syncs: Vec<(u64, usize, u32)>,
    pub cuts: u32,
    /// Its fetch under way, and from where.
    pub fetch: Option<(u64, FetchPosition)>,
    pub fetch_at: u64,
    pub speaks_at: u64,
    pub looks_at: u64,
    /// What its leader wants, until the controller has said.
    pub wish: Option<Proposal>,
    pub wish_at: u64,
    acks: BTreeMap<AckId, (Offset, u64)>,
    /// Who had everything when it last said where it is, and was in sync, with what it said.
    quiet: BTreeMap<NodeId, (Offset, FetchPosition)>,
    next_ack: u64,
    bug: Option<Bug>,
    min_isr: usize,
    pub is_durable: bool,
}

impl Run {
    pub fn new(node: NodeRun, now: u64, bug: Option<Bug>, min_isr: usize, is_durable: bool) -> Run {
        Run {
            node,
            heard: 0,
            image: ClusterImage::default(),
            registered: None,
            replica: None,
            syncs: Vec::new(),
            cuts: 0,
            fetch: None,
            fetch_at: now,
            speaks_at: now,
            looks_at: now,
            wish: None,
            wish_at: now,
            acks: BTreeMap::new(),
            quiet: BTreeMap::new(),
            next_ack: 0,
            bug,
            min_isr,
            is_durable,
        }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Hears of what the controller has decided.
    pub fn hear(
        &mut self,
        me: NodeId,
        records: &[MetadataRecord],
        disk: &mut Disk,
        now: Monotonic,
        checker: &mut Checker,
    ) {
        records.iter().for_each(|record| self.image.apply(record));
        self.heard += 1;
        let Some(partition) = self.image.topics().next().and_then(|topic| topic.partitions.first()) else {
            return;
        };
        let may_lead = self.node.may_lead(&self.image) || self.has(Bug::LeadByAnOldImage);
        let decided = LeaderAndIsr::of(partition, me, may_lead);
        if self.replica.as_ref().is_some_and(|replica| *replica.leader_and_isr() == decided) {
            return;
        }
        let mut effects = Vec::new();
        let led_in = self.leads_in();
        match &mut self.replica {
            None => {
                let log = LogState::recovered(disk.end(), disk.high_watermark);
                let bugs = Bugs(self.bug);
                let replica = Replica::with_bugs(decided, log, self.min_isr, now, bugs, &mut effects);
                self.replica = Some(replica);
            }
            Some(replica) => {
                let resigned = replica.assign(decided, self.min_isr, now, &mut effects);
                for ack in resigned {
                    self.acks.remove(&ack);
                }
            }
        }
        let leads_in = self.leads_in();
        if leads_in != led_in {
            self.fetch = None;
            self.wish = None;
        }
        if let Some(epoch) = leads_in.filter(|_| leads_in != led_in) {
            checker.tell(|| format!("{me} leads in {epoch} from {}", disk.end()));
            checker.elected(me, epoch, disk);
        }
        self.carry_out(me, effects, disk, checker);
    }

    /// In which epoch it leads.
    pub fn leads_in(&self) -> Option<LeaderEpoch> {
        match &self.replica {
            Some(Replica::Leads(leader)) => Some(leader.leader_and_isr().leader_epoch),
            _ => None,
        }
    }

    pub fn carry_out(&mut self, me: NodeId, effects: Vec<Effect>, disk: &mut Disk, checker: &mut Checker) {
        for effect in effects {
            match effect {
                Effect::AdvanceHighWatermark(up_to) => checker.committed(me, disk, up_to),
                Effect::Answer(ack) => {
                    if let Some((offset, value)) = self.acks.remove(&ack) {
                        checker.tell(|| format!("{me} acknowledges {value} at {offset}"));
                        checker.acked(disk, offset, value, self.leads_in().unwrap_or_default());
                    }
                }
                Effect::Propose(proposal) => {
                    self.wish = Some(proposal);
                    self.wish_at = 0;
                }
            }
        }
    }

    /// A producer sends a record, and waits for its answer if `acks_all`. True where it was taken.
    pub fn produce(
        &mut self,
        me: NodeId,
        value: u64,
        acks_all: bool,
        disk: &mut Disk,
        now: Monotonic,
        checker: &mut Checker,
    ) -> bool {
        let Some(Replica::Leads(leader)) = &mut self.replica else { return false };
        let LeaderAndIsr { isr, leader_epoch, .. } = leader.leader_and_isr();
        if acks_all && isr.len() < self.min_isr {
            return false;
        }
        let base = disk.end();
        disk.append(Entry { epoch: *leader_epoch, value });
        let mut effects = Vec::new();
        if acks_all {
            let ack = AckId(self.next_ack);
            self.next_ack += 1;
            self.acks.insert(ack, (base, value));
            leader.park(
                Park { ack, base: Some(base), end: disk.end(), durable: self.is_durable },
                &mut effects,
            );
        }
        leader.appended(disk.end(), now, &mut effects);
        self.carry_out(me, effects, disk, checker);
        true
    }

    /// Another broker fetches.
    pub fn answer(
        &mut self,
        me: NodeId,
        (from, broker_epoch): (NodeId, Offset),
        position: FetchPosition,
        disk: &mut Disk,
        now: Monotonic,
        checker: &mut Checker,
    ) -> Answer {
        let Some(Replica::Leads(leader)) = &mut self.replica else { return Answer::NotNow };
        let LeaderAndIsr { leader_epoch, replicas, .. } = leader.leader_and_isr();
        if position.leader_epoch != *leader_epoch || !replicas.contains(&from) {
            return Answer::NotNow;
        }
        if let Some((epoch, end)) = diverging(&disk.epochs, position.last_epoch, position.offset, disk.end())
            && self.bug != Some(Bug::IgnoreDivergence)
            && !(self.bug == Some(Bug::ShareUnknownEpochs)
                && epoch == position.last_epoch
                && end == Offset::ZERO)
        {
            return Answer::Diverges { epoch, end };
        }
        if position.offset > disk.end() {
            return Answer::Diverges { epoch: LeaderEpoch(-1), end: Offset::ZERO };
        }
        let mut effects = Vec::new();
        let FetchPosition { offset: end, log_start, .. } = position;
        // As in a fetch session: who is in sync and had everything when it last said where it is does not say so again.
        let said = (broker_epoch, position);
        let has_all = end == disk.end() && leader.leader_and_isr().isr.contains(&from);
        if !has_all || self.quiet.get(&from) != Some(&said) {
            leader.fetched(Fetched { from, broker_epoch, end, log_start, at: now }, &mut effects);
        }
        match has_all {
            true => drop(self.quiet.insert(from, said)),
            false => drop(self.quiet.remove(&from)),
        }
        let high_watermark = leader.log().high_watermark;
        self.carry_out(me, effects, disk, checker);
        let entries = disk.entries.iter().skip(position.offset.0 as usize).take(RECORDS_PER_FETCH_MAX);
        Answer::Records { entries: entries.copied().collect(), high_watermark }
    }

    /// From where it may fetch, and from whom.
    pub fn position(&self, disk: &Disk) -> Option<(NodeId, FetchPosition)> {
        let Some(Replica::Follows(follower)) = &self.replica else { return None };
        let leader = follower.leader_and_isr().leader.filter(|_| follower.may_fetch(self.is_durable))?;
        let position = FetchPosition {
            leader_epoch: follower.leader_and_isr().leader_epoch,
            offset: disk.end(),
            log_start: Offset::ZERO,
            last_epoch: disk.last_epoch(),
        };
        Some((leader, position))
    }

    /// The leader has answered. True where something is to be synced.
    pub fn take(&mut self, number: u64, answer: Answer, disk: &mut Disk) -> bool {
        let Some((awaited, position)) = self.fetch.filter(|(awaited, _)| *awaited == number) else {
            return false;
        };
        debug_assert_eq!(awaited, number);
        self.fetch = None;
        let Some(Replica::Follows(follower)) = &mut self.replica else { return false };
        if follower.leader_and_isr().leader_epoch != position.leader_epoch {
            return false;
        }
        match answer {
            Answer::NotNow => false,
            Answer::Records { entries, high_watermark } => {
                let is_new = !entries.is_empty();
                entries.into_iter().for_each(|entry| disk.append(entry));
                follower.appended(disk.end(), high_watermark);
                is_new
            }
            Answer::Diverges { epoch, end } => {
                let end = follower.end_in_common(&disk.epochs, Offset::ZERO, epoch, end);
                disk.cut(end);
                disk.durable = disk.entries.len();
                follower.cut(end);
                self.cuts += 1;
                false
            }
        }
    }

    /// A sync has ended.
    pub fn synced(&mut self, me: NodeId, (end, cuts): (usize, u32), disk: &mut Disk, checker: &mut Checker) {
        if cuts != self.cuts {
            return;
        }
        disk.durable = disk.durable.max(end.min(disk.entries.len()));
        let mut effects = Vec::new();
        if let Some(replica) = &mut self.replica {
            replica.durable(Offset(end as i64), &mut effects);
        }
        self.carry_out(me, effects, disk, checker);
    }
}
