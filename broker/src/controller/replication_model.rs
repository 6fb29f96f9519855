//! Checks decisions about replicas against a model of what each replica has: seeded runs of brokers that crash, lose disks, stop
//! and come back while leaders commit. After every step the image holds its invariants and whoever leads has all that was
//! committed. Every mistake of the bug bank is caught. `OTTLA_SEED` repeats one seed, `OTTLA_SEEDS` says how many are tried.

use std::collections::BTreeMap;

use ottla_protocol::messages::metadata_records::{ConfigRecord, PartitionRecord, TopicRecord};
use uuid::Uuid;

use super::alter_partitions::{AlterPartitions, IsrChange, decide_alter_partitions};
use super::brokers::{
    BrokerEndpoint, Registration, decide_controlled_shutdown, decide_fence, decide_register, decide_unfence,
    decide_unregister,
};
use super::bugs::{Bug, PartitionRules};
use super::configs::Configs;
use super::elections::{ElectLeader, ElectionType, decide_balance, decide_elect};
use super::group_configs::GroupLimits;
use super::image::{ClusterImage, PartitionImage, ResourceType};
use super::reassignments::{Reassign, decide_reassign};
use super::records::MetadataRecord;
use super::snapshots::SnapshotRules;
use super::topics::TopicRules;
use crate::ids::{LeaderEpoch, NodeId, Offset};
use crate::random::Random;

const NODES: u64 = 4;
const STEPS: usize = 300;
const SEEDS: u64 = 300;
/// Partitions: each a topic of its own, with `min.insync.replicas` and whether `acks=all` is durable.
const TOPICS: [(&str, &str, bool); 3] = [("safe", "2", true), ("fast", "2", false), ("few", "1", true)];

#[derive(Default)]
struct Node {
    is_up: bool,
    incarnation: u128,
    dir: u128,
    epoch: Option<Offset>,
    stopped_with: Option<Offset>,
    /// By partition, how much of what was committed it has.
    has: BTreeMap<usize, u64>,
}

/// What a leader heard of a follower: in which of its epochs, from which run, and how much that has.
type Heard = BTreeMap<(usize, NodeId), (LeaderEpoch, Offset, u64)>;

enum Planned {
    Start(NodeId),
    Alter(usize),
}

struct Model {
    random: Random,
    rules: PartitionRules,
    topic_rules: TopicRules,
    image: ClusterImage,
    nodes: BTreeMap<NodeId, Node>,
    heard: Heard,
    /// The image as a leader saw it some time ago.
    stale: ClusterImage,
    /// The next steps, the last first.
    script: Vec<Planned>,
    stale_committed: [u64; TOPICS.len()],
    committed: [u64; TOPICS.len()],
    end: i64,
    /// Changes of leaders, so that a run that does nothing is noticed.
    led: u64,
    /// Replicas that joined the in-sync replicas.
    joined: u64,
}

fn topic_id(topic: usize) -> Uuid {
    Uuid::from_u128(topic as u128 + 1)
}

impl Model {
    fn new(seed: u64, bug: Option<Bug>) -> Model {
        let mut model = Model {
            random: Random::new(seed),
            rules: PartitionRules { bug },
            topic_rules: TopicRules {
                node_id: NodeId(1),
                is_alone: false,
                default_partitions: 1,
                default_replication_factor: None,
                directories: Vec::new(),
                group_limits: GroupLimits::default(),
                topic_defaults: Configs::new(),
                snapshots: SnapshotRules::default(),
            },
            image: ClusterImage::default(),
            nodes: (1..=NODES as i32).map(|id| (NodeId(id), Node::default())).collect(),
            heard: Heard::new(),
            stale: ClusterImage::default(),
            script: Vec::new(),
            stale_committed: [0; TOPICS.len()],
            committed: [0; TOPICS.len()],
            end: 0,
            led: 0,
            joined: 0,
        };
        for (node, state) in &mut model.nodes {
            state.dir = node.0 as u128 * 1000;
        }
        for node in 1..=NODES as i32 {
            model.start(NodeId(node));
            model.start(NodeId(node));
        }
        for (topic, (name, min_isr, is_durable)) in TOPICS.iter().enumerate() {
            let mut records =
                vec![MetadataRecord::Topic(TopicRecord { name: (*name).into(), topic_id: topic_id(topic) })];
            let flush = if *is_durable { "1" } else { "1000" };
            for (config, value) in [("min.insync.replicas", *min_isr), ("flush.messages", flush)] {
                records.push(MetadataRecord::Config(ConfigRecord {
                    resource_type: ResourceType::Topic.code(),
                    resource_name: (*name).into(),
                    name: config.into(),
                    value: Some(value.into()),
                }));
            }
            let replicas: Vec<i32> = (0..3).map(|nth| (topic as i32 + nth) % NODES as i32 + 1).collect();
            let directories = replicas.iter().map(|node| Uuid::from_u128(*node as u128 * 1000)).collect();
            records.push(MetadataRecord::Partition(PartitionRecord {
                partition_id: 0,
                topic_id: topic_id(topic),
                isr: replicas.clone(),
                leader: topic as i32 + 1,
                leader_epoch: 0,
                partition_epoch: 0,
                directories,
                replicas,
                ..PartitionRecord::default()
            }));
            model.apply(records);
        }
        model
    }

    fn apply(&mut self, records: Vec<MetadataRecord>) {
        for record in records {
            self.image.apply(&MetadataRecord::decode(record.encode().unwrap()).unwrap());
            self.end += 1;
        }
        // Whoever is no replica any more removes what it has.
        for topic in 0..TOPICS.len() {
            let Some(found) = self.image.topic_by_id(topic_id(topic)) else { continue };
            let Some(partition) = found.partitions.first() else { continue };
            for (node, state) in &mut self.nodes {
                if !partition.replicas.contains(node) {
                    state.has.remove(&topic);
                }
            }
        }
    }

    /// An operator moves a partition, or gives up moving it.
    fn reassign(&mut self, topic: usize) {
        let count = 1 + self.random.below(NODES - 1) as usize;
        let mut nodes: Vec<NodeId> = (1..=NODES as i32).map(NodeId).collect();
        let target =
            (0..count).map(|_| nodes.remove(self.random.below(nodes.len() as u64) as usize)).collect();
        let wanted = Reassign {
            topic: TOPICS[topic].0.to_owned(),
            partition: 0,
            replicas: self.random.chance(70).then_some(target),
            may_change_count: true,
        };
        let decided = decide_reassign(&self.image, &self.topic_rules, self.rules, &wanted);
        self.apply(decided.unwrap_or_default());
    }

    fn elect(&mut self, topic: usize) {
        if self.random.chance(50) {
            let records = decide_balance(&self.image, self.rules);
            return self.apply(records);
        }
        let election_type = ElectionType::Preferred;
        let wanted = ElectLeader { topic: TOPICS[topic].0.to_owned(), partition: 0, election_type };
        let records = decide_elect(&self.image, self.rules, &wanted);
        self.apply(records.unwrap_or_default());
    }

    fn partition(&self, topic: usize) -> &PartitionImage {
        &self.image.topic_by_id(topic_id(topic)).unwrap().partitions[0]
    }

    fn any_node(&mut self) -> NodeId {
        NodeId(1 + self.random.below(NODES) as i32)
    }

    fn step(&mut self) {
        match self.script.pop() {
            Some(Planned::Start(node)) => return self.start(node),
            Some(Planned::Alter(topic)) => return self.alter(topic),
            None => {}
        }
        let (node, topic) = (self.any_node(), self.random.below(TOPICS.len() as u64) as usize);
        match self.random.below(19) {
            16 => self.reassign(topic),
            17 => self.elect(topic),
            18 if self.random.chance(20) => {
                self.apply(decide_unregister(&self.image, self.rules, node).unwrap_or_default());
            }
            18 if self.partition(topic).leader != Some(node) => {
                // A follower restarts between what the leader heard of it and what that says of it.
                self.fetch(topic, node);
                self.script = vec![Planned::Alter(topic), Planned::Start(node), Planned::Start(node)];
                self.crash(node);
            }
            0 => self.crash(node),
            1 => self.stop(node),
            2..=4 => self.start(node),
            5 if !self.nodes[&node].is_up => self.apply(decide_fence(&self.image, self.rules, node)),
            5 => (self.stale, self.stale_committed) = (self.image.clone(), self.committed),
            6..=10 => self.fetch(topic, node),
            11 | 12 => self.alter(topic),
            _ => self.commit(topic),
        }
    }

    /// A broker is gone, and with it what was not on the disk; now and then the disk too.
    fn crash(&mut self, node: NodeId) {
        let replaces_disk = self.random.below(8) == 0;
        let state = self.nodes.get_mut(&node).unwrap();
        (state.is_up, state.stopped_with) = (false, None);
        if replaces_disk {
            state.dir += 1;
        }
        for (topic, (.., is_durable)) in TOPICS.iter().enumerate() {
            if replaces_disk || !is_durable {
                state.has.insert(topic, 0);
            }
        }
    }

    fn stop(&mut self, node: NodeId) {
        if self.nodes[&node].is_up {
            let records = decide_controlled_shutdown(&self.image, self.rules, node);
            self.apply(records);
            let records = decide_fence(&self.image, self.rules, node);
            self.apply(records);
            let state = self.nodes.get_mut(&node).unwrap();
            (state.is_up, state.stopped_with) = (false, state.epoch);
        }
    }

    fn start(&mut self, node: NodeId) {
        let is_up = self.nodes[&node].is_up;
        if !is_up || !self.image.brokers().contains_key(&node) {
            let state = self.nodes.get_mut(&node).unwrap();
            // One that was forgotten while it runs registers as it is.
            state.incarnation += u128::from(!is_up);
            let wanted = Registration {
                id: node,
                incarnation_id: Uuid::from_u128(state.incarnation),
                endpoints: Vec::<BrokerEndpoint>::new(),
                log_dirs: vec![Uuid::from_u128(state.dir)],
                rack: None,
                features: Vec::new(),
                previous_epoch: state.stopped_with,
            };
            let registered = decide_register(&self.image, self.rules, &wanted, Offset(self.end), false);
            let (records, epoch) = registered.unwrap();
            self.apply(records);
            let state = self.nodes.get_mut(&node).unwrap();
            (state.is_up, state.epoch) = (true, Some(epoch));
        } else {
            let records = decide_unfence(&self.image, self.rules, node);
            self.apply(records);
        }
    }

    /// A follower gets all that its leader has.
    fn fetch(&mut self, topic: usize, node: NodeId) {
        let partition = self.partition(topic);
        let Some(leader) = partition.leader.filter(|leader| self.nodes[leader].is_up) else { return };
        if leader == node || !partition.replicas.contains(&node) || !self.nodes[&node].is_up {
            return;
        }
        let all = self.nodes[&leader].has.get(&topic).copied().unwrap_or_default();
        let heard = (partition.leader_epoch, self.nodes[&node].epoch.unwrap(), all);
        self.heard.insert((topic, node), heard);
        self.nodes.get_mut(&node).unwrap().has.insert(topic, all);
    }

    /// A leader, maybe one that has not heard of the last changes, says that whoever has asked it is in sync; or that only some are.
    fn alter(&mut self, topic: usize) {
        let is_stale = self.random.chance(50);
        let image = if is_stale { &self.stale } else { &self.image };
        let Some(found) = image.topic_by_id(topic_id(topic)) else { return };
        let seen = found.partitions[0].clone();
        let Some(leader) = seen.leader.filter(|leader| self.nodes[leader].is_up) else { return };
        let drops = self.random.below(2) == 0;
        let mut isr = Vec::new();
        for node in &seen.replicas {
            let known =
                if seen == *self.partition(topic) { self.committed } else { self.stale_committed }[topic];
            let has_caught_up =
                |heard: &&(LeaderEpoch, Offset, u64)| heard.0 == seen.leader_epoch && heard.2 >= known;
            let heard = self.heard.get(&(topic, *node)).filter(has_caught_up);
            let epoch = match (*node == leader, heard) {
                (true, _) => self.nodes[node].epoch,
                (false, Some((_, epoch, _))) if !drops => Some(*epoch),
                _ => continue,
            };
            isr.extend(epoch.map(|epoch| (*node, epoch)));
        }
        let wanted = AlterPartitions {
            broker: leader,
            broker_epoch: self.nodes[&leader].epoch.unwrap(),
            changes: vec![IsrChange {
                topic_id: topic_id(topic),
                partition: 0,
                leader_epoch: seen.leader_epoch,
                partition_epoch: seen.partition_epoch,
                isr,
            }],
        };
        let before = self.partition(topic).isr.len();
        if let Ok((records, _)) = decide_alter_partitions(&self.image, self.rules, &wanted) {
            self.apply(records);
            self.joined += u64::from(self.partition(topic).isr.len() > before);
        }
    }

    /// Whether the run of a broker that is registered goes on.
    fn runs(&self, node: NodeId) -> bool {
        let registered = self.image.brokers().get(&node).map(|broker| broker.epoch);
        self.nodes[&node].is_up && self.nodes[&node].epoch == registered
    }

    /// A leader commits one more, if everybody in sync has it and they are enough.
    fn commit(&mut self, topic: usize) {
        let partition = self.partition(topic).clone();
        let enough = TOPICS[topic].1.parse::<usize>().unwrap().min(partition.replicas.len());
        let Some(leader) = partition.leader else { return };
        if partition.isr.len() < enough || !partition.isr.iter().all(|node| self.runs(*node)) {
            return;
        }
        let next =
            self.nodes[&leader].has.get(&topic).copied().unwrap_or_default().max(self.committed[topic]) + 1;
        self.committed[topic] = next;
        for node in &partition.isr {
            // Whoever lacks what was before has a log with a hole, which the check of leaders must not miss.
            let state = self.nodes.get_mut(node).unwrap();
            let had_all = state.has.get(&topic).copied().unwrap_or_default() + 1 >= next;
            if had_all {
                state.has.insert(topic, next);
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        self.image.invariants()?;
        for topic in 0..TOPICS.len() {
            let partition = self.partition(topic);
            let brokers = self.image.brokers();
            let is_active = |node: &&NodeId| brokers.get(node).is_some_and(|broker| broker.is_active());
            if let Some(idle) =
                partition.isr.iter().find(|node| !is_active(node) && partition.leader.is_some())
            {
                return Err(format!("{idle} is in sync and does not serve: {partition:?}"));
            }
            let may_lead = partition.eligible_leader_replicas.iter().chain(&partition.isr);
            if let Some(may_lead) =
                may_lead.into_iter().find(is_active).filter(|_| partition.leader.is_none())
            {
                return Err(format!("nobody leads although {may_lead} may: {partition:?}"));
            }
        }
        Ok(())
    }

    /// Whoever leads has everything, unless nobody was left that was known to.
    fn check_leader(&mut self, topic: usize, before: &PartitionImage) -> Result<(), String> {
        let partition = self.partition(topic).clone();
        // Whoever has crashed leads in name only: what its next run may do is decided when that registers.
        let Some(leader) = partition.leader.filter(|leader| self.runs(*leader)) else { return Ok(()) };
        self.led += u64::from(partition.leader_epoch != before.leader_epoch);
        let has = self.nodes[&leader].has.get(&topic).copied().unwrap_or_default();
        let (name, _, is_durable) = TOPICS[topic];
        let was_known = before.isr.is_empty() && !before.eligible_leader_replicas.contains(&leader);
        if was_known && before.last_known_elr == [leader] && !is_durable {
            // The topic has given up that its records are on a disk, and all that were eligible have crashed.
            self.committed[topic] = has;
        }
        let committed = self.committed[topic];
        match has >= committed {
            true => Ok(()),
            false => Err(format!(
                "{name}: leader {leader} has {has} of {committed}: {before:?} became {partition:?}"
            )),
        }
    }

    /// Gives how many leaders there were, and how many joined the in-sync replicas.
    fn run(mut self) -> Result<(u64, u64), String> {
        for _ in 0..STEPS {
            let before: Vec<PartitionImage> =
                (0..TOPICS.len()).map(|topic| self.partition(topic).clone()).collect();
            self.step();
            self.check()?;
            for (topic, before) in before.iter().enumerate() {
                self.check_leader(topic, before)?;
            }
        }
        Ok((self.led, self.joined))
    }
}

#[test]
fn whoever_leads_has_all_that_was_committed() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seeds = match number("OTTLA_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("OTTLA_SEEDS").unwrap_or(SEEDS),
    };
    let (mut led, mut joined) = (0, 0);
    for seed in seeds {
        let run = Model::new(seed, None).run();
        let (led_more, joined_more) = run.unwrap_or_else(|error| panic!("OTTLA_SEED={seed}: {error}"));
        (led, joined) = (led + led_more, joined + joined_more);
    }
    assert!(led > 100 && joined > 100, "{led} leaders, {joined} joined: the runs do nothing");
}

#[test]
fn every_mistake_of_the_bug_bank_is_caught() {
    for bug in Bug::ALL {
        let caught = (0..1000).find(|seed| Model::new(*seed, Some(bug)).run().is_err());
        println!("{bug:?} is caught by seed {caught:?}");
        assert!(caught.is_some(), "{bug:?} was not caught");
    }
}
