//! The brokers of a cluster: who is registered, where clients reach it, and who is fenced because nothing was heard of it
//! (KIP-631). Pure.
//!
//! ```text
//!             registers              says that it is up to date
//!   unknown ────────────▶ fenced ────────────────────────────────▶ serves
//!                            ▲                                       │
//!                            └── silent for broker.session.timeout.ms, or stops ──┘
//! ```
//! A broker that is fenced, or about to stop, leaves the in-sync replicas of what it has, and what it led another leads; one that
//! comes back leads what nobody leads and it has all of. Which partitions that are for, `partition_change.rs` decides.
//!
//! A broker that did not stop in good order may have lost what was written last. `acks=all` is on the disk of every in-sync replica
//! before it is answered, so it has everything that was promised, and stays eligible; where a topic has given that up
//! (`flush.messages` above 1), or the log dir is not there any more, it does not
//! (`docs/decisions/0012-a-restart-keeps-what-was-acknowledged.md`).

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::metadata_records::{
    BrokerEndpoint as RecordedEndpoint, BrokerFeature, BrokerRegistrationChangeRecord, RegisterBrokerRecord,
    UnregisterBrokerRecord,
};
use uuid::Uuid;

use super::bugs::{Bug, PartitionRules};
use super::features::{SupportedFeature, check_supported};
use super::image::{ClusterImage, PartitionImage};
use super::partition_change::{Change, Live, has_directory};
use super::records::MetadataRecord;
use super::topics::{Refusal, refuse};
use crate::ids::{NodeId, Offset};

/// In a change of a registration.
const FENCED: i8 = 1;
const UNFENCED: i8 = -1;
const IN_CONTROLLED_SHUTDOWN: i8 = 1;

/// All brokers by id.
pub type Brokers = BTreeMap<NodeId, Arc<BrokerImage>>;

/// Where clients of a listener reach a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerEndpoint {
    /// The listener's name.
    pub listener: String,
    /// What clients are told.
    pub host: String,
    /// What clients are told.
    pub port: u16,
    /// Kafka's number of the security protocol.
    pub security_protocol: i16,
}

/// What a broker says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Who.
    pub id: NodeId,
    /// Of this run of it.
    pub incarnation_id: Uuid,
    /// Where clients reach it.
    pub endpoints: Vec<BrokerEndpoint>,
    /// Its log dirs, which tell it from another node that has its id.
    pub log_dirs: Vec<Uuid>,
    /// Where it stands (`broker.rack`), if that is known.
    pub rack: Option<String>,
    /// The features that its release has; none where that is too old to say so.
    pub features: Vec<SupportedFeature>,
    /// The epoch of its last registration, where that run was stopped in good order (KIP-966).
    pub previous_epoch: Option<Offset>,
}

/// A registered broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerImage {
    /// Of its run.
    pub incarnation_id: Uuid,
    /// Grows with each registration: the offset of its record.
    pub epoch: Offset,
    /// Where clients reach it.
    pub endpoints: Vec<BrokerEndpoint>,
    /// Its log dirs.
    pub log_dirs: Vec<Uuid>,
    /// Where it stands (`broker.rack`), if that is known.
    pub rack: Option<String>,
    /// The features that its release has; none where that is too old to say so.
    pub features: Vec<SupportedFeature>,
    /// It may lead nothing.
    pub is_fenced: bool,
    /// It is about to stop, and gives away what it leads.
    pub in_controlled_shutdown: bool,
}

impl BrokerImage {
    /// Where clients of a listener reach it.
    pub fn endpoint(&self, listener: &str) -> Option<&BrokerEndpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.listener == listener)
    }

    /// Whether it may lead, be in sync and get partitions.
    pub fn is_active(&self) -> bool {
        !self.is_fenced && !self.in_controlled_shutdown
    }
}

pub(super) fn apply_registration(brokers: &mut Brokers, record: &RegisterBrokerRecord) {
    let endpoints = record.end_points.iter().map(|endpoint| BrokerEndpoint {
        listener: endpoint.name.to_string(),
        host: endpoint.host.to_string(),
        port: endpoint.port,
        security_protocol: endpoint.security_protocol,
    });
    let features = record.features.iter().map(|feature| SupportedFeature {
        name: feature.name.to_string(),
        level_min: feature.min_supported_version,
        level_max: feature.max_supported_version,
    });
    let image = BrokerImage {
        features: features.collect(),
        incarnation_id: record.incarnation_id,
        epoch: Offset(record.broker_epoch),
        endpoints: endpoints.collect(),
        log_dirs: record.log_dirs.clone(),
        rack: record.rack.as_deref().map(str::to_owned),
        is_fenced: record.fenced,
        in_controlled_shutdown: record.in_controlled_shutdown,
    };
    brokers.insert(NodeId(record.broker_id), Arc::new(image));
}

pub(super) fn apply_change(brokers: &mut Brokers, record: &BrokerRegistrationChangeRecord) {
    let Some(broker) = brokers.get_mut(&NodeId(record.broker_id)) else { return };
    if broker.epoch.0 != record.broker_epoch {
        return;
    }
    let broker = Arc::make_mut(broker);
    match record.fenced {
        FENCED => broker.is_fenced = true,
        UNFENCED => broker.is_fenced = false,
        _ => {}
    }
    if record.in_controlled_shutdown == IN_CONTROLLED_SHUTDOWN {
        broker.in_controlled_shutdown = true;
    }
    if !record.log_dirs.is_empty() {
        broker.log_dirs.clone_from(&record.log_dirs);
    }
}

pub(super) fn to_record(id: NodeId, broker: &BrokerImage) -> MetadataRecord {
    let endpoints = broker.endpoints.iter().map(|endpoint| RecordedEndpoint {
        name: endpoint.listener.as_str().into(),
        host: endpoint.host.as_str().into(),
        port: endpoint.port,
        security_protocol: endpoint.security_protocol,
    });
    let features = broker.features.iter().map(|feature| BrokerFeature {
        name: feature.name.as_str().into(),
        min_supported_version: feature.level_min,
        max_supported_version: feature.level_max,
    });
    MetadataRecord::RegisterBroker(RegisterBrokerRecord {
        features: features.collect(),
        broker_id: id.0,
        incarnation_id: broker.incarnation_id,
        broker_epoch: broker.epoch.0,
        end_points: endpoints.collect(),
        rack: broker.rack.as_deref().map(Into::into),
        fenced: broker.is_fenced,
        in_controlled_shutdown: broker.in_controlled_shutdown,
        log_dirs: broker.log_dirs.clone(),
        ..RegisterBrokerRecord::default()
    })
}

/// Decides about a broker that registers; `epoch` is where its record will be. One whose id another has, which `is_alive`, is
/// refused; the same one in a new run is not.
pub(crate) fn decide_register(
    image: &ClusterImage,
    rules: PartitionRules,
    wanted: &Registration,
    epoch: Offset,
    is_alive: bool,
) -> Result<(Vec<MetadataRecord>, Offset), Refusal> {
    let known = image.brokers().get(&wanted.id);
    if let Some(known) = known {
        if known.incarnation_id == wanted.incarnation_id {
            return Ok((Vec::new(), known.epoch));
        }
        if is_alive && known.log_dirs != wanted.log_dirs {
            return refuse(
                ErrorCode::DuplicateBrokerRegistration,
                format!("another broker with the id {} is alive", wanted.id),
            );
        }
    }
    check_supported(image, &wanted.features)?;
    // Whatever its last run was in sync with, it is not until it is heard of.
    let mut records = restarted(image, rules, known, wanted);
    let broker = BrokerImage {
        incarnation_id: wanted.incarnation_id,
        epoch: epoch.plus(records.len() as i64),
        endpoints: wanted.endpoints.clone(),
        log_dirs: wanted.log_dirs.clone(),
        rack: wanted.rack.clone(),
        features: wanted.features.clone(),
        is_fenced: true,
        in_controlled_shutdown: false,
    };
    records.push(to_record(wanted.id, &broker));
    Ok((records, broker.epoch))
}

/// Records after which a broker leads nothing, is in sync with nothing and gets no partitions.
pub(crate) fn decide_fence(image: &ClusterImage, rules: PartitionRules, id: NodeId) -> Vec<MetadataRecord> {
    let Some(broker) = image.brokers().get(&id).filter(|broker| !broker.is_fenced) else { return Vec::new() };
    let mut records = leaves(image, rules, id);
    records.push(change(id, broker, |change| change.fenced = FENCED));
    records
}

/// Records after which a broker that is about to stop leads nothing and is in sync with nothing.
pub(crate) fn decide_controlled_shutdown(
    image: &ClusterImage,
    rules: PartitionRules,
    id: NodeId,
) -> Vec<MetadataRecord> {
    let Some(broker) = image.brokers().get(&id).filter(|broker| !broker.in_controlled_shutdown) else {
        return Vec::new();
    };
    let mut records =
        vec![change(id, broker, |change| change.in_controlled_shutdown = IN_CONTROLLED_SHUTDOWN)];
    records.extend(leaves(image, rules, id));
    records
}

/// Records after which a broker serves, and leads what it may and nobody leads.
pub(crate) fn decide_unfence(image: &ClusterImage, rules: PartitionRules, id: NodeId) -> Vec<MetadataRecord> {
    // One that was about to stop has to register again.
    let is_waiting = |broker: &&Arc<BrokerImage>| broker.is_fenced && !broker.in_controlled_shutdown;
    let Some(broker) = image.brokers().get(&id).filter(is_waiting) else { return Vec::new() };
    let mut records = vec![change(id, broker, |change| change.fenced = UNFENCED)];
    let live = Live { with: Some(id), ..Live::of(image) };
    let unled = |partition: &PartitionImage| partition.leader.is_none() && partition.replicas.contains(&id);
    records.extend(each(image, rules, live, unled).filter_map(|(_, change)| change.record()));
    records
}

/// Records after which a broker is forgotten; it may still be a replica, of which nothing is heard.
pub(crate) fn decide_unregister(
    image: &ClusterImage,
    rules: PartitionRules,
    id: NodeId,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let Some(broker) = image.brokers().get(&id) else {
        return refuse(
            ErrorCode::BrokerIdNotRegistered,
            format!("Broker ID {id} is not currently registered"),
        );
    };
    let mut records = leaves(image, rules, id);
    records.push(MetadataRecord::UnregisterBroker(UnregisterBrokerRecord {
        broker_id: id.0,
        broker_epoch: broker.epoch.0,
    }));
    Ok(records)
}

/// Whether a broker leads something.
pub(crate) fn leads_something(image: &ClusterImage, id: NodeId) -> bool {
    image.topics().flat_map(|topic| &topic.partitions).any(|partition| partition.leader == Some(id))
}

fn change(
    id: NodeId,
    broker: &BrokerImage,
    set: impl FnOnce(&mut BrokerRegistrationChangeRecord),
) -> MetadataRecord {
    let mut change = BrokerRegistrationChangeRecord {
        broker_id: id.0,
        broker_epoch: broker.epoch.0,
        ..BrokerRegistrationChangeRecord::default()
    };
    set(&mut change);
    MetadataRecord::BrokerRegistrationChange(change)
}

/// A change, without anything yet, of each of the partitions that are wanted.
fn each<'a>(
    image: &'a ClusterImage,
    rules: PartitionRules,
    live: Live<'a>,
    is_wanted: impl Fn(&PartitionImage) -> bool + Copy,
) -> impl Iterator<Item = (&'a PartitionImage, Change<'a>)> {
    image.topics().flat_map(move |topic| {
        let wanted = (0i32..).zip(&topic.partitions).filter(move |(_, partition)| is_wanted(partition));
        wanted.map(move |(number, partition)| (partition, Change::of(rules, live, topic, number, partition)))
    })
}

/// Records that take a broker out of everything that it leads or is in sync with.
fn leaves(image: &ClusterImage, rules: PartitionRules, id: NodeId) -> Vec<MetadataRecord> {
    let live = Live { without: Some(id), ..Live::of(image) };
    let has = |partition: &PartitionImage| partition.leader == Some(id) || partition.isr.contains(&id);
    each(image, rules, live, has).filter_map(|(_, change)| change.leaves(id).record()).collect()
}

/// As [`leaves`], of a broker that runs anew and may have lost something.
fn restarted(
    image: &ClusterImage,
    rules: PartitionRules,
    known: Option<&Arc<BrokerImage>>,
    wanted: &Registration,
) -> Vec<MetadataRecord> {
    let id = wanted.id;
    let is_clean = known.is_some_and(|known| wanted.previous_epoch == Some(known.epoch));
    let has_all_dirs =
        known.is_some_and(|known| known.log_dirs.iter().all(|dir| wanted.log_dirs.contains(dir)));
    let live = Live { without: Some(id), ..Live::of(image) };
    let records = each(image, rules, live, |partition| partition.replicas.contains(&id)).filter_map(
        |(partition, mut change)| {
            let directory = partition.directory_of(id);
            // One that nobody has said the log dir of may have been in any.
            let is_known = has_all_dirs || !has_directory(&[], directory);
            let has_disk = is_known && has_directory(&wanted.log_dirs, directory);
            if !has_disk && !rules.has(Bug::ReplacedDiskKeepsSeat) {
                change.empty = Some(id);
            }
            let configs = image.topic_configs(&change.topic().configs, id);
            if !is_clean && !configs.acks_all_is_durable() && !rules.has(Bug::UncleanRestartKeepsSeat) {
                change.lossy = Some(id);
            }
            change.leaves(id).record()
        },
    );
    records.collect()
}

#[cfg(test)]
mod tests {
    use ottla_protocol::messages::metadata_records::{PartitionRecord, TopicRecord};

    use super::*;

    const NODE: NodeId = NodeId(2);
    const RULES: PartitionRules = PartitionRules { bug: None };

    fn registration(incarnation: u128, dir: u128) -> Registration {
        Registration {
            id: NODE,
            incarnation_id: Uuid::from_u128(incarnation),
            endpoints: vec![BrokerEndpoint {
                listener: "PLAINTEXT".to_owned(),
                host: "host".to_owned(),
                port: 9092,
                security_protocol: 0,
            }],
            log_dirs: vec![Uuid::from_u128(dir)],
            rack: Some("a".to_owned()),
            features: Vec::new(),
            previous_epoch: None,
        }
    }

    fn apply(image: &mut ClusterImage, records: Vec<MetadataRecord>) {
        for record in records {
            image.apply(&MetadataRecord::decode(record.encode().unwrap()).unwrap());
            image.invariants().unwrap();
        }
    }

    fn register(image: &mut ClusterImage, wanted: &Registration, at: i64) -> Offset {
        let (records, epoch) = decide_register(image, RULES, wanted, Offset(at), true).unwrap();
        apply(image, records);
        epoch
    }

    /// Two partitions of which the node keeps one.
    fn image() -> ClusterImage {
        let mut image = ClusterImage::default();
        let topic_id = Uuid::from_u128(7);
        let mut records = vec![MetadataRecord::Topic(TopicRecord { name: "t".into(), topic_id })];
        records.extend((0..2).map(|partition_id| {
            MetadataRecord::Partition(PartitionRecord {
                partition_id,
                topic_id,
                replicas: vec![partition_id + 1],
                isr: vec![partition_id + 1],
                leader: partition_id + 1,
                directories: vec![Uuid::from_u128(5)],
                ..PartitionRecord::default()
            })
        }));
        apply(&mut image, records);
        image
    }

    fn leaders(image: &ClusterImage) -> Vec<Option<i32>> {
        let partitions = &image.topic("t").unwrap().partitions;
        partitions.iter().map(|partition| partition.leader.map(|leader| leader.0)).collect()
    }

    #[test]
    fn a_broker_leads_what_it_keeps_while_it_serves() {
        let mut image = image();
        let epoch = register(&mut image, &registration(1, 5), 40);
        let broker = image.brokers()[&NODE].clone();
        assert_eq!((broker.epoch, broker.is_fenced), (epoch, true));
        assert_eq!(broker.endpoint("PLAINTEXT").unwrap().port, 9092);
        let records = decide_unfence(&image, RULES, NODE);
        apply(&mut image, records);
        assert!(!image.brokers()[&NODE].is_fenced);
        let records = decide_fence(&image, RULES, NODE);
        apply(&mut image, records);
        assert_eq!(leaders(&image), [Some(1), None]);
        assert!(decide_fence(&image, RULES, NODE).is_empty(), "it is fenced");
        let records = decide_unfence(&image, RULES, NODE);
        apply(&mut image, records);
        assert_eq!(leaders(&image), [Some(1), Some(2)]);
        let mut again = ClusterImage::default();
        image.as_records().iter().for_each(|record| again.apply(record));
        assert_eq!(again.brokers(), image.brokers());
    }

    #[test]
    fn a_new_run_takes_the_place_of_the_last_and_another_disk_does_not() {
        let mut image = image();
        let first = register(&mut image, &registration(1, 5), 40);
        assert_eq!(register(&mut image, &registration(1, 5), 50), first, "asked again");
        let records = decide_unfence(&image, RULES, NODE);
        apply(&mut image, records);
        assert_eq!(leaders(&image), [Some(1), Some(2)]);
        let second = register(&mut image, &registration(2, 5), 60);
        assert_eq!(second, Offset(61), "behind the record that takes what it led");
        assert_eq!(leaders(&image), [Some(1), None]);
        let impostor = decide_register(&image, RULES, &registration(3, 6), Offset(70), true).unwrap_err();
        assert_eq!(impostor.code, ErrorCode::DuplicateBrokerRegistration);
        assert!(
            decide_register(&image, RULES, &registration(3, 6), Offset(70), false).is_ok(),
            "nobody is there"
        );
        // A change that was meant for the run before changes nothing.
        let late = BrokerRegistrationChangeRecord {
            broker_id: NODE.0,
            broker_epoch: first.0,
            fenced: UNFENCED,
            ..BrokerRegistrationChangeRecord::default()
        };
        apply(&mut image, vec![MetadataRecord::BrokerRegistrationChange(late)]);
        assert!(image.brokers()[&NODE].is_fenced);
    }
}
