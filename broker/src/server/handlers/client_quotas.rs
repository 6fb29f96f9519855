//! DescribeClientQuotas (48) and AlterClientQuotas (49): quotas of users, client ids and addresses (KIP-546). Versions 0
//! and 1.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k48_describe_client_quotas::{
    ComponentData, DescribeClientQuotasRequest, DescribeClientQuotasResponse, EntityData, EntryData,
    ValueData,
};
use ottla_protocol::messages::k49_alter_client_quotas::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, EntryResult,
};

use super::super::context::Context;
use super::super::dispatch::Call;
use crate::controller::{AlterQuotas, EntityName, QuotaEntity, Refusal};

/// How a component of the request is meant.
enum Wanted<'a> {
    Name(&'a str),
    Default,
    Any,
}

impl Wanted<'_> {
    fn agrees(&self, name: &EntityName) -> bool {
        match (self, name) {
            (Wanted::Name(wanted), Some(name)) => wanted == name,
            (Wanted::Default, None) | (Wanted::Any, _) => true,
            _ => false,
        }
    }
}

pub(in super::super) async fn describe(
    context: Arc<Context>,
    call: Call<DescribeClientQuotasRequest>,
) -> DescribeClientQuotasResponse {
    let wanted = match call.request.components.iter().map(wanted).collect::<Result<Vec<_>, String>>() {
        Ok(wanted) => wanted,
        Err(message) => {
            return DescribeClientQuotasResponse {
                error_code: ErrorCode::InvalidRequest.code(),
                error_message: Some(message.into()),
                ..DescribeClientQuotasResponse::default()
            };
        }
    };
    let strict = call.request.strict;
    let matches = |entity: &QuotaEntity| {
        let has = |(entity_type, wanted): &(&str, Wanted<'_>)| {
            entity.parts().any(|(of, name)| of == *entity_type && wanted.agrees(name))
        };
        wanted.iter().all(has) && (!strict || entity.parts().count() == wanted.len())
    };
    let image = context.image();
    let found = image.client_quotas().iter().filter(|(entity, _)| matches(entity));
    let entries = found.map(|(entity, quotas)| EntryData {
        entity: entity
            .parts()
            .map(|(entity_type, name)| EntityData {
                entity_type: entity_type.into(),
                entity_name: name.as_deref().map(Into::into),
            })
            .collect(),
        values: quotas
            .iter()
            .map(|(key, value)| ValueData { key: key.as_str().into(), value: *value })
            .collect(),
    });
    DescribeClientQuotasResponse {
        entries: Some(entries.collect()),
        ..DescribeClientQuotasResponse::default()
    }
}

fn wanted(component: &ComponentData) -> Result<(&str, Wanted<'_>), String> {
    let entity_type = &*component.entity_type;
    if !["user", "client-id", "ip"].contains(&entity_type) {
        return Err(format!("Custom entity type '{entity_type}' not supported"));
    }
    Ok((
        entity_type,
        match (component.match_type, component.match_name.as_deref()) {
            (0, Some(name)) => Wanted::Name(name),
            (1, None) => Wanted::Default,
            (2, None) => Wanted::Any,
            (other, _) => return Err(format!("Unexpected match type: {other}")),
        },
    ))
}

pub(in super::super) fn describe_refused(
    _: &DescribeClientQuotasRequest,
    code: ErrorCode,
) -> DescribeClientQuotasResponse {
    DescribeClientQuotasResponse {
        error_code: code.code(),
        error_message: Some(code.message().into()),
        ..DescribeClientQuotasResponse::default()
    }
}

pub(in super::super) async fn alter(
    context: Arc<Context>,
    call: Call<AlterClientQuotasRequest>,
) -> AlterClientQuotasResponse {
    let request = call.request;
    let mut changes = Vec::new();
    let placed: Vec<Result<usize, Refusal>> = request
        .entries
        .iter()
        .map(|entry| {
            let parts = entry.entity.iter().map(|part| (&*part.entity_type, part.entity_name.as_deref()));
            let entity = QuotaEntity::new(parts)
                .map_err(|message| Refusal { code: ErrorCode::InvalidRequest, message })?;
            let edits = entry.ops.iter().map(|op| (op.key.to_string(), (!op.remove).then_some(op.value)));
            changes.push(AlterQuotas { entity, edits: edits.collect() });
            Ok(changes.len() - 1)
        })
        .collect();
    let answers = context.controller.alter_client_quotas(changes, request.validate_only).await;
    let entries = request.entries.into_iter().zip(placed).map(|(entry, place)| {
        let answer = place.and_then(|place| answers.get(place).cloned().unwrap_or(Ok(())));
        let (error_code, error_message) = super::k44_incremental_alter_configs::in_protocol(answer);
        EntryResult { error_code, error_message, entity: entry.entity }
    });
    AlterClientQuotasResponse { entries: entries.collect(), ..AlterClientQuotasResponse::default() }
}

pub(in super::super) fn alter_refused(
    request: &AlterClientQuotasRequest,
    code: ErrorCode,
) -> AlterClientQuotasResponse {
    let entries = request.entries.iter().map(|entry| EntryResult {
        error_code: code.code(),
        error_message: Some(code.message().into()),
        entity: entry.entity.clone(),
    });
    AlterClientQuotasResponse { entries: entries.collect(), ..AlterClientQuotasResponse::default() }
}
