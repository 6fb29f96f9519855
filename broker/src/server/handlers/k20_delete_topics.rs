//! DeleteTopics (20): removes topics and their records, by name or by id (6, KIP-516). Versions 1 to 6.

use std::sync::Arc;
use std::time::Duration;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k20_delete_topics::{
    DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse,
};
use ottla_protocol::wire::{Str, Uuid};

use super::super::context::Context;
use super::super::dispatch::Call;
use crate::controller::{OFFSETS_TOPIC, TopicRef};
use crate::security::{Operation, ResourceType};

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<DeleteTopicsRequest>,
) -> DeleteTopicsResponse {
    let (request, access) = (call.request, call.access);
    let by_name = request.topic_names.into_iter().map(|name| (Some(name), Uuid::nil()));
    let by_state = request.topics.into_iter().map(|topic| (topic.name, topic.topic_id));
    let asked: Vec<(Option<Str>, Uuid)> = by_name.chain(by_state).collect();
    if !context.config.delete_topics {
        let disabled = |(name, topic_id)| DeletableTopicResult {
            name,
            topic_id,
            error_code: ErrorCode::TopicDeletionDisabled.code(),
            error_message: Some("Topic deletion is disabled.".into()),
        };
        let responses = asked.into_iter().map(disabled).collect();
        return DeleteTopicsResponse { responses, ..DeleteTopicsResponse::default() };
    }
    let image = context.image();
    let (mut denied, mut allowed, mut wait) = (Vec::new(), Vec::new(), Duration::ZERO);
    for (name, id) in asked {
        let known = name.as_deref().or_else(|| image.topic_by_id(id).map(|topic| topic.name.as_str()));
        match known {
            Some(topic) if !access.topic(&context, Operation::Delete, topic) => {
                // Whoever may not know of a topic is told that there is none of that id.
                let hidden = name.is_none()
                    && !access.sees(&context, Operation::Describe, (ResourceType::Topic, topic));
                denied.push(match hidden {
                    true => (name, id, ErrorCode::UnknownTopicId),
                    false => (Some(topic.into()), id, ErrorCode::TopicAuthorizationFailed),
                });
            }
            known => {
                let partitions =
                    known.and_then(|topic| image.topic(topic)).map_or(0, |topic| topic.partitions.len());
                match access.take_mutations(&context, partitions) {
                    // From version 5 on a client can be told that it changes too much (KIP-599); older ones only wait.
                    Err(more) if call.header.api_version >= 5 => {
                        wait = wait.max(more);
                        denied.push((name, id, ErrorCode::ThrottlingQuotaExceeded));
                    }
                    taken => {
                        wait = wait.max(taken.err().unwrap_or_default());
                        allowed.push((name, id));
                    }
                }
            }
        }
    }
    let denied = denied.into_iter().map(|(name, topic_id, code)| DeletableTopicResult {
        name,
        topic_id,
        error_code: code.code(),
        error_message: Some(code.message().into()),
    });
    let topics = allowed.iter().map(|(name, id)| match name {
        Some(name) => TopicRef::Name(name.to_string()),
        None => TopicRef::Id(*id),
    });
    let answers = context.controller.delete_topics(topics.collect()).await;
    let deleted: Vec<&str> = answers.iter().flatten().map(|(name, _)| name.as_str()).collect();
    if !deleted.is_empty()
        && context.image().topic(OFFSETS_TOPIC).is_some()
        && let Err(error) = context.groups.on_topics_deleted(&deleted).await
    {
        // A topic of the same name that is made later has another id; its readers reset as for any lost offset.
        tracing::warn!(%error, "committed offsets of deleted topics stay behind");
    }
    let responses = allowed.into_iter().zip(answers).map(|((name, id), answer)| match answer {
        Ok((deleted, topic_id)) => {
            tracing::info!(topic = deleted, "deleted a topic");
            DeletableTopicResult {
                name: Some(name.unwrap_or_else(|| deleted.into())),
                topic_id,
                ..DeletableTopicResult::default()
            }
        }
        Err(refusal) => DeletableTopicResult {
            name,
            topic_id: id,
            error_code: refusal.code.code(),
            error_message: Some(refusal.message.into()),
        },
    });
    DeleteTopicsResponse {
        responses: responses.chain(denied).collect(),
        throttle_time_ms: call.peer.mute_for(wait),
    }
}
