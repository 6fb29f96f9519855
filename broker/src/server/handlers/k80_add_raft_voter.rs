//! AddRaftVoter (80): gives a controller that follows the metadata log a vote (KIP-853). Version 0. It must have caught up, and answer where
//! the request says that it is; answered once that is committed.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::{AddRaftVoterRequest, AddRaftVoterResponse};

use super::super::context::Context;
use super::super::dispatch::Call;
use crate::quorum::raft_voters;

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<AddRaftVoterRequest>,
) -> AddRaftVoterResponse {
    let refusal = raft_voters::add(context.controller.log(), call.request).await.err();
    AddRaftVoterResponse {
        error_code: refusal.as_ref().map_or(ErrorCode::None, |(code, _)| *code).code(),
        error_message: refusal.map(|(_, message)| message.into()),
        ..AddRaftVoterResponse::default()
    }
}

pub(in super::super) fn refused(_: &AddRaftVoterRequest, code: ErrorCode) -> AddRaftVoterResponse {
    AddRaftVoterResponse {
        error_code: code.code(),
        error_message: Some(code.message().into()),
        ..AddRaftVoterResponse::default()
    }
}
