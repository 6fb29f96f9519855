//! RemoveRaftVoter (81): takes a controller's vote in the metadata quorum (KIP-853). Version 0. Answered once that is committed.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};

use super::super::context::Context;
use super::super::dispatch::Call;
use crate::quorum::raft_voters;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<RemoveRaftVoterRequest>,
) -> RemoveRaftVoterResponse {
    let refusal = raft_voters::remove(context.controller.log(), call.request).await.err();
    RemoveRaftVoterResponse {
        error_code: refusal.as_ref().map_or(ErrorCode::None, |(code, _)| *code).code(),
        error_message: refusal.map(|(_, message)| message.into()),
        ..RemoveRaftVoterResponse::default()
    }
}

pub(in super::super) fn refused(_: &RemoveRaftVoterRequest, code: ErrorCode) -> RemoveRaftVoterResponse {
    RemoveRaftVoterResponse {
        error_code: code.code(),
        error_message: Some(code.message().into()),
        ..RemoveRaftVoterResponse::default()
    }
}
