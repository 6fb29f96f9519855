//! ListPartitionReassignments (46): the reassignments under way (KIP-455), of which one broker has none. Version 0.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use super::super::context::Context;
use super::super::dispatch::Call;

pub(in super::super) async fn handle(
    _context: Arc<Context>,
    _call: Call<ListPartitionReassignmentsRequest>,
) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default()
}

pub(in super::super) fn refused(
    _: &ListPartitionReassignmentsRequest,
    code: ErrorCode,
) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse {
        error_code: code.code(),
        error_message: Some(code.message().into()),
        ..ListPartitionReassignmentsResponse::default()
    }
}
