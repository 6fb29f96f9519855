//! The brokers of a cluster: who is registered, where clients reach it, and who is fenced because nothing was heard of it
//! (KIP-631). Pure.
//!
//! ```text
//!             registers              says that it is up to date
//!   unknown ────────────▶ fenced ────────────────────────────────▶ serves
//!                            ▲                                       │
//!                            └── silent for broker.session.timeout.ms, or stops ──┘
//! ```
//! Nobody leads a partition whose replicas are all fenced; a replica that comes back and has everything leads again.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::metadata_records::{
    BrokerEndpoint as RecordedEndpoint, BrokerRegistrationChangeRecord, PartitionChangeRecord,
    RegisterBrokerRecord,
};
use uuid::Uuid;

use super::image::ClusterImage;
use super::records::MetadataRecord;
use super::takeover::lead_unled;
use super::topics::{Refusal, refuse};
use crate::ids::{NodeId, Offset};

/// In a change of a registration.
const FENCED: i8 = 1;
const UNFENCED: i8 = -1;
const IN_CONTROLLED_SHUTDOWN: i8 = 1;
/// In a change of a partition: nobody leads.
const NO_LEADER: i32 = -1;

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
}

pub(super) fn apply_registration(brokers: &mut Brokers, record: &RegisterBrokerRecord) {
    let endpoints = record.end_points.iter().map(|endpoint| BrokerEndpoint {
        listener: endpoint.name.to_string(),
        host: endpoint.host.to_string(),
        port: endpoint.port,
        security_protocol: endpoint.security_protocol,
    });
    let image = BrokerImage {
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
    MetadataRecord::RegisterBroker(RegisterBrokerRecord {
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
pub(super) fn decide_register(
    image: &ClusterImage,
    wanted: &Registration,
    epoch: Offset,
    is_alive: bool,
) -> Result<(Vec<MetadataRecord>, Offset), Refusal> {
    let known = image.brokers().get(&wanted.id);
    let mut records = Vec::new();
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
        // What its last run led, nobody leads until it says that it is up to date.
        records.extend(leaderless(image, wanted.id));
    }
    let broker = BrokerImage {
        incarnation_id: wanted.incarnation_id,
        epoch: epoch.plus(records.len() as i64),
        endpoints: wanted.endpoints.clone(),
        log_dirs: wanted.log_dirs.clone(),
        rack: wanted.rack.clone(),
        is_fenced: true,
        in_controlled_shutdown: false,
    };
    records.push(to_record(wanted.id, &broker));
    Ok((records, broker.epoch))
}

/// Records after which a broker leads nothing and gets no partitions.
pub(super) fn decide_fence(image: &ClusterImage, id: NodeId) -> Vec<MetadataRecord> {
    let Some(broker) = image.brokers().get(&id).filter(|broker| !broker.is_fenced) else { return Vec::new() };
    let mut records = leaderless(image, id);
    records.push(change(id, broker, FENCED));
    records
}

/// Records after which a broker serves, and leads what it has all of and nobody leads.
pub(super) fn decide_unfence(image: &ClusterImage, id: NodeId) -> Vec<MetadataRecord> {
    let Some(broker) = image.brokers().get(&id).filter(|broker| broker.is_fenced) else { return Vec::new() };
    let mut records = vec![change(id, broker, UNFENCED)];
    records.extend(lead_unled(image, id));
    records
}

fn change(id: NodeId, broker: &BrokerImage, fenced: i8) -> MetadataRecord {
    MetadataRecord::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
        broker_id: id.0,
        broker_epoch: broker.epoch.0,
        fenced,
        ..BrokerRegistrationChangeRecord::default()
    })
}

/// Records that take what it leads from a broker. It stays in sync: it has everything.
fn leaderless(image: &ClusterImage, id: NodeId) -> Vec<MetadataRecord> {
    let mut records = Vec::new();
    for topic in image.topics() {
        for (number, partition) in (0i32..).zip(&topic.partitions) {
            if partition.leader == Some(id) {
                records.push(MetadataRecord::PartitionChange(PartitionChangeRecord {
                    partition_id: number,
                    topic_id: topic.id,
                    leader: NO_LEADER,
                    ..PartitionChangeRecord::default()
                }));
            }
        }
    }
    records
}

#[cfg(test)]
mod tests {
    use ottla_protocol::messages::metadata_records::{PartitionRecord, TopicRecord};

    use super::*;

    const NODE: NodeId = NodeId(2);

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
        }
    }

    fn apply(image: &mut ClusterImage, records: Vec<MetadataRecord>) {
        for record in records {
            image.apply(&MetadataRecord::decode(record.encode().unwrap()).unwrap());
            image.invariants().unwrap();
        }
    }

    fn register(image: &mut ClusterImage, wanted: &Registration, at: i64) -> Offset {
        let (records, epoch) = decide_register(image, wanted, Offset(at), true).unwrap();
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
        let records = decide_unfence(&image, NODE);
        apply(&mut image, records);
        assert!(!image.brokers()[&NODE].is_fenced);
        let records = decide_fence(&image, NODE);
        apply(&mut image, records);
        assert_eq!(leaders(&image), [Some(1), None]);
        assert!(decide_fence(&image, NODE).is_empty(), "it is fenced");
        let records = decide_unfence(&image, NODE);
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
        let second = register(&mut image, &registration(2, 5), 60);
        assert_eq!(second, Offset(61), "behind the record that takes what it led");
        assert_eq!(leaders(&image), [Some(1), None]);
        let impostor = decide_register(&image, &registration(3, 6), Offset(70), true).unwrap_err();
        assert_eq!(impostor.code, ErrorCode::DuplicateBrokerRegistration);
        assert!(decide_register(&image, &registration(3, 6), Offset(70), false).is_ok(), "nobody is there");
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
