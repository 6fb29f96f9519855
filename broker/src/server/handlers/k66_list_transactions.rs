//! ListTransactions (66): the transactional ids of this broker (KIP-664). Versions 0 to 2: 1 by how long a transaction has
//! been running (KIP-994), 2 by a pattern that the whole id must match (KIP-1152).

use std::sync::Arc;
use std::time::Duration;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k66_list_transactions::{
    ListTransactionsRequest, ListTransactionsResponse, TransactionState as ListedState,
};
use regex::Regex;

use super::super::context::Context;
use super::super::dispatch::Call;
use super::transactions::code;
use crate::security::{Operation, ResourceType};
use crate::transactions::{ListTransactions, TransactionState};

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<ListTransactionsRequest>,
) -> ListTransactionsResponse {
    let request = call.request;
    let pattern = match request.transactional_id_pattern.as_deref().filter(|pattern| !pattern.is_empty()) {
        None => None,
        Some(pattern) => match Regex::new(&format!("^(?:{pattern})$")) {
            Ok(pattern) => Some(pattern),
            Err(_) => {
                let error_code = ErrorCode::InvalidRegularExpression.code();
                return ListTransactionsResponse { error_code, ..Default::default() };
            }
        },
    };
    let named = |name: &str| TransactionState::ALL.into_iter().find(|state| state.name() == name);
    let (known, unknown): (Vec<_>, Vec<_>) =
        request.state_filters.into_iter().partition(|name| named(name).is_some());
    // Who asks for unknown states only asks for nothing.
    if known.is_empty() && !unknown.is_empty() {
        return ListTransactionsResponse { unknown_state_filters: unknown, ..Default::default() };
    }
    let filter = ListTransactions {
        states: known.iter().filter_map(|name| named(name)).collect(),
        producer_ids: request.producer_id_filters,
        longer_than: u64::try_from(request.duration_filter).ok().map(Duration::from_millis),
    };
    let mut response =
        ListTransactionsResponse { unknown_state_filters: unknown, ..ListTransactionsResponse::default() };
    match context.transactions.list(&filter).await {
        Err(error) => response.error_code = code(error).code(),
        Ok(listed) => {
            let matching = listed.into_iter().filter(|listed| {
                let id = (ResourceType::TransactionalId, listed.transactional_id.as_str());
                call.access.sees(&context, Operation::Describe, id)
            });
            let matching = matching.filter(|listed| {
                pattern.as_ref().is_none_or(|pattern| pattern.is_match(listed.transactional_id.as_str()))
            });
            let states = matching.map(|listed| ListedState {
                transactional_id: listed.transactional_id.as_str().into(),
                producer_id: listed.producer_id,
                transaction_state: listed.state.name().into(),
            });
            response.transaction_states = states.collect();
        }
    }
    response
}
