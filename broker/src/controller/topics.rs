//! Creating, growing and deleting topics: pure decisions.

use std::collections::BTreeMap;
use std::ops::Range;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::metadata_records::{
    ConfigRecord, PartitionRecord, RemoveTopicRecord, TopicRecord,
};
use uuid::Uuid;

use super::configs::Configs;
use super::group_configs::GroupLimits;
use super::image::{ClusterImage, MIN_INSYNC_REPLICAS, ResourceType, TopicImage};
use super::placement::Placement;
use super::records::MetadataRecord;
use super::replica_placement::{Host, place};
use super::{METADATA_TOPIC, OFFSETS_TOPIC, SnapshotRules, TRANSACTIONS_TOPIC, topic_configs};
use crate::ids::NodeId;

const NAME_LEN_MAX: usize = 249;
/// Partitions that one node is asked to lead at most; a request beyond it is a mistake or an attack.
const PARTITIONS_MAX: usize = 50_000;
/// Replicas of a topic that is made without a number, where there are as many brokers.
const REPLICAS: i16 = 3;

/// What the broker's own config says about new topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicRules {
    /// The node that decides.
    pub node_id: NodeId,
    /// It is the whole cluster, and leads everything.
    pub is_alone: bool,
    /// `num.partitions`.
    pub default_partitions: i32,
    /// `default.replication.factor`, where that is set: else three replicas, or as many as there are brokers.
    pub default_replication_factor: Option<i16>,
    /// The ids of the log dirs that may get partitions; stored with each replica (KIP-858).
    pub directories: Vec<Uuid>,
    /// What groups may set of their own.
    pub group_limits: GroupLimits,
    /// What the broker was started with about the configs of topics, by the names that brokers have for them.
    pub topic_defaults: Configs,
    /// When the metadata gets a snapshot.
    pub snapshots: SnapshotRules,
}

/// A topic that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CreateTopic {
    /// Its name.
    pub name: String,
    /// -1 for the default.
    pub partitions: i32,
    /// -1 for the default.
    pub replication_factor: i16,
    /// Replicas per partition, when the client chooses them itself.
    pub assignments: Vec<(i32, Vec<NodeId>)>,
    /// A null value asks for the default.
    pub configs: Vec<(String, Option<String>)>,
}

/// A topic that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its new id.
    pub id: Uuid,
    /// How many partitions it has.
    pub partitions: i32,
    /// How many replicas each has.
    pub replication_factor: i16,
    /// What was set.
    pub configs: BTreeMap<String, String>,
}

/// Why a topic cannot be had as asked, in the words of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
}

pub(super) fn refuse<T>(code: ErrorCode, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { code, message: message.into() })
}

/// Whether clients should leave the topic alone.
pub fn is_internal(name: &str) -> bool {
    [OFFSETS_TOPIC, METADATA_TOPIC, TRANSACTIONS_TOPIC].contains(&name)
}

fn check_name(image: &ClusterImage, name: &str) -> Result<(), Refusal> {
    let invalid =
        |why: &str| refuse(ErrorCode::InvalidTopicException, format!("Topic name is invalid: {why}"));
    if name.is_empty() {
        return invalid("it must not be empty");
    }
    if name == "." || name == ".." {
        return invalid("it cannot be \".\" or \"..\"");
    }
    if name.len() > NAME_LEN_MAX {
        return invalid(&format!("it is longer than {NAME_LEN_MAX} characters"));
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return invalid(&format!(
            "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        ));
    }
    if name == METADATA_TOPIC {
        return invalid("it is the name of the metadata log");
    }
    if image.topic(name).is_some() {
        return refuse(ErrorCode::TopicAlreadyExists, format!("Topic '{name}' already exists."));
    }
    // Metric names cannot tell '.' from '_', so Kafka refuses the second of such a pair.
    if name.contains(['.', '_']) {
        let folded = name.replace('.', "_");
        if let Some(other) = image.topics().find(|topic| topic.name.replace('.', "_") == folded) {
            let collides = format!("Topic '{name}' collides with existing topic: {}", other.name);
            return refuse(ErrorCode::InvalidTopicException, collides);
        }
    }
    Ok(())
}

/// Decides about a new topic that shall have the id `id`.
pub(super) fn decide_create(
    image: &ClusterImage,
    rules: &TopicRules,
    wanted: &CreateTopic,
    id: Uuid,
) -> Result<(Vec<MetadataRecord>, CreatedTopic), Refusal> {
    check_name(image, &wanted.name)?;
    let hosts = hosts(image, rules);
    let (partitions, replication_factor) = match wanted.assignments.as_slice() {
        [] => (
            wanted_partitions(rules, wanted.partitions)?,
            wanted_replication(rules, &hosts, wanted.replication_factor)?,
        ),
        assignments => check_new_assignments(&hosts, wanted, assignments)?,
    };
    if image.partition_count() + partitions as usize > PARTITIONS_MAX {
        return refuse(
            ErrorCode::PolicyViolation,
            format!("the node would have more than {PARTITIONS_MAX} partitions"),
        );
    }
    let mut configs = BTreeMap::new();
    for (name, value) in &wanted.configs {
        let Some(value) = value else {
            return refuse(
                ErrorCode::InvalidConfig,
                format!("Null value not supported for topic configs: {name}"),
            );
        };
        topic_configs::check(name, value)
            .map_err(|message| Refusal { code: ErrorCode::InvalidConfig, message })?;
        configs.insert(name.clone(), value.clone());
    }
    if let Some(value) = own_min_insync_replicas(image, rules, &configs, replication_factor) {
        configs.insert(MIN_INSYNC_REPLICAS.to_owned(), value);
    }
    image
        .topic_configs(&configs, rules.node_id)
        .check_together()
        .map_err(|message| Refusal { code: ErrorCode::InvalidConfig, message })?;
    let mut records =
        vec![MetadataRecord::Topic(TopicRecord { name: wanted.name.as_str().into(), topic_id: id })];
    records.extend(configs.iter().map(|(name, value)| {
        MetadataRecord::Config(ConfigRecord {
            resource_type: ResourceType::Topic.code(),
            resource_name: wanted.name.as_str().into(),
            name: name.as_str().into(),
            value: Some(value.as_str().into()),
        })
    }));
    let mut assignments = wanted.assignments.clone();
    assignments.sort_by_key(|(number, _)| *number);
    let assigned: Vec<Vec<NodeId>> = assignments.into_iter().map(|(_, replicas)| replicas).collect();
    let replicas = match assigned.is_empty() {
        true => replicas_of(image, &hosts, 0..partitions, replication_factor),
        false => assigned,
    };
    records.extend(partition_records(image, &hosts, id, 0, &replicas));
    Ok((records, CreatedTopic { id, partitions, replication_factor, configs }))
}

fn wanted_partitions(rules: &TopicRules, wanted: i32) -> Result<i32, Refusal> {
    match wanted {
        -1 => Ok(rules.default_partitions),
        1.. => Ok(wanted),
        _ => refuse(
            ErrorCode::InvalidPartitions,
            "Number of partitions was set to an invalid non-positive value.",
        ),
    }
}

fn wanted_replication(rules: &TopicRules, hosts: &[Host], wanted: i16) -> Result<i16, Refusal> {
    let count = i16::try_from(hosts.len()).unwrap_or(i16::MAX);
    let wanted = match wanted {
        -1 => rules.default_replication_factor.unwrap_or(REPLICAS.min(count).max(1)),
        1.. => wanted,
        _ => {
            return refuse(
                ErrorCode::InvalidReplicationFactor,
                "Replication factor must be larger than 0, or -1 to use the default value.",
            );
        }
    };
    let cannot = |why: &str| {
        let message = format!("Unable to replicate the partition {wanted} time(s): {why}");
        refuse(ErrorCode::InvalidReplicationFactor, message)
    };
    if !hosts.iter().any(|host| host.is_active) {
        return cannot("All brokers are currently fenced.");
    }
    match wanted > count {
        true => cannot(&format!(
            "The target replication factor of {wanted} cannot be reached because only {count} broker(s) are registered."
        )),
        false => Ok(wanted),
    }
}

/// The `min.insync.replicas` that a new topic gets of its own, so that all brokers go by the same. Where nobody has set it, two of three
/// replicas: none can then be alone with what was acknowledged.
fn own_min_insync_replicas(
    image: &ClusterImage,
    rules: &TopicRules,
    set: &Configs,
    replication_factor: i16,
) -> Option<String> {
    let name = MIN_INSYNC_REPLICAS;
    let of_all_brokers = image.configs(ResourceType::Broker, "");
    if rules.is_alone || set.contains_key(name) || of_all_brokers.contains_key(name) {
        return None;
    }
    let started_with = rules.topic_defaults.get(name).cloned();
    started_with.or_else(|| (replication_factor >= REPLICAS).then(|| "2".to_owned()))
}

/// The brokers that may get a partition.
pub(super) fn hosts(image: &ClusterImage, rules: &TopicRules) -> Vec<Host> {
    if rules.is_alone {
        let log_dirs = rules.directories.clone();
        return vec![Host { id: rules.node_id, rack: None, log_dirs, is_active: true }];
    }
    let hosts = image.brokers().iter().map(|(id, broker)| Host {
        id: *id,
        rack: broker.rack.clone(),
        log_dirs: broker.log_dirs.clone(),
        is_active: broker.is_active(),
    });
    hosts.collect()
}

/// Whether the brokers that a client has chosen for a partition may get it.
pub(super) fn check_assignment(
    hosts: &[Host],
    replicas: &[NodeId],
    replication_factor: usize,
) -> Result<(), Refusal> {
    let invalid = |why: String| refuse(ErrorCode::InvalidReplicaAssignment, why);
    if replicas.is_empty() {
        return invalid("The manual partition assignment includes an empty replica list.".to_owned());
    }
    let is_twice = |(at, node): (usize, &NodeId)| replicas.iter().take(at).any(|before| before == node);
    if replicas.iter().enumerate().any(is_twice) {
        return invalid("The manual partition assignment includes a broker twice.".to_owned());
    }
    let host = |node: &NodeId| hosts.iter().find(|host| host.id == *node);
    if let Some(unknown) = replicas.iter().find(|node| host(node).is_none()) {
        return invalid(format!(
            "The manual partition assignment includes broker {unknown}, but no such broker is registered."
        ));
    }
    if replicas.len() != replication_factor {
        return invalid(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is not consistent with previous \
             partitions, which have {replication_factor} replica(s).",
            replicas.len()
        ));
    }
    match replicas.iter().any(|node| host(node).is_some_and(|host| host.is_active)) {
        true => Ok(()),
        false => invalid(
            "All brokers specified in the manual partition assignment are fenced or in controlled shutdown."
                .to_owned(),
        ),
    }
}

fn check_new_assignments(
    hosts: &[Host],
    wanted: &CreateTopic,
    assignments: &[(i32, Vec<NodeId>)],
) -> Result<(i32, i16), Refusal> {
    if wanted.partitions != -1 || wanted.replication_factor != -1 {
        return refuse(
            ErrorCode::InvalidRequest,
            "A manual partition assignment was specified, but numPartitions or replicationFactor was not set to -1.",
        );
    }
    let mut numbers: Vec<i32> = assignments.iter().map(|(number, _)| *number).collect();
    numbers.sort_unstable();
    if numbers.iter().enumerate().any(|(expected, number)| expected as i32 != *number) {
        return refuse(
            ErrorCode::InvalidReplicaAssignment,
            "partitions should be a consecutive 0-based integer sequence",
        );
    }
    let replication_factor = assignments.first().map_or(0, |(_, replicas)| replicas.len());
    for (_, replicas) in assignments {
        check_assignment(hosts, replicas, replication_factor)?;
    }
    Ok((numbers.len() as i32, i16::try_from(replication_factor).unwrap_or(i16::MAX)))
}

/// Where new partitions go of which nobody has said where.
fn replicas_of(
    image: &ClusterImage,
    hosts: &[Host],
    numbers: Range<i32>,
    replication_factor: i16,
) -> Vec<Vec<NodeId>> {
    place(hosts, image.partition_count(), numbers.len(), usize::try_from(replication_factor).unwrap_or(0))
}

/// Records of new partitions with these replicas, each in the log dir of its broker that has the fewest. In sync, and leading, are
/// those that serve.
fn partition_records(
    image: &ClusterImage,
    hosts: &[Host],
    topic_id: Uuid,
    begin: i32,
    replicas: &[Vec<NodeId>],
) -> Vec<MetadataRecord> {
    let mut places: Vec<(&Host, Placement)> =
        hosts.iter().map(|host| (host, Placement::among(&host.log_dirs, image))).collect();
    let mut record = |(partition_id, replicas): (i32, &Vec<NodeId>)| {
        let mut directories = Vec::with_capacity(replicas.len());
        let mut isr = Vec::with_capacity(replicas.len());
        for node in replicas {
            let place = places.iter_mut().find(|(host, _)| host.id == *node);
            isr.extend(place.as_ref().filter(|(host, _)| host.is_active).map(|_| node.0));
            directories.push(place.and_then(|(_, placement)| placement.place()).unwrap_or_default());
        }
        MetadataRecord::Partition(PartitionRecord {
            partition_id,
            topic_id,
            replicas: replicas.iter().map(|node| node.0).collect(),
            leader: isr.first().copied().unwrap_or(-1),
            isr,
            leader_epoch: 0,
            partition_epoch: 0,
            directories,
            ..PartitionRecord::default()
        })
    };
    (begin..).zip(replicas).map(&mut record).collect()
}

/// Decides about giving a topic more partitions; `count` is the total.
pub(super) fn decide_grow(
    image: &ClusterImage,
    rules: &TopicRules,
    name: &str,
    count: i32,
    assignments: Option<&[Vec<NodeId>]>,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let topic = existing(image, name)?;
    let now = topic.partitions.len() as i32;
    if count <= now {
        let message = match count == now {
            true => format!("Topic already has {now} partition(s)."),
            false => format!(
                "The topic {name} currently has {now} partition(s); {count} would not be an increase."
            ),
        };
        return refuse(ErrorCode::InvalidPartitions, message);
    }
    let more = count - now;
    if image.partition_count() + more as usize > PARTITIONS_MAX {
        return refuse(
            ErrorCode::PolicyViolation,
            format!("the node would have more than {PARTITIONS_MAX} partitions"),
        );
    }
    let hosts = hosts(image, rules);
    // As many replicas as the partitions that there are.
    let replicas = topic
        .partitions
        .first()
        .map_or(1, |first| first.replicas.len().saturating_sub(first.adding_replicas.len()).max(1));
    let placed = match assignments {
        None => {
            let replicas = i16::try_from(replicas).unwrap_or(i16::MAX);
            replicas_of(image, &hosts, now..count, wanted_replication(rules, &hosts, replicas)?)
        }
        Some(assignments) if assignments.len() as i32 != more => {
            return refuse(
                ErrorCode::InvalidReplicaAssignment,
                format!(
                    "{more} new partition(s) need an assignment each, and there are {}",
                    assignments.len()
                ),
            );
        }
        Some(assignments) => {
            for wanted in assignments {
                check_assignment(&hosts, wanted, replicas)?;
            }
            assignments.to_vec()
        }
    };
    Ok(partition_records(image, &hosts, topic.id, now, &placed))
}

/// Decides about removing a topic.
pub(super) fn decide_delete(
    image: &ClusterImage,
    topic: &TopicRef,
) -> Result<(Vec<MetadataRecord>, String, Uuid), Refusal> {
    let found = match topic {
        TopicRef::Name(name) => existing(image, name)?,
        TopicRef::Id(id) => match image.topic_by_id(*id) {
            Some(topic) => topic,
            None => return refuse(ErrorCode::UnknownTopicId, "This server does not host this topic ID."),
        },
    };
    let record = MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id: found.id });
    Ok((vec![record], found.name.clone(), found.id))
}

/// How a request names a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicRef {
    /// By name.
    Name(String),
    /// By id.
    Id(Uuid),
}

fn existing<'a>(image: &'a ClusterImage, name: &str) -> Result<&'a TopicImage, Refusal> {
    match image.topic(name) {
        Some(topic) => Ok(topic),
        None => refuse(ErrorCode::UnknownTopicOrPartition, "This server does not host this topic-partition."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::assign::decide_assign;
    use crate::controller::image::PartitionImage;
    use ottla_protocol::messages::metadata_records::RegisterBrokerRecord;
    use proptest::prelude::*;

    fn rules() -> TopicRules {
        TopicRules {
            node_id: NodeId(1),
            is_alone: true,
            default_partitions: 3,
            default_replication_factor: None,
            directories: vec![Uuid::from_u128(500)],
            group_limits: GroupLimits::default(),
            topic_defaults: Configs::new(),
            snapshots: SnapshotRules::default(),
        }
    }

    fn wanted(name: &str) -> CreateTopic {
        CreateTopic {
            name: name.to_owned(),
            partitions: -1,
            replication_factor: -1,
            ..CreateTopic::default()
        }
    }

    fn create(image: &mut ClusterImage, wanted: &CreateTopic, id: u128) -> Result<CreatedTopic, Refusal> {
        let (records, created) = decide_create(image, &rules(), wanted, Uuid::from_u128(id))?;
        records.iter().for_each(|record| image.apply(record));
        image.invariants().unwrap();
        Ok(created)
    }

    fn code<T: std::fmt::Debug>(result: Result<T, Refusal>) -> ErrorCode {
        result.unwrap_err().code
    }

    #[test]
    fn a_new_topic_has_the_default_partitions_and_is_found_by_name_and_id() {
        let mut image = ClusterImage::default();
        let created = create(&mut image, &wanted("orders"), 7).unwrap();
        assert_eq!((created.partitions, created.replication_factor), (3, 1));
        assert_eq!(image.topic("orders"), image.topic_by_id(Uuid::from_u128(7)));
        assert_eq!(code(create(&mut image, &wanted("orders"), 8)), ErrorCode::TopicAlreadyExists);
    }

    #[test]
    fn refuses_names_that_kafka_refuses() {
        let mut image = ClusterImage::default();
        create(&mut image, &wanted("a.b"), 1).unwrap();
        let long = "x".repeat(250);
        for name in ["", ".", "..", "a/b", "a b", "ä", "a_b", "__cluster_metadata", long.as_str()] {
            let refused = code(create(&mut image, &wanted(name), 2));
            assert_eq!(refused, ErrorCode::InvalidTopicException, "{name:?}");
        }
    }

    #[test]
    fn refuses_impossible_shapes() {
        let mut image = ClusterImage::default();
        let with =
            |partitions, replication_factor| CreateTopic { partitions, replication_factor, ..wanted("t") };
        assert_eq!(code(create(&mut image, &with(0, 1), 1)), ErrorCode::InvalidPartitions);
        assert_eq!(code(create(&mut image, &with(1, 3), 1)), ErrorCode::InvalidReplicationFactor);
        assert_eq!(code(create(&mut image, &with(1, 0), 1)), ErrorCode::InvalidReplicationFactor);
        assert_eq!(code(create(&mut image, &with(1_000_000, 1), 1)), ErrorCode::PolicyViolation);
        let bad_config =
            CreateTopic { configs: vec![("retention.ms".into(), Some("x".into()))], ..wanted("t") };
        assert_eq!(code(create(&mut image, &bad_config, 1)), ErrorCode::InvalidConfig);
        let foreign = CreateTopic { assignments: vec![(0, vec![NodeId(9)])], ..wanted("t") };
        assert_eq!(code(create(&mut image, &foreign, 1)), ErrorCode::InvalidReplicaAssignment);
        assert_eq!(image, ClusterImage::default());
    }

    #[test]
    fn in_a_cluster_partitions_are_on_one_serving_broker_after_the_other_or_where_they_are_wanted() {
        let mut image = ClusterImage::default();
        let rules = TopicRules { is_alone: false, ..rules() };
        let refused = decide_create(&image, &rules, &wanted("t"), Uuid::from_u128(1)).unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidReplicationFactor, "nobody serves");
        for (broker_id, fenced) in [(1, false), (2, true), (3, false)] {
            image.apply(&MetadataRecord::RegisterBroker(RegisterBrokerRecord {
                broker_id,
                fenced,
                log_dirs: vec![Uuid::from_u128(broker_id as u128)],
                ..RegisterBrokerRecord::default()
            }));
        }
        let mut make = |wanted: &CreateTopic, id: u128| {
            let (records, _) = decide_create(&image, &rules, wanted, Uuid::from_u128(id))?;
            records.iter().for_each(|record| image.apply(record));
            let partitions = &image.topic(&wanted.name).unwrap().partitions;
            let places = partitions
                .iter()
                .map(|partition| (partition.replicas[0].0, partition.directories[0].as_u128()));
            Ok::<_, Refusal>(places.collect::<Vec<_>>())
        };
        let one_each = CreateTopic { replication_factor: 1, ..wanted("spread") };
        let three = CreateTopic { partitions: 3, ..one_each.clone() };
        assert_eq!(make(&three, 1).unwrap(), [(1, 1), (3, 3), (1, 1)]);
        let next = CreateTopic { name: "next".to_owned(), partitions: 1, ..one_each };
        assert_eq!(make(&next, 2).unwrap(), [(3, 3)]);
        let assigned = |node| CreateTopic {
            assignments: vec![(1, vec![NodeId(1)]), (0, vec![NodeId(node)])],
            ..wanted("assigned")
        };
        assert_eq!(make(&assigned(2), 3).unwrap_err().code, ErrorCode::InvalidReplicaAssignment);
        assert_eq!(make(&assigned(3), 3).unwrap(), [(3, 3), (1, 1)]);
    }

    #[test]
    fn in_a_cluster_a_topic_has_three_replicas_of_which_two_must_be_in_sync_or_as_many_as_there_are_brokers()
    {
        let mut image = ClusterImage::default();
        let rules = TopicRules { is_alone: false, ..rules() };
        let mut made = Vec::new();
        for broker_id in 1..=4 {
            image.apply(&MetadataRecord::RegisterBroker(RegisterBrokerRecord {
                broker_id,
                // One of them does not serve yet.
                fenced: broker_id == 3,
                log_dirs: vec![Uuid::from_u128(broker_id as u128)],
                ..RegisterBrokerRecord::default()
            }));
            let name = format!("t{broker_id}");
            let id = Uuid::from_u128(broker_id as u128);
            let (records, created) = decide_create(&image, &rules, &wanted(&name), id).unwrap();
            records.iter().for_each(|record| image.apply(record));
            image.invariants().unwrap();
            let topic = image.topic(&name).unwrap();
            made.push((created.replication_factor, image.min_insync_replicas(topic)));
            for partition in &topic.partitions {
                let dirs: Vec<u128> = partition.directories.iter().map(Uuid::as_u128).collect();
                let own: Vec<u128> = partition.replicas.iter().map(|node| node.0 as u128).collect();
                assert_eq!(dirs, own);
                assert_eq!(partition.leader, partition.isr.first().copied());
                assert!(!partition.isr.contains(&NodeId(3)), "it is not up to date");
            }
        }
        assert_eq!(made, [(1, 1), (2, 1), (3, 2), (3, 2)]);
        let records = decide_grow(&image, &rules, "t4", 9, None).unwrap();
        records.iter().for_each(|record| image.apply(record));
        assert!(image.topic("t4").unwrap().partitions.iter().all(|partition| partition.replicas.len() == 3));
        let five = CreateTopic { replication_factor: 5, ..wanted("five") };
        let refused = decide_create(&image, &rules, &five, Uuid::from_u128(9)).unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidReplicationFactor);
        for (replicas, is_right) in
            [(vec![1, 2], true), (vec![1, 1], false), (vec![1, 9], false), (vec![], false), (vec![3], false)]
        {
            let replicas: Vec<NodeId> = replicas.into_iter().map(NodeId).collect();
            let assigned =
                CreateTopic { partitions: -1, assignments: vec![(0, replicas)], ..wanted("assigned") };
            let decided = decide_create(&image, &rules, &assigned, Uuid::from_u128(9));
            assert_eq!(decided.is_ok(), is_right, "{decided:?}");
        }
    }

    #[test]
    fn topics_grow_but_never_shrink_and_a_deleted_one_is_gone() {
        let mut image = ClusterImage::default();
        create(&mut image, &wanted("t"), 1).unwrap();
        assert_eq!(code(decide_grow(&image, &rules(), "t", 2, None)), ErrorCode::InvalidPartitions);
        let records = decide_grow(&image, &rules(), "t", 5, None).unwrap();
        records.iter().for_each(|record| image.apply(record));
        assert_eq!(image.topic("t").unwrap().partitions.len(), 5);
        let (records, name, _) = decide_delete(&image, &TopicRef::Id(Uuid::from_u128(1))).unwrap();
        assert_eq!(name, "t");
        records.iter().for_each(|record| image.apply(record));
        image.invariants().unwrap();
        assert_eq!((image.topics().count(), image.partition_count()), (0, 0));
        assert_eq!(
            code(decide_delete(&image, &TopicRef::Name("t".into()))),
            ErrorCode::UnknownTopicOrPartition
        );
    }

    #[test]
    fn new_partitions_go_to_the_log_dir_with_the_fewest() {
        let (a, b) = (Uuid::from_u128(500), Uuid::from_u128(600));
        let rules = TopicRules { directories: vec![a, b], ..rules() };
        let mut image = ClusterImage::default();
        let apply = |records: Vec<MetadataRecord>, image: &mut ClusterImage| {
            records.iter().for_each(|record| image.apply(record));
            image.invariants().unwrap();
            [a, b].map(|directory| image.partitions_in(directory))
        };
        let (records, _) = decide_create(&image, &rules, &wanted("t"), Uuid::from_u128(1)).unwrap();
        assert_eq!(apply(records, &mut image), [2, 1]);
        let records = decide_grow(&image, &rules, "t", 6, None).unwrap();
        assert_eq!(apply(records, &mut image), [3, 3]);
        let moved = |partition: &PartitionImage| partition.directory_of(NodeId(1)) == Some(a);
        let number = image.topic("t").unwrap().partitions.iter().position(moved).unwrap() as i32;
        let records = decide_assign(&image, NodeId(1), Uuid::from_u128(1), number, b).unwrap();
        assert_eq!(apply(vec![records], &mut image), [2, 4]);
        assert_eq!(decide_assign(&image, NodeId(1), Uuid::from_u128(1), number, b), None);
        let records = decide_grow(&image, &rules, "t", 8, None).unwrap();
        assert_eq!(apply(records, &mut image), [4, 4]);
        let (records, ..) = decide_delete(&image, &TopicRef::Name("t".into())).unwrap();
        assert_eq!(apply(records, &mut image), [0, 0]);
    }

    proptest! {
        #[test]
        fn replaying_the_log_gives_the_same_image(steps in proptest::collection::vec((0u8..3, 0u8..5, 1i32..9), 0..60)) {
            let mut image = ClusterImage::default();
            let mut log = Vec::new();
            for (i, (kind, topic, count)) in steps.into_iter().enumerate() {
                let name = format!("t{topic}");
                let records = match kind {
                    0 => decide_create(&image, &rules(), &wanted(&name), Uuid::from_u128(i as u128)).map(|(r, _)| r),
                    1 => decide_grow(&image, &rules(), &name, count, None),
                    _ => decide_delete(&image, &TopicRef::Name(name)).map(|(r, _, _)| r),
                };
                for record in records.unwrap_or_default() {
                    image.apply(&record);
                    image.invariants().unwrap();
                    log.push(record.encode().unwrap());
                }
            }
            let mut replayed = ClusterImage::default();
            for bytes in log {
                replayed.apply(&MetadataRecord::decode(bytes).unwrap());
            }
            prop_assert_eq!(replayed, image);
        }
    }
}
