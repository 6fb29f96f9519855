//! What becomes of a partition when its in-sync replicas, its replicas or the brokers that live change: who is eligible
//! (KIP-966), who leads, whether its reassignment is complete. Pure; what happens to brokers is in `brokers.rs`, what leaders say in
//! `alter_partitions.rs`.
//!
//! ```text
//!   replicas ⊇ in sync ∪ eligible          in sync ∩ eligible = ∅          leader ∈ in sync
//!
//!   leaves the in-sync replicas, of which fewer than min.insync.replicas are left ──▶ eligible: nothing is committed
//!                                                                                     without it from then on
//!   in sync are min.insync.replicas again ──▶ nobody is eligible
//! ```
//! The leader is the first of the replicas that is in sync and lives, else the first that is eligible and lives; else nobody leads.

use ottla_protocol::messages::metadata_records::PartitionChangeRecord;
use uuid::Uuid;

use super::bugs::{Bug, PartitionRules};
use super::image::{ClusterImage, PartitionImage, TopicImage};
use super::records::MetadataRecord;
use crate::ids::{NodeId, TopicPartition};

/// In a record: nobody leads.
const NO_LEADER: i32 = -1;
/// In a record: the leader stays.
const LEADER_STAYS: i32 = -2;
/// Stands for a log dir that is not there and may have the only copy (KIP-858).
const LOST: Uuid = Uuid::from_u128(1);
/// Stands for any log dir of a broker that had one when it was written.
const MIGRATING: Uuid = Uuid::from_u128(2);

/// Whether a broker with these log dirs has a replica's: one that is not known may be any of them.
pub(super) fn has_directory(log_dirs: &[Uuid], directory: Option<Uuid>) -> bool {
    match directory {
        None | Some(MIGRATING) => true,
        Some(LOST) => false,
        Some(directory) => directory.is_nil() || log_dirs.contains(&directory),
    }
}

/// The partitions that records give a leader which is not known to have everything that was committed.
pub(super) fn unclean_elections(image: &ClusterImage, records: &[MetadataRecord]) -> Vec<TopicPartition> {
    let unclean = records.iter().filter_map(|record| {
        let MetadataRecord::PartitionChange(change) = record else { return None };
        let topic = image.topic_by_id(change.topic_id)?;
        let before = topic.partitions.get(usize::try_from(change.partition_id).ok()?)?;
        let leader = NodeId(change.leader);
        let has_all = before.isr.contains(&leader) || before.eligible_leader_replicas.contains(&leader);
        (change.leader >= 0 && !has_all).then(|| TopicPartition::new(topic.name.clone(), change.partition_id))
    });
    unclean.collect()
}

/// Which brokers may lead: those that serve, with what is about to change.
#[derive(Clone, Copy)]
pub(super) struct Live<'a> {
    pub image: &'a ClusterImage,
    /// Is about to go.
    pub without: Option<NodeId>,
    /// Is about to serve.
    pub with: Option<NodeId>,
}

impl<'a> Live<'a> {
    pub fn of(image: &'a ClusterImage) -> Live<'a> {
        Live { image, without: None, with: None }
    }

    fn may_lead(self, node: NodeId, directory: Option<Uuid>) -> bool {
        let Some(broker) = self.image.brokers().get(&node).filter(|_| self.without != Some(node)) else {
            return false;
        };
        (self.with == Some(node) || broker.is_active()) && has_directory(&broker.log_dirs, directory)
    }
}

/// Which leader is sought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Election {
    /// The one there is, if it may, else another.
    Any,
    /// The first of the replicas, if it may.
    Preferred,
    /// As any; if none may, any replica that lives, whatever it lacks.
    Unclean,
}

/// A change of a partition that is being decided.
pub(super) struct Change<'a> {
    rules: PartitionRules,
    live: Live<'a>,
    topic: &'a TopicImage,
    number: i32,
    before: &'a PartitionImage,
    /// May elect a leader that lacks something.
    pub election: Election,
    /// To be in sync.
    pub isr: Vec<NodeId>,
    /// Has lost what it had, so that it can be neither in sync nor eligible.
    pub lossy: Option<NodeId>,
    /// Has lost all that it had, so that it cannot lead even as the last of all.
    pub empty: Option<NodeId>,
    /// To have it, with the reassignment that this begins or ends.
    pub replicas: Vec<NodeId>,
    pub adding: Vec<NodeId>,
    pub removing: Vec<NodeId>,
    /// Log dirs of the replicas.
    pub directories: Vec<Uuid>,
}

impl<'a> Change<'a> {
    /// None yet, of a partition that there is.
    pub fn of(
        rules: PartitionRules,
        live: Live<'a>,
        topic: &'a TopicImage,
        number: i32,
        before: &'a PartitionImage,
    ) -> Change<'a> {
        let may_be_unclean = live.image.elects_uncleanly(topic) || rules.has(Bug::ElectAnybody);
        Change {
            rules,
            live,
            topic,
            number,
            before,
            election: if may_be_unclean { Election::Unclean } else { Election::Any },
            isr: before.isr.clone(),
            lossy: None,
            empty: None,
            replicas: before.replicas.clone(),
            adding: before.adding_replicas.clone(),
            removing: before.removing_replicas.clone(),
            directories: before.directories.clone(),
        }
    }

    /// What the partition is of.
    pub fn topic(&self) -> &'a TopicImage {
        self.topic
    }

    /// The in-sync replicas without one.
    pub fn leaves(mut self, node: NodeId) -> Change<'a> {
        self.isr.retain(|member| *member != node);
        self
    }

    /// The record of it; `None` where nothing changes.
    pub fn record(mut self) -> Option<MetadataRecord> {
        self.complete_reassignment();
        let replicas = self.replicas.clone();
        self.isr.retain(|node| replicas.contains(node));
        if self.rules.has(Bug::LastReplicaStanding) && self.isr.is_empty() {
            self.isr.clone_from(&self.before.isr);
        }
        let mut eligible = self.eligible();
        let leader = self.elect(&eligible);
        if let Some(leader) = leader
            && !self.isr.contains(&leader)
        {
            let is_clean = eligible.contains(&leader);
            self.isr = vec![leader];
            eligible = if is_clean { self.eligible() } else { Vec::new() };
        }
        // Who led last may lead again where nobody has everything for certain.
        let mut last_known = match leader {
            Some(_) => Vec::new(),
            None if !self.isr.is_empty() => Vec::new(),
            None if self.before.leader.is_some() => self.before.leader.into_iter().collect(),
            None => self.before.last_known_elr.clone(),
        };
        last_known.retain(|node| Some(*node) != self.empty && replicas.contains(node));
        self.told(leader, eligible, last_known)
    }

    /// Members that are enough to commit.
    fn enough(&self) -> usize {
        self.live.image.min_insync_replicas(self.topic).min(self.replicas.len())
    }

    /// Ends the reassignment if every new replica is in sync, and those that stay are enough without those that go.
    fn complete_reassignment(&mut self) {
        let is_under_way = !self.adding.is_empty() || !self.removing.is_empty();
        if !is_under_way || !self.adding.iter().all(|node| self.isr.contains(node)) {
            return;
        }
        let without = |nodes: &[NodeId]| -> Vec<NodeId> {
            nodes.iter().copied().filter(|node| !self.removing.contains(node)).collect()
        };
        let (replicas, isr) = (without(&self.replicas), without(&self.isr));
        let enough = self.live.image.min_insync_replicas(self.topic).min(replicas.len());
        if isr.len() < enough.max(1) {
            return;
        }
        let dirs = self.replicas.iter().zip(&self.directories);
        let dirs = dirs.filter(|(node, _)| !self.removing.contains(node)).map(|(_, dir)| *dir);
        self.directories = dirs.collect();
        (self.replicas, self.isr) = (replicas, isr);
        self.adding.clear();
        self.removing.clear();
    }

    /// Who has all that was committed although it is not in sync.
    fn eligible(&self) -> Vec<NodeId> {
        let PartitionImage { isr, eligible_leader_replicas, .. } = self.before;
        let is_enough = self.isr.len() >= self.enough() && !self.rules.has(Bug::EligibleForEver);
        if is_enough || self.rules.has(Bug::LastReplicaStanding) {
            return Vec::new();
        }
        let had_all = |node: &NodeId| isr.contains(node) || eligible_leader_replicas.contains(node);
        let stays = |node: &NodeId| {
            had_all(node)
                && !self.isr.contains(node)
                && Some(*node) != self.lossy
                && Some(*node) != self.empty
        };
        self.replicas.iter().copied().filter(stays).collect()
    }

    /// Who leads from now on.
    fn elect(&self, eligible: &[NodeId]) -> Option<NodeId> {
        let lives = |node: &NodeId| {
            let place = self.replicas.iter().position(|replica| replica == node);
            place.is_some_and(|place| self.live.may_lead(*node, self.directories.get(place).copied()))
        };
        let in_sync = |node: &NodeId| self.isr.contains(node) && lives(node);
        let first = |is_wanted: &dyn Fn(&NodeId) -> bool| {
            let mut wanted = self.replicas.iter().filter(|node| is_wanted(node));
            wanted.next().copied()
        };
        let preferred = self.replicas.first().copied().filter(|_| self.election == Election::Preferred);
        let preferred = preferred.filter(in_sync);
        let clean = preferred
            .or_else(|| self.before.leader.filter(in_sync))
            .or_else(|| first(&in_sync))
            .or_else(|| first(&|node| eligible.contains(node) && lives(node)));
        if clean.is_some() {
            return clean;
        }
        let is_full = |node: &NodeId| Some(*node) != self.empty && lives(node);
        // Nobody has everything for certain: who led last has the most (KIP-966, balanced).
        if self.isr.is_empty()
            && eligible.is_empty()
            && let [last] = self.before.last_known_elr.as_slice()
            && is_full(last)
        {
            return Some(*last);
        }
        match self.election {
            Election::Unclean => first(&lives),
            Election::Any | Election::Preferred => None,
        }
    }

    fn told(
        self,
        leader: Option<NodeId>,
        eligible: Vec<NodeId>,
        last_known: Vec<NodeId>,
    ) -> Option<MetadataRecord> {
        let before = self.before;
        let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
        let changed = |after: &[NodeId], before: &[NodeId]| (after != before).then(|| ids(after));
        // A leader whose followers become fewer begins a new epoch, so that none of those fetches on.
        let is_smaller = before.replicas.iter().any(|node| !self.replicas.contains(node));
        let leader_id = match leader {
            same if same == before.leader && !(is_smaller && same.is_some()) => LEADER_STAYS,
            other => other.map_or(NO_LEADER, |leader| leader.0),
        };
        let record = PartitionChangeRecord {
            partition_id: self.number,
            topic_id: self.topic.id,
            isr: changed(&self.isr, &before.isr),
            leader: leader_id,
            replicas: changed(&self.replicas, &before.replicas),
            removing_replicas: changed(&self.removing, &before.removing_replicas),
            adding_replicas: changed(&self.adding, &before.adding_replicas),
            eligible_leader_replicas: changed(&eligible, &before.eligible_leader_replicas),
            last_known_elr: changed(&last_known, &before.last_known_elr),
            directories: (self.directories != before.directories).then(|| self.directories.clone()),
            ..PartitionChangeRecord::default()
        };
        let nothing = PartitionChangeRecord {
            partition_id: self.number,
            topic_id: self.topic.id,
            ..PartitionChangeRecord::default()
        };
        (record != nothing).then_some(MetadataRecord::PartitionChange(record))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use ottla_protocol::messages::metadata_records::{
        ConfigRecord, PartitionRecord, RegisterBrokerRecord, TopicRecord,
    };

    use super::*;
    use crate::controller::ResourceType;
    use crate::controller::brokers::{decide_fence, decide_unfence};

    pub const RULES: PartitionRules = PartitionRules { bug: None };

    /// Brokers 1 to `brokers`, which serve, and the topic `t`, one partition of which the first of its replicas leads.
    pub fn cluster(brokers: i32, replicas: &[i32]) -> ClusterImage {
        let mut image = ClusterImage::default();
        for broker_id in 1..=brokers {
            image.apply(&MetadataRecord::RegisterBroker(RegisterBrokerRecord {
                broker_id,
                fenced: false,
                broker_epoch: i64::from(broker_id) * 10,
                log_dirs: vec![Uuid::from_u128(broker_id as u128 * 100)],
                ..RegisterBrokerRecord::default()
            }));
        }
        let topic_id = Uuid::from_u128(77);
        image.apply(&MetadataRecord::Topic(TopicRecord { name: "t".into(), topic_id }));
        image.apply(&MetadataRecord::Partition(PartitionRecord {
            topic_id,
            partition_id: 0,
            replicas: replicas.to_vec(),
            isr: replicas.to_vec(),
            leader: replicas[0],
            leader_epoch: 0,
            partition_epoch: 0,
            directories: replicas.iter().map(|node| Uuid::from_u128(*node as u128 * 100)).collect(),
            ..PartitionRecord::default()
        }));
        image
    }

    pub fn apply(image: &mut ClusterImage, records: Vec<MetadataRecord>) {
        for record in records {
            image.apply(&MetadataRecord::decode(record.encode().unwrap()).unwrap());
            image.invariants().unwrap();
        }
    }

    pub fn config(name: &str, value: &str) -> MetadataRecord {
        MetadataRecord::Config(ConfigRecord {
            resource_type: ResourceType::Topic.code(),
            resource_name: "t".into(),
            name: name.into(),
            value: Some(value.into()),
        })
    }

    /// Replicas, in sync, eligible, leader, as one line.
    pub fn told(image: &ClusterImage) -> String {
        let partition = &image.topic("t").unwrap().partitions[0];
        let ids = |nodes: &[NodeId]| nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(",");
        let mut told = format!(
            "{} in sync {} eligible {} leader {}",
            ids(&partition.replicas),
            ids(&partition.isr),
            ids(&partition.eligible_leader_replicas),
            partition.leader.map_or("-".to_owned(), |leader| leader.to_string())
        );
        if partition.is_reassigned() {
            let (adding, removing) = (ids(&partition.adding_replicas), ids(&partition.removing_replicas));
            told += &format!(" adding {adding} removing {removing}");
        }
        told
    }

    #[test]
    fn who_leaves_below_min_insync_replicas_is_eligible_and_the_first_that_is_back_leads() {
        let mut image = cluster(3, &[1, 2, 3]);
        apply(&mut image, vec![config("min.insync.replicas", "2")]);
        for (fence, id, expected) in [
            (true, 1, "1,2,3 in sync 2,3 eligible  leader 2"),
            (true, 3, "1,2,3 in sync 2 eligible 3 leader 2"),
            (true, 2, "1,2,3 in sync  eligible 2,3 leader -"),
            (false, 1, "1,2,3 in sync  eligible 2,3 leader -"),
            (false, 3, "1,2,3 in sync 3 eligible 2 leader 3"),
            (false, 2, "1,2,3 in sync 3 eligible 2 leader 3"),
        ] {
            let decide = if fence { decide_fence } else { decide_unfence };
            let records = decide(&image, RULES, NodeId(id));
            apply(&mut image, records);
            assert_eq!(told(&image), expected, "after {id}");
        }
        let partition = &image.topic("t").unwrap().partitions[0];
        assert_eq!(
            (partition.leader_epoch.0, partition.partition_epoch),
            (3, 4),
            "a smaller ISR has no new epoch"
        );
    }

    #[test]
    fn a_replica_that_lacks_something_leads_only_where_that_is_allowed() {
        for (is_allowed, expected) in
            [("false", "1,2 in sync  eligible 1 leader -"), ("true", "1,2 in sync 2 eligible  leader 2")]
        {
            let mut image = cluster(2, &[1, 2]);
            apply(&mut image, vec![config("unclean.leader.election.enable", is_allowed)]);
            for id in [2, 1] {
                let records = decide_fence(&image, RULES, NodeId(id));
                apply(&mut image, records);
            }
            let before = image.clone();
            let records = decide_unfence(&image, RULES, NodeId(2));
            apply(&mut image, records.clone());
            assert_eq!(unclean_elections(&before, &records).len(), usize::from(is_allowed == "true"));
            assert_eq!(told(&image), expected);
        }
    }
}
