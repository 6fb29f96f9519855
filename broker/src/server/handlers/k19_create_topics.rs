//! CreateTopics (19). Versions 2 to 7. Defaults by -1 are KIP-464, the configs in the answer (5) KIP-525, topic ids
//! (7) KIP-516.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k19_create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use ottla_protocol::wire::Str;

use super::super::access::Access;
use super::super::context::Context;
use super::super::dispatch::Call;
use crate::controller::{CreateTopic, CreatedTopic, Refusal};
use crate::ids::NodeId;
use crate::security::acl::CLUSTER_NAME;
use crate::security::{Operation, ResourceType};

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<CreateTopicsRequest>,
) -> CreateTopicsResponse {
    let (request, access) = (call.request, call.access);
    let of_cluster = (ResourceType::Cluster, CLUSTER_NAME);
    let may_make_all = access.sees(&context, Operation::Create, of_cluster);
    let twice = names_that_come_twice(&request.topics);
    let (doubled, wanted): (Vec<CreatableTopic>, Vec<CreatableTopic>) =
        request.topics.into_iter().partition(|topic| twice.contains(&topic.name));
    let may_make =
        |topic: &CreatableTopic| may_make_all || access.topic(&context, Operation::Create, &topic.name);
    let (wanted, denied): (Vec<CreatableTopic>, Vec<CreatableTopic>) = wanted.into_iter().partition(may_make);
    // From version 6 on a client can be told that it changes too much; older ones only wait.
    let (wanted, over_quota, wait) = within_quota(&context, &access, wanted, call.header.api_version >= 6);
    let names: Vec<Str> = wanted.iter().map(|topic| topic.name.detached()).collect();
    let wanted = wanted.into_iter().map(wanted_topic).collect();
    let answers = context.controller.create_topics(wanted, request.validate_only).await;
    let mut topics: Vec<CreatableTopicResult> = names
        .into_iter()
        .zip(answers)
        .map(|(name, answer)| match answer {
            Ok(created) => {
                if !request.validate_only {
                    tracing::info!(topic = %&*name, partitions = created.partitions, "made a topic");
                    if let Some(number) = context.partitions.first_offline(&name) {
                        let message = format!(
                            "The topic is made, but its partition {number} has no usable files on node {}.",
                            context.node_id()
                        );
                        return refused(name, Refusal { code: ErrorCode::KafkaStorageError, message });
                    }
                }
                let shows_configs =
                    access.sees(&context, Operation::DescribeConfigs, (ResourceType::Topic, &name));
                granted(&context, name, created, shows_configs)
            }
            Err(refusal) => refused(name, refusal),
        })
        .collect();
    topics.extend(denied.into_iter().map(|topic| {
        let code = ErrorCode::TopicAuthorizationFailed;
        refused(topic.name, Refusal { code, message: "Authorization failed.".to_owned() })
    }));
    topics.extend(over_quota.into_iter().map(|topic| {
        let code = ErrorCode::ThrottlingQuotaExceeded;
        refused(topic.name, Refusal { code, message: "The throttling quota has been exceeded.".to_owned() })
    }));
    let doubled: BTreeSet<Str> = doubled.into_iter().map(|topic| topic.name).collect();
    topics.extend(doubled.into_iter().map(|name| {
        let message = "Duplicate topic name.".to_owned();
        refused(name, Refusal { code: ErrorCode::InvalidRequest, message })
    }));
    CreateTopicsResponse { topics, throttle_time_ms: call.peer.mute_for(wait) }
}

/// The topics for whose partitions the sender's quota of changes has room (KIP-599), the others, and how long to wait.
fn within_quota(
    context: &Context,
    access: &Access,
    wanted: Vec<CreatableTopic>,
    can_be_refused: bool,
) -> (Vec<CreatableTopic>, Vec<CreatableTopic>, Duration) {
    let mut wait = Duration::ZERO;
    let (within, over) = wanted.into_iter().partition(|topic: &CreatableTopic| {
        let partitions = topic.assignments.len().max(usize::try_from(topic.num_partitions).unwrap_or(1));
        let taken = access.take_mutations(context, partitions);
        wait = wait.max(taken.err().unwrap_or_default());
        taken.is_ok() || !can_be_refused
    });
    (within, over, wait)
}

fn names_that_come_twice(topics: &[CreatableTopic]) -> BTreeSet<Str> {
    let mut seen = BTreeSet::new();
    topics.iter().filter(|topic| !seen.insert(&topic.name)).map(|topic| topic.name.clone()).collect()
}

fn wanted_topic(topic: CreatableTopic) -> CreateTopic {
    CreateTopic {
        name: topic.name.to_string(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: topic
            .assignments
            .into_iter()
            .map(|assigned| (assigned.partition_index, assigned.broker_ids.into_iter().map(NodeId).collect()))
            .collect(),
        configs: topic
            .configs
            .into_iter()
            .map(|config| (config.name.to_string(), config.value.map(|value| value.to_string())))
            .collect(),
    }
}

/// Without the right to see its configs, a client is told only that it has none (KIP-525).
fn granted(context: &Context, name: Str, created: CreatedTopic, shows_configs: bool) -> CreatableTopicResult {
    if !shows_configs {
        return CreatableTopicResult {
            name,
            topic_id: created.id,
            topic_config_error_code: ErrorCode::TopicAuthorizationFailed.code(),
            num_partitions: -1,
            replication_factor: -1,
            ..CreatableTopicResult::default()
        };
    }
    let all = context.image().topic_configs(&created.configs, context.node_id()).all();
    let configs = all.into_iter().map(|config| CreatableTopicConfigs {
        name: config.name.into(),
        value: config.value().map(Str::from),
        read_only: false,
        config_source: config.source().code(),
        is_sensitive: false,
    });
    CreatableTopicResult {
        name,
        topic_id: created.id,
        num_partitions: created.partitions,
        replication_factor: created.replication_factor,
        configs: Some(configs.collect()),
        ..CreatableTopicResult::default()
    }
}

fn refused(name: Str, refusal: Refusal) -> CreatableTopicResult {
    CreatableTopicResult {
        name,
        error_code: refusal.code.code(),
        error_message: Some(refusal.message.into()),
        ..CreatableTopicResult::default()
    }
}
