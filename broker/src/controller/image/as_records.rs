//! The image told as records, which is what a snapshot is made of.

use ottla_protocol::messages::metadata_records::{
    ConfigRecord, PartitionRecord, ProducerIdsRecord, TopicRecord,
};

use super::{ClusterImage, PartitionImage, ResourceType, TopicImage};
use crate::controller::configs::Configs;
use crate::controller::records::MetadataRecord;
use crate::controller::{acls, brokers, client_quotas, features, scram_credentials};
use crate::ids::NodeId;

/// In a record, of a partition that nobody leads.
const NO_LEADER: i32 = -1;

impl ClusterImage {
    /// Records that lead from nothing to this image: what somebody needs who does not have the records that led to it.
    /// A topic comes before its partitions, and these in their order.
    pub fn as_records(&self) -> Vec<MetadataRecord> {
        // Every field is named, so that none can be added and forgotten here.
        let ClusterImage {
            topics,
            names: _,
            partition_count: _,
            partitions_in: _,
            topics_version: _,
            next_producer_id,
            configs,
            acls,
            scram_credentials,
            client_quotas,
            feature_levels,
            brokers,
            started_with: _,
        } = self;
        let mut records: Vec<MetadataRecord> =
            brokers.iter().map(|(id, broker)| brokers::to_record(*id, broker)).collect();
        for topic in topics.values() {
            tell_topic(topic, &mut records);
        }
        for ((resource_type, name), configs) in configs {
            tell_configs(*resource_type, name, configs, &mut records);
        }
        records.extend(acls.iter().map(|(id, acl)| acls::to_record(id, acl)));
        for (user, credentials) in &**scram_credentials {
            records.extend(credentials.iter().map(|(mechanism, credential)| {
                scram_credentials::to_record(user, *mechanism, credential.clone())
            }));
        }
        for (entity, quotas) in &**client_quotas {
            records.extend(
                quotas.iter().map(|(key, value)| client_quotas::to_record(entity, key, Some(*value))),
            );
        }
        records.extend(feature_levels.iter().map(|(name, level)| features::to_record(name, *level)));
        if *next_producer_id > 0 {
            let next_producer_id = *next_producer_id;
            records.push(MetadataRecord::ProducerIds(ProducerIdsRecord {
                next_producer_id,
                ..ProducerIdsRecord::default()
            }));
        }
        records
    }
}

fn tell_topic(topic: &TopicImage, records: &mut Vec<MetadataRecord>) {
    records.push(MetadataRecord::Topic(TopicRecord { name: topic.name.as_str().into(), topic_id: topic.id }));
    for (number, partition) in (0i32..).zip(&topic.partitions) {
        let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
        let PartitionImage {
            replicas,
            isr,
            eligible_leader_replicas: eligible,
            last_known_elr,
            adding_replicas,
            removing_replicas,
            leader,
            leader_epoch,
            partition_epoch,
            directories,
        } = partition;
        let unless_empty = |nodes: &[NodeId]| (!nodes.is_empty()).then(|| ids(nodes));
        records.push(MetadataRecord::Partition(PartitionRecord {
            partition_id: number,
            topic_id: topic.id,
            replicas: ids(replicas),
            isr: ids(isr),
            leader: leader.map_or(NO_LEADER, |leader| leader.0),
            leader_epoch: leader_epoch.0,
            partition_epoch: *partition_epoch,
            directories: directories.clone(),
            eligible_leader_replicas: unless_empty(eligible),
            last_known_elr: unless_empty(last_known_elr),
            adding_replicas: ids(adding_replicas),
            removing_replicas: ids(removing_replicas),
            ..PartitionRecord::default()
        }));
    }
    tell_configs(ResourceType::Topic, &topic.name, &topic.configs, records);
}

fn tell_configs(
    resource_type: ResourceType,
    resource: &str,
    configs: &Configs,
    records: &mut Vec<MetadataRecord>,
) {
    records.extend(configs.iter().map(|(name, value)| {
        MetadataRecord::Config(ConfigRecord {
            resource_type: resource_type.code(),
            resource_name: resource.into(),
            name: name.as_str().into(),
            value: Some(value.as_str().into()),
        })
    }));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use proptest::prelude::*;
    use uuid::Uuid;

    use ottla_protocol::messages::metadata_records::RemoveTopicRecord;

    use super::*;
    use crate::controller::client_quotas::QuotaEntity;
    use crate::security::scram::{ScramCredential, ScramMechanism};
    use crate::security::{Acl, Operation, PatternType, Permission, ResourceType as AclResource};

    fn topic_records() -> impl Strategy<Value = Vec<MetadataRecord>> {
        let nodes = proptest::collection::vec(0i32..4, 1..4);
        let partitions = proptest::collection::vec((nodes, -1i32..4, any::<u128>(), any::<bool>()), 0..4);
        (0u128..6, partitions).prop_map(|(number, partitions)| {
            let topic_id = Uuid::from_u128(number);
            let name = format!("t{number}");
            let mut records =
                vec![MetadataRecord::Topic(TopicRecord { name: name.as_str().into(), topic_id })];
            for (place, (replicas, leader, dir, is_eligible)) in (0i32..).zip(partitions) {
                records.push(MetadataRecord::Partition(PartitionRecord {
                    partition_id: place,
                    topic_id,
                    isr: replicas.clone(),
                    directories: vec![Uuid::from_u128(dir); replicas.len()],
                    eligible_leader_replicas: is_eligible.then(|| replicas.clone()),
                    last_known_elr: is_eligible.then(|| vec![5]),
                    adding_replicas: vec![place; usize::from(is_eligible)],
                    removing_replicas: vec![9; usize::from(is_eligible)],
                    replicas,
                    leader,
                    leader_epoch: 7 + place,
                    partition_epoch: 11 + place,
                    ..PartitionRecord::default()
                }));
            }
            records
        })
    }

    fn other_records() -> impl Strategy<Value = Vec<MetadataRecord>> {
        let text = || "[a-c]{1,2}";
        let config = (
            prop_oneof![Just(2i8), Just(4), Just(16), Just(32)],
            text(),
            text(),
            proptest::option::of(text()),
        )
            .prop_map(|(resource_type, resource, name, value)| {
                let resource = if resource_type == 2 { format!("t{}", resource.len()) } else { resource };
                MetadataRecord::Config(ConfigRecord {
                    resource_type,
                    resource_name: resource.as_str().into(),
                    name: name.as_str().into(),
                    value: value.as_deref().map(Into::into),
                })
            });
        let acl = (0u128..9, text()).prop_map(|(id, name)| {
            let acl = Acl {
                resource_type: AclResource::Topic,
                resource_name: name,
                pattern_type: PatternType::Prefixed,
                principal: "User:a".to_owned(),
                host: "*".to_owned(),
                operation: Operation::Read,
                permission: Permission::Deny,
            };
            acls::to_record(Uuid::from_u128(id), &acl)
        });
        let scram = (text(), any::<bool>(), 4096i32..5000).prop_map(|(user, is_long, iterations)| {
            let mechanism = if is_long { ScramMechanism::Sha512 } else { ScramMechanism::Sha256 };
            let part = Bytes::from_static(b"abc");
            let credential = ScramCredential {
                salt: part.clone(),
                stored_key: part.clone(),
                server_key: part,
                iterations,
            };
            scram_credentials::to_record(&user, mechanism, credential)
        });
        let quota = (text(), proptest::option::of(text()), proptest::option::of(1.0f64..9.0)).prop_map(
            |(user, client_id, value)| {
                let entity = QuotaEntity { user: Some(Some(user)), client_id: Some(client_id), ip: None };
                client_quotas::to_record(&entity, "producer_byte_rate", value)
            },
        );
        let ids = (1i64..99).prop_map(|next_producer_id| {
            MetadataRecord::ProducerIds(ProducerIdsRecord {
                next_producer_id,
                ..ProducerIdsRecord::default()
            })
        });
        let level = (0i16..3).prop_map(|level| features::to_record("transaction.version", level));
        prop_oneof![config, acl, scram, quota, level, ids].prop_map(|record| vec![record])
    }

    proptest! {
        #[test]
        fn the_records_lead_to_the_same_image(
            records in proptest::collection::vec(prop_oneof![topic_records(), other_records()], 0..40),
        ) {
            let mut image = ClusterImage::default();
            // A name is used again only after its topic was removed.
            for record in records.iter().flatten() {
                if let MetadataRecord::Topic(topic) = record
                    && image.topic_by_id(topic.topic_id).is_some()
                {
                    let topic_id = topic.topic_id;
                    image.apply(&MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id }));
                }
                image.apply(record);
            }
            let mut rebuilt = ClusterImage::default();
            for record in image.as_records() {
                rebuilt.apply(&MetadataRecord::decode(record.encode().unwrap()).unwrap());
            }
            rebuilt.topics_version = image.topics_version;
            prop_assert_eq!(&Arc::new(rebuilt), &Arc::new(image));
        }
    }
}
