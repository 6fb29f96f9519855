//! Metadata (3): brokers, topics, partitions and leaders; makes a missing topic where client and broker allow it.
//! Versions 0 to 13. Topic ids (10) are KIP-516; 13 adds a top-level error for rebootstrap (KIP-1102).

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k03_metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use ottla_protocol::wire::Str;

use super::super::access::Access;
use super::super::context::Context;
use super::super::dispatch::Call;
use crate::controller::{CreateTopic, TopicImage, is_internal};
use crate::security::acl::CLUSTER_NAME;
use crate::security::{Operation, ResourceType};

pub(in super::super) async fn handle(context: Arc<Context>, call: Call<MetadataRequest>) -> MetadataResponse {
    let version = call.version();
    let (request, asker) = (call.request, Asker { access: call.access, with_operations: false });
    let asker = Asker { with_operations: request.include_topic_authorized_operations, ..asker };
    // In version 0 an empty list asks for everything; later null does and an empty one asks for nothing.
    let wanted = request.topics.filter(|topics| version > 0 || !topics.is_empty());
    // Until version 4 a client could not say that it does not want topics to be made.
    let may_create = context.config.auto_create_topics && (version < 4 || request.allow_auto_topic_creation);
    let topics = match wanted {
        None => {
            let image = context.image();
            let seen = image.topics().filter(|topic| {
                asker.access.sees(&context, Operation::Describe, (ResourceType::Topic, &topic.name))
            });
            seen.map(|topic| asker.describe(&context, topic)).collect()
        }
        Some(wanted) => describe_wanted(&context, &asker, wanted, may_create).await,
    };
    let brokers =
        context.reachable_brokers(&call.peer.endpoint).into_iter().filter(|broker| !broker.is_fenced);
    let brokers = brokers.map(|broker| MetadataResponseBroker {
        node_id: broker.id.0,
        host: broker.host,
        port: broker.port,
        rack: broker.rack,
    });
    MetadataResponse {
        brokers: brokers.collect(),
        cluster_id: Some(context.cluster_id.clone()),
        controller_id: context.controller_id(),
        topics,
        cluster_authorized_operations: asker.access.operations(
            &context,
            request.include_cluster_authorized_operations,
            (ResourceType::Cluster, CLUSTER_NAME),
        ),
        ..MetadataResponse::default()
    }
}

/// Who wants to know, and whether also what it may do.
struct Asker {
    access: Access,
    with_operations: bool,
}

async fn describe_wanted(
    context: &Context,
    asker: &Asker,
    wanted: Vec<MetadataRequestTopic>,
    may_create: bool,
) -> Vec<MetadataResponseTopic> {
    let mut image = context.image();
    let missing: Vec<CreateTopic> = wanted
        .iter()
        .filter(|topic| topic.topic_id.is_nil())
        .filter_map(|topic| topic.name.as_deref())
        .filter(|name| image.topic(name).is_none() && !is_internal(name) && may_create)
        .filter(|name| asker.may_make(context, name))
        .map(|name| CreateTopic {
            name: name.to_owned(),
            partitions: -1,
            replication_factor: -1,
            ..CreateTopic::default()
        })
        .collect();
    let mut refused = Vec::new();
    if !missing.is_empty() {
        let names: Vec<String> = missing.iter().map(|topic| topic.name.clone()).collect();
        let answers = context.active_controller.create_topics(missing).await;
        for (name, made) in names.into_iter().zip(answers) {
            match made {
                Ok(_) => tracing::info!(topic = name, "made a topic on first use"),
                Err(refusal) => refused.push((name, refusal.code)),
            }
        }
        image = context.image();
    }
    wanted
        .into_iter()
        .map(|topic| {
            let found = match (&topic.name, topic.topic_id.is_nil()) {
                // Whoever may not know of a topic is told that there is none of that id.
                (_, false) => image
                    .topic_by_id(topic.topic_id)
                    .filter(|found| asker.access.topic(context, Operation::Describe, &found.name))
                    .ok_or(ErrorCode::UnknownTopicId),
                (Some(name), true) if !asker.access.topic(context, Operation::Describe, name) => {
                    Err(ErrorCode::TopicAuthorizationFailed)
                }
                (Some(name), true) => image.topic(name).ok_or_else(|| {
                    let refusal = refused.iter().find(|(refused, _)| **refused == **name);
                    match refusal {
                        // Another client made it in between: the next request finds it.
                        Some((_, ErrorCode::TopicAlreadyExists)) => ErrorCode::LeaderNotAvailable,
                        Some((_, code)) => *code,
                        // Clients take "unknown" for good, and refuse records.
                        None if !context.knows_the_cluster() => ErrorCode::LeaderNotAvailable,
                        None => ErrorCode::UnknownTopicOrPartition,
                    }
                }),
                (None, true) => Err(ErrorCode::InvalidTopicException),
            };
            match found {
                Ok(found) => asker.describe(context, found),
                Err(code) => MetadataResponseTopic {
                    error_code: code.code(),
                    // Until version 12 a name cannot be null.
                    name: Some(topic.name.unwrap_or_else(|| Str::from_static(""))),
                    topic_id: topic.topic_id,
                    topic_authorized_operations: i32::MIN,
                    ..MetadataResponseTopic::default()
                },
            }
        })
        .collect()
}

impl Asker {
    /// Whether it may make a topic by asking for it.
    fn may_make(&self, context: &Context, name: &str) -> bool {
        let (describe, create) = (Operation::Describe, Operation::Create);
        self.access.sees(context, describe, (ResourceType::Topic, name))
            && (self.access.sees(context, create, (ResourceType::Cluster, CLUSTER_NAME))
                || self.access.topic(context, create, name))
    }

    fn describe(&self, context: &Context, topic: &TopicImage) -> MetadataResponseTopic {
        let resource = (ResourceType::Topic, &*topic.name);
        let operations = self.access.operations(context, self.with_operations, resource);
        MetadataResponseTopic { topic_authorized_operations: operations, ..describe(topic) }
    }
}

fn describe(topic: &TopicImage) -> MetadataResponseTopic {
    let partitions = topic.partitions.iter().enumerate().map(|(number, partition)| {
        let no_leader =
            if partition.leader.is_none() { ErrorCode::LeaderNotAvailable } else { ErrorCode::None };
        MetadataResponsePartition {
            error_code: no_leader.code(),
            partition_index: number as i32,
            leader_id: partition.leader.map_or(-1, |leader| leader.0),
            leader_epoch: partition.leader_epoch.0,
            replica_nodes: partition.replicas.iter().map(|node| node.0).collect(),
            isr_nodes: partition.isr.iter().map(|node| node.0).collect(),
            offline_replicas: Vec::new(),
        }
    });
    MetadataResponseTopic {
        error_code: ErrorCode::None.code(),
        name: Some(topic.name.as_str().into()),
        topic_id: topic.id,
        is_internal: is_internal(&topic.name),
        partitions: partitions.collect(),
        topic_authorized_operations: i32::MIN,
    }
}
