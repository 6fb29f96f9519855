//! Metadata (3): brokers, topics, partitions and leaders; makes a missing topic where client and broker allow it.
//! Versions 0 to 13. Topic ids (10) are KIP-516; 13 adds a top-level error for rebootstrap (KIP-1102).

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k03_metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use ottla_protocol::wire::Str;

use super::super::context::Context;
use super::super::dispatch::Call;
use super::OPERATIONS_UNKNOWN;
use crate::controller::{CreateTopic, TopicImage, is_internal};

pub(in super::super) async fn handle(context: Arc<Context>, call: Call<MetadataRequest>) -> MetadataResponse {
    let version = call.version();
    let request = call.request;
    // In version 0 an empty list asks for everything; later null does and an empty one asks for nothing.
    let wanted = request.topics.filter(|topics| version > 0 || !topics.is_empty());
    // Until version 4 a client could not say that it does not want topics to be made.
    let may_create = context.config.auto_create_topics && (version < 4 || request.allow_auto_topic_creation);
    let topics = match wanted {
        None => context.image().topics().map(|topic| describe(topic)).collect(),
        Some(wanted) => describe_wanted(&context, wanted, may_create).await,
    };
    MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: context.node_id().0,
            host: context.host.clone(),
            port: context.port,
            rack: None,
        }],
        cluster_id: Some(context.cluster_id.clone()),
        controller_id: context.node_id().0,
        topics,
        cluster_authorized_operations: OPERATIONS_UNKNOWN,
        ..MetadataResponse::default()
    }
}

async fn describe_wanted(
    context: &Context,
    wanted: Vec<MetadataRequestTopic>,
    may_create: bool,
) -> Vec<MetadataResponseTopic> {
    let mut image = context.image();
    let missing: Vec<CreateTopic> = wanted
        .iter()
        .filter(|topic| topic.topic_id.is_nil())
        .filter_map(|topic| topic.name.as_deref())
        .filter(|name| image.topic(name).is_none() && !is_internal(name))
        .map(|name| CreateTopic {
            name: name.to_owned(),
            partitions: -1,
            replication_factor: -1,
            ..CreateTopic::default()
        })
        .collect();
    let mut refused = Vec::new();
    if may_create && !missing.is_empty() {
        let names: Vec<String> = missing.iter().map(|topic| topic.name.clone()).collect();
        for (name, made) in names.into_iter().zip(context.controller.create_topics(missing, false).await) {
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
                (_, false) => image.topic_by_id(topic.topic_id).ok_or(ErrorCode::UnknownTopicId),
                (Some(name), true) => image.topic(name).ok_or_else(|| {
                    let refusal = refused.iter().find(|(refused, _)| **refused == **name);
                    match refusal {
                        // Another client made it in between: the next request finds it.
                        Some((_, ErrorCode::TopicAlreadyExists)) => ErrorCode::LeaderNotAvailable,
                        Some((_, code)) => *code,
                        None => ErrorCode::UnknownTopicOrPartition,
                    }
                }),
                (None, true) => Err(ErrorCode::InvalidTopicException),
            };
            match found {
                Ok(found) => describe(found),
                Err(code) => MetadataResponseTopic {
                    error_code: code.code(),
                    // Until version 12 a name cannot be null.
                    name: Some(topic.name.unwrap_or_else(|| Str::from_static(""))),
                    topic_id: topic.topic_id,
                    topic_authorized_operations: OPERATIONS_UNKNOWN,
                    ..MetadataResponseTopic::default()
                },
            }
        })
        .collect()
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
        topic_authorized_operations: OPERATIONS_UNKNOWN,
    }
}
