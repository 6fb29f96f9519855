//! The image of the cluster: a value that records change and everybody else reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::messages::metadata_records::{ConfigRecord, PartitionChangeRecord};
use uuid::Uuid;

use super::acls;
use super::brokers::{self, Brokers};
use super::client_quotas::{self, ClientQuotas};
use super::configs::Configs;
use super::features::{self, Feature, FeatureLevels};
use super::partition_change::has_directory;
use super::records::MetadataRecord;
use super::scram_credentials::{self, ScramCredentials};
use super::topic_configs::TopicConfigs;
use crate::ids::{LeaderEpoch, NodeId};
use crate::security::AclEntries;
use crate::security::scram::{ScramCredential, ScramMechanism};

mod as_records;

/// The leader in a change of a partition that keeps its own.
const LEADER_STAYS: i32 = -2;

pub(super) const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";
pub(super) const UNCLEAN_ELECTION: &str = "unclean.leader.election.enable";

/// What a config belongs to. The numbers are the protocol's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResourceType {
    /// 2.
    Topic,
    /// 4.
    Broker,
    /// 16: a subscription to the metrics of clients.
    ClientMetrics,
    /// 32: a group of the consumer protocol (KIP-848).
    Group,
}

impl ResourceType {
    /// The type of a protocol number, when it is one that has configs here.
    pub fn from_code(code: i8) -> Option<ResourceType> {
        match code {
            2 => Some(ResourceType::Topic),
            4 => Some(ResourceType::Broker),
            16 => Some(ResourceType::ClientMetrics),
            32 => Some(ResourceType::Group),
            _ => None,
        }
    }

    /// The protocol's number.
    pub fn code(self) -> i8 {
        match self {
            ResourceType::Topic => 2,
            ResourceType::Broker => 4,
            ResourceType::ClientMetrics => 16,
            ResourceType::Group => 32,
        }
    }
}

/// A partition as the cluster sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionImage {
    /// Who keeps it, the preferred leader first.
    pub replicas: Vec<NodeId>,
    /// Which of them are in sync.
    pub isr: Vec<NodeId>,
    /// Which others have all that was committed, and may lead where nobody is in sync (KIP-966).
    pub eligible_leader_replicas: Vec<NodeId>,
    /// While nobody leads: who led last, and leads again where nobody is in sync or eligible (KIP-966).
    pub last_known_elr: Vec<NodeId>,
    /// Which of the replicas are new, while the partition moves to other brokers (KIP-455).
    pub adding_replicas: Vec<NodeId>,
    /// Which of them go once the new ones are in sync.
    pub removing_replicas: Vec<NodeId>,
    /// Who leads, if anybody can.
    pub leader: Option<NodeId>,
    /// Grows with every change of leader.
    pub leader_epoch: LeaderEpoch,
    /// Grows with every change.
    pub partition_epoch: i32,
    /// In which log dir each of the replicas is (KIP-858); empty where nobody has said.
    pub directories: Vec<Uuid>,
}

impl PartitionImage {
    /// The log dir that a node's replica is in.
    pub fn directory_of(&self, node_id: NodeId) -> Option<Uuid> {
        let place = self.replicas.iter().position(|replica| *replica == node_id)?;
        self.directories.get(place).copied()
    }

    /// Whether it moves to other brokers.
    pub fn is_reassigned(&self) -> bool {
        !self.adding_replicas.is_empty() || !self.removing_replicas.is_empty()
    }

    /// As it is after a change.
    fn apply(&mut self, record: &PartitionChangeRecord) {
        let changed = |field: &mut Vec<NodeId>, to: &Option<Vec<i32>>| {
            if let Some(to) = to {
                *field = nodes(to);
            }
        };
        let before = record.replicas.as_ref().map(|_| std::mem::take(&mut self.replicas));
        changed(&mut self.replicas, &record.replicas);
        changed(&mut self.isr, &record.isr);
        changed(&mut self.eligible_leader_replicas, &record.eligible_leader_replicas);
        changed(&mut self.last_known_elr, &record.last_known_elr);
        changed(&mut self.adding_replicas, &record.adding_replicas);
        changed(&mut self.removing_replicas, &record.removing_replicas);
        if record.leader != LEADER_STAYS {
            self.leader = (record.leader >= 0).then_some(NodeId(record.leader));
            self.leader_epoch = LeaderEpoch(self.leader_epoch.0.saturating_add(1));
        }
        self.partition_epoch = self.partition_epoch.saturating_add(1);
        match (&record.directories, before) {
            (Some(directories), _) => self.directories.clone_from(directories),
            // Each of the replicas stays where it was.
            (None, Some(before)) if !self.directories.is_empty() => {
                let was = |node: &NodeId| before.iter().position(|before| before == node);
                let dirs = self.replicas.iter().map(|node| self.directories.get(was(node)?).copied());
                self.directories = dirs.map(Option::unwrap_or_default).collect();
            }
            (None, _) => {}
        }
    }

    /// What must always hold.
    fn invariants(&self) -> Result<(), &'static str> {
        let PartitionImage { replicas, isr, eligible_leader_replicas: eligible, .. } = self;
        let are_once =
            |nodes: &[NodeId]| nodes.iter().enumerate().all(|(i, node)| !nodes[..i].contains(node));
        let are_replicas = |nodes: &[NodeId]| nodes.iter().all(|node| replicas.contains(node));
        if !are_once(replicas) {
            return Err("a node has it twice");
        }
        if !are_once(isr) || !are_replicas(isr) {
            return Err("a node is in sync that is no replica, or twice");
        }
        if !are_once(eligible) || !are_replicas(eligible) {
            return Err("a node is eligible that is no replica, or twice");
        }
        if eligible.iter().any(|node| isr.contains(node)) {
            return Err("a node is in sync and eligible");
        }
        if self.last_known_elr.iter().any(|node| isr.contains(node)) {
            return Err("a node led last that is in sync");
        }
        if self.leader.is_some_and(|leader| !isr.contains(&leader)) {
            return Err("the leader is not in sync");
        }
        if !are_replicas(&self.adding_replicas) || !are_replicas(&self.removing_replicas) {
            return Err("a node is added or removed that is no replica");
        }
        if self.adding_replicas.iter().any(|node| self.removing_replicas.contains(node)) {
            return Err("a node is added and removed");
        }
        if !self.directories.is_empty() && self.directories.len() != replicas.len() {
            return Err("there are not as many log dirs as replicas");
        }
        Ok(())
    }
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicImage {
    /// Its name.
    pub name: String,
    /// Never used again for another topic, even of the same name (KIP-516).
    pub id: Uuid,
    /// By number, without holes.
    pub partitions: Vec<PartitionImage>,
    /// What was set; the rest is at its default.
    pub configs: Configs,
}

/// Of a resource on which nothing was set.
static NOTHING_SET: Configs = Configs::new();

/// Everything that is decided for the whole cluster. Cloning shares what is large.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ClusterImage {
    topics: BTreeMap<String, Arc<TopicImage>>,
    names: BTreeMap<Uuid, String>,
    partition_count: usize,
    /// Replicas in each log dir, without those that have none.
    partitions_in: BTreeMap<Uuid, usize>,
    topics_version: u64,
    next_producer_id: i64,
    /// Of everything but topics, by type and name.
    configs: BTreeMap<(ResourceType, String), Arc<Configs>>,
    acls: Arc<AclEntries>,
    scram_credentials: Arc<ScramCredentials>,
    client_quotas: Arc<ClientQuotas>,
    feature_levels: FeatureLevels,
    brokers: Brokers,
    /// No decision and in no record: what the node that reads was started with, under which configs are read.
    started_with: Arc<Configs>,
}

impl ClusterImage {
    /// Nothing decided yet, read by a node that was started with these defaults of topics.
    pub fn starting_with(topic_defaults: Configs) -> ClusterImage {
        ClusterImage { started_with: Arc::new(topic_defaults), ..ClusterImage::default() }
    }

    /// Takes the place of an earlier image, of which nobody may think that the same topics are in both.
    pub(super) fn supersede(&mut self, before: &ClusterImage) {
        self.topics_version = self.topics_version.max(before.topics_version + 1);
    }

    /// What the node that reads was started with.
    pub fn started_with(&self) -> &Configs {
        &self.started_with
    }

    /// All topics by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.topics.values()
    }

    /// A topic by name.
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topics.get(name)
    }

    /// A topic by id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<TopicImage>> {
        self.names.get(&id).and_then(|name| self.topics.get(name))
    }

    /// Partitions of all topics together.
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// Partitions that a log dir has.
    pub fn partitions_in(&self, directory_id: Uuid) -> usize {
        self.partitions_in.get(&directory_id).copied().unwrap_or_default()
    }

    /// Grows whenever a topic or a partition comes or goes.
    pub fn topics_version(&self) -> u64 {
        self.topics_version
    }

    /// The first producer id that was not given out.
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// All access control entries.
    pub fn acls(&self) -> &AclEntries {
        &self.acls
    }

    /// The SCRAM credentials of all users.
    pub fn scram_credentials(&self) -> &ScramCredentials {
        &self.scram_credentials
    }

    /// A user's credential for one mechanism.
    pub fn scram_credential(&self, user: &str, mechanism: ScramMechanism) -> Option<&ScramCredential> {
        self.scram_credentials.get(user)?.get(&mechanism)
    }

    /// The quotas of users, client ids and addresses. Whoever computes with them can tell by the pointer whether they have
    /// changed.
    pub fn client_quotas(&self) -> &Arc<ClientQuotas> {
        &self.client_quotas
    }

    /// The level that a feature is at.
    pub fn feature_level(&self, feature: &Feature) -> i16 {
        self.feature_levels.get(feature.name).copied().unwrap_or(feature.level_default)
    }

    /// Who is registered.
    pub fn brokers(&self) -> &Brokers {
        &self.brokers
    }

    /// The levels that were set.
    pub fn feature_levels(&self) -> &FeatureLevels {
        &self.feature_levels
    }

    /// What was set on a resource that is no topic. The broker without a name stands for all of them.
    pub fn configs(&self, resource_type: ResourceType, name: &str) -> &Configs {
        self.configs.get(&(resource_type, name.to_owned())).map_or(&NOTHING_SET, |configs| &**configs)
    }

    /// The resources of a type on which something was set, by name.
    pub fn configured(&self, resource_type: ResourceType) -> impl Iterator<Item = (&str, &Configs)> {
        let of_type = self.configs.iter().filter(move |((kind, _), _)| *kind == resource_type);
        of_type.map(|((_, name), configs)| (name.as_str(), &**configs))
    }

    /// What counts for a topic on which `topic` was set, on one broker.
    pub fn topic_configs<'a>(&'a self, topic: &'a Configs, node_id: NodeId) -> TopicConfigs<'a> {
        TopicConfigs {
            topic,
            broker: self.configs(ResourceType::Broker, &node_id.to_string()),
            all_brokers: self.configs(ResourceType::Broker, ""),
            started_with: &self.started_with,
        }
    }

    /// The replicas of a partition whose broker does not serve, or does not have their log dir. A node that is a cluster by itself
    /// registers nobody, and serves.
    pub fn offline_replicas(&self, partition: &PartitionImage) -> Vec<NodeId> {
        let serves = |node: &NodeId| {
            self.brokers.is_empty()
                || self.brokers.get(node).is_some_and(|broker| {
                    !broker.is_fenced && has_directory(&broker.log_dirs, partition.directory_of(*node))
                })
        };
        partition.replicas.iter().copied().filter(|node| !serves(node)).collect()
    }

    /// How many replicas of a topic must be in sync for anything of it to be committed: what was set on it, else on all brokers. What
    /// a single broker has of its own does not count, so that the controller and every leader say the same; fewer than that count
    /// for a partition that has fewer replicas.
    pub fn min_insync_replicas(&self, topic: &TopicImage) -> usize {
        self.of_all_nodes(topic, MIN_INSYNC_REPLICAS).and_then(|value| value.parse().ok()).unwrap_or(1)
    }

    /// Whether a replica of a topic may lead that is not known to have everything, rather than none.
    pub(super) fn elects_uncleanly(&self, topic: &TopicImage) -> bool {
        let set = self.of_all_nodes(topic, UNCLEAN_ELECTION);
        set.or_else(|| self.started_with.get(UNCLEAN_ELECTION).map(String::as_str)) == Some("true")
    }

    /// A config of a topic whose name is the same on brokers, without what a single one has of its own.
    fn of_all_nodes<'a>(&'a self, topic: &'a TopicImage, name: &str) -> Option<&'a str> {
        let set = topic.configs.get(name).or_else(|| self.configs(ResourceType::Broker, "").get(name));
        set.map(|value| value.trim())
    }

    /// Makes one change. The only mutator: whatever leads to the same records leads to the same image.
    ///
    /// A record that names an unknown topic changes nothing: records of one decision are written together, so this
    /// can only be a topic that a later record removed.
    pub fn apply(&mut self, record: &MetadataRecord) {
        match record {
            MetadataRecord::Topic(topic) => {
                self.topics_version += 1;
                let name = topic.name.to_string();
                self.names.insert(topic.topic_id, name.clone());
                let image = TopicImage {
                    name: name.clone(),
                    id: topic.topic_id,
                    partitions: Vec::new(),
                    configs: BTreeMap::new(),
                };
                self.topics.insert(name, Arc::new(image));
            }
            MetadataRecord::Partition(record) => {
                let optional = |ids: &Option<Vec<i32>>| nodes(ids.as_deref().unwrap_or_default());
                let image = PartitionImage {
                    replicas: nodes(&record.replicas),
                    isr: nodes(&record.isr),
                    eligible_leader_replicas: optional(&record.eligible_leader_replicas),
                    last_known_elr: optional(&record.last_known_elr),
                    adding_replicas: nodes(&record.adding_replicas),
                    removing_replicas: nodes(&record.removing_replicas),
                    leader: (record.leader >= 0).then_some(NodeId(record.leader)),
                    leader_epoch: LeaderEpoch(record.leader_epoch),
                    partition_epoch: record.partition_epoch,
                    directories: record.directories.clone(),
                };
                let Some(topic) = self.topic_mut(record.topic_id) else { return };
                let place = usize::try_from(record.partition_id).unwrap_or(usize::MAX);
                let directories = image.directories.clone();
                if let Some(partition) = topic.partitions.get_mut(place) {
                    let before = std::mem::replace(partition, image);
                    self.count(&before.directories, &directories);
                } else if place == topic.partitions.len() {
                    topic.partitions.push(image);
                    self.partition_count += 1;
                    self.count(&[], &directories);
                    self.topics_version += 1;
                }
            }
            MetadataRecord::PartitionChange(record) => {
                let Some(topic) = self.topic_mut(record.topic_id) else { return };
                let place = usize::try_from(record.partition_id).unwrap_or(usize::MAX);
                let Some(partition) = topic.partitions.get_mut(place) else { return };
                let before = partition.directories.clone();
                partition.apply(record);
                let after = partition.directories.clone();
                if before != after {
                    self.count(&before, &after);
                }
            }
            MetadataRecord::Config(record) => {
                let Some(resource_type) = ResourceType::from_code(record.resource_type) else { return };
                if resource_type == ResourceType::Topic {
                    if let Some(topic) = self.topics.get_mut(&*record.resource_name) {
                        set_config(&mut Arc::make_mut(topic).configs, record);
                    }
                    return;
                }
                let key = (resource_type, record.resource_name.to_string());
                let configs = self.configs.entry(key.clone()).or_default();
                set_config(Arc::make_mut(configs), record);
                if configs.is_empty() {
                    self.configs.remove(&key);
                }
            }
            MetadataRecord::RemoveTopic(record) => {
                if let Some(topic) =
                    self.names.remove(&record.topic_id).and_then(|name| self.topics.remove(&name))
                {
                    self.partition_count -= topic.partitions.len();
                    for partition in &topic.partitions {
                        self.count(&partition.directories, &[]);
                    }
                    self.topics_version += 1;
                }
            }
            MetadataRecord::ProducerIds(record) => self.next_producer_id = record.next_producer_id,
            MetadataRecord::AccessControlEntry(record) => match acls::from_record(record) {
                Some(acl) => Arc::make_mut(&mut self.acls).insert(record.id, acl),
                // An entry that is left out might have denied something.
                None => {
                    tracing::error!(id = %record.id, "an access control entry is unknown to this release")
                }
            },
            MetadataRecord::RemoveAccessControlEntry(record) => {
                Arc::make_mut(&mut self.acls).remove(record.id);
            }
            MetadataRecord::UserScramCredential(record) => {
                scram_credentials::apply(Arc::make_mut(&mut self.scram_credentials), record);
            }
            MetadataRecord::RemoveUserScramCredential(record) => {
                scram_credentials::apply_removal(Arc::make_mut(&mut self.scram_credentials), record);
            }
            MetadataRecord::RegisterBroker(record) => brokers::apply_registration(&mut self.brokers, record),
            MetadataRecord::UnregisterBroker(record) => {
                self.brokers.remove(&NodeId(record.broker_id));
            }
            MetadataRecord::BrokerRegistrationChange(record) => {
                brokers::apply_change(&mut self.brokers, record);
            }
            MetadataRecord::FeatureLevel(record) => features::apply(&mut self.feature_levels, record),
            MetadataRecord::ClientQuota(record) => {
                client_quotas::apply(Arc::make_mut(&mut self.client_quotas), record);
            }
        }
    }

    /// Replicas that were in some log dirs are in others now.
    fn count(&mut self, before: &[Uuid], after: &[Uuid]) {
        for id in after {
            *self.partitions_in.entry(*id).or_default() += 1;
        }
        for id in before {
            let count = self.partitions_in.entry(*id).or_default();
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.partitions_in.remove(id);
            }
        }
    }

    fn topic_mut(&mut self, id: Uuid) -> Option<&mut TopicImage> {
        let name = self.names.get(&id)?;
        self.topics.get_mut(name).map(Arc::make_mut)
    }

    /// What must always hold.
    pub fn invariants(&self) -> Result<(), String> {
        let counted: usize = self.topics.values().map(|topic| topic.partitions.len()).sum();
        if counted != self.partition_count {
            return Err(format!("{counted} partitions are counted as {}", self.partition_count));
        }
        let mut in_dirs: BTreeMap<Uuid, usize> = BTreeMap::new();
        for partition in self.topics.values().flat_map(|topic| &topic.partitions) {
            for directory in &partition.directories {
                *in_dirs.entry(*directory).or_default() += 1;
            }
        }
        if in_dirs != self.partitions_in {
            return Err(format!("{in_dirs:?} in log dirs are counted as {:?}", self.partitions_in));
        }
        for (name, topic) in &self.topics {
            if self.names.get(&topic.id) != Some(name) {
                return Err(format!("topic {name} is not found by its id"));
            }
            for (number, partition) in topic.partitions.iter().enumerate() {
                partition.invariants().map_err(|error| format!("{name}-{number}: {error}: {partition:?}"))?;
            }
        }
        Ok(())
    }
}

fn nodes(ids: &[i32]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn set_config(configs: &mut Configs, record: &ConfigRecord) {
    match &record.value {
        Some(value) => configs.insert(record.name.to_string(), value.to_string()),
        None => configs.remove(&*record.name),
    };
}
