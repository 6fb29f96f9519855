//! CreatePartitions (37): gives topics more partitions (KIP-195). Versions 0 to 3.

use std::sync::Arc;
use std::time::Duration;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k37_create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};

use super::super::context::Context;
use super::super::dispatch::Call;
use crate::controller::GrowTopic;
use crate::ids::NodeId;
use crate::security::Operation;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<CreatePartitionsRequest>,
) -> CreatePartitionsResponse {
    let mut request = call.request;
    let allowed = |topic: &CreatePartitionsTopic| call.access.topic(&context, Operation::Alter, &topic.name);
    let (wanted, denied) = std::mem::take(&mut request.topics).into_iter().partition(allowed);
    request.topics = wanted;
    let denied: Vec<CreatePartitionsTopic> = denied;
    let mut wait = Duration::ZERO;
    let image = context.image();
    // From version 3 on a client can be told that it changes too much (KIP-599); older ones only wait.
    let can_be_refused = call.header.api_version >= 3;
    let within = |topic: &CreatePartitionsTopic| {
        let before = image.topic(&topic.name).map_or(0, |topic| topic.partitions.len());
        let more = usize::try_from(topic.count).unwrap_or(0).saturating_sub(before);
        let taken = call.access.take_mutations(&context, more);
        wait = wait.max(taken.err().unwrap_or_default());
        taken.is_ok() || !can_be_refused
    };
    let (within, over): (Vec<CreatePartitionsTopic>, Vec<CreatePartitionsTopic>) =
        std::mem::take(&mut request.topics).into_iter().partition(within);
    request.topics = within;
    let over = over.into_iter().map(|topic| CreatePartitionsTopicResult {
        name: topic.name,
        error_code: ErrorCode::ThrottlingQuotaExceeded.code(),
        error_message: Some("The throttling quota has been exceeded.".into()),
    });
    let denied = denied.into_iter().map(|topic| CreatePartitionsTopicResult {
        name: topic.name,
        error_code: ErrorCode::TopicAuthorizationFailed.code(),
        error_message: Some(ErrorCode::TopicAuthorizationFailed.message().into()),
    });
    let wanted: Vec<GrowTopic> = request
        .topics
        .iter()
        .map(|topic| GrowTopic {
            name: topic.name.to_string(),
            count: topic.count,
            assignments: topic.assignments.as_ref().map(|assignments| {
                let nodes = |ids: &Vec<i32>| ids.iter().copied().map(NodeId).collect();
                assignments.iter().map(|assigned| nodes(&assigned.broker_ids)).collect()
            }),
        })
        .collect();
    let answers = context.controller.grow_topics(wanted, request.validate_only).await;
    let results = request.topics.into_iter().zip(answers).map(|(topic, answer)| {
        let (code, message) = match answer {
            Ok(()) => (ErrorCode::None, None),
            Err(refusal) => (refusal.code, Some(refusal.message.into())),
        };
        CreatePartitionsTopicResult { name: topic.name, error_code: code.code(), error_message: message }
    });
    CreatePartitionsResponse {
        results: results.chain(denied).chain(over).collect(),
        ..CreatePartitionsResponse::default()
    }
}
