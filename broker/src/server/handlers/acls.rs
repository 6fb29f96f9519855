//! DescribeAcls (29), CreateAcls (30), DeleteAcls (31): access control entries (KIP-140). Versions 1 to 3; prefixed names
//! (1) are KIP-290. Without an authorizer there is nothing to ask: SECURITY_DISABLED, as Kafka says.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k29_describe_acls::{
    AclDescription, DescribeAclsRequest, DescribeAclsResource, DescribeAclsResponse,
};
use ottla_protocol::messages::k30_create_acls::{
    AclCreation, AclCreationResult, CreateAclsRequest, CreateAclsResponse,
};
use ottla_protocol::messages::k31_delete_acls::{
    DeleteAclsFilter, DeleteAclsFilterResult, DeleteAclsMatchingAcl, DeleteAclsRequest, DeleteAclsResponse,
};

use super::super::context::Context;
use super::super::dispatch::Call;
use crate::controller::Refusal;
use crate::security::acl::{AclFilter, FilterCodes};
use crate::security::{Acl, Operation, PatternType, Permission, ResourceType};

fn disabled() -> Refusal {
    Refusal { code: ErrorCode::SecurityDisabled, message: "No Authorizer is configured.".to_owned() }
}

fn unknown_elements() -> Refusal {
    let message = "The filter contains UNKNOWN elements.".to_owned();
    Refusal { code: ErrorCode::InvalidRequest, message }
}

pub(in super::super) async fn describe(
    context: Arc<Context>,
    call: Call<DescribeAclsRequest>,
) -> DescribeAclsResponse {
    let request = &call.request;
    let codes = FilterCodes {
        resource_type: request.resource_type_filter,
        pattern_type: request.pattern_type_filter,
        operation: request.operation,
        permission: request.permission_type,
    };
    let filter = AclFilter::from_codes(
        codes,
        request.resource_name_filter.as_deref(),
        request.principal_filter.as_deref(),
        request.host_filter.as_deref(),
    );
    let refused = |refusal: Refusal| DescribeAclsResponse {
        error_code: refusal.code.code(),
        error_message: Some(refusal.message.into()),
        ..DescribeAclsResponse::default()
    };
    if context.authorizer.is_none() {
        return refused(disabled());
    }
    let Some(filter) = filter else { return refused(unknown_elements()) };
    let image = context.image();
    let mut resources: BTreeMap<(ResourceType, PatternType, &str), Vec<AclDescription>> = BTreeMap::new();
    for (_, acl) in image.acls().iter().filter(|(_, acl)| filter.matches(acl)) {
        let resource = (acl.resource_type, acl.pattern_type, &*acl.resource_name);
        resources.entry(resource).or_default().push(AclDescription {
            principal: acl.principal.as_str().into(),
            host: acl.host.as_str().into(),
            operation: acl.operation.code(),
            permission_type: acl.permission.code(),
        });
    }
    let resources =
        resources.into_iter().map(|((resource_type, pattern_type, name), acls)| DescribeAclsResource {
            resource_type: resource_type.code(),
            resource_name: name.into(),
            pattern_type: pattern_type.code(),
            acls,
        });
    DescribeAclsResponse { resources: resources.collect(), ..DescribeAclsResponse::default() }
}

pub(in super::super) fn describe_refused(_: &DescribeAclsRequest, code: ErrorCode) -> DescribeAclsResponse {
    DescribeAclsResponse {
        error_code: code.code(),
        error_message: Some(code.message().into()),
        ..DescribeAclsResponse::default()
    }
}

pub(in super::super) async fn create(
    context: Arc<Context>,
    call: Call<CreateAclsRequest>,
) -> CreateAclsResponse {
    let mut wanted = Vec::new();
    let placed: Vec<Result<usize, Refusal>> = call
        .request
        .creations
        .iter()
        .map(|creation| {
            if context.authorizer.is_none() {
                return Err(disabled());
            }
            wanted.push(acl_of(creation)?);
            Ok(wanted.len() - 1)
        })
        .collect();
    let answers = context.controller.create_acls(wanted).await;
    let results = placed.into_iter().map(|place| {
        let answer = place.and_then(|place| answers.get(place).cloned().unwrap_or(Ok(())));
        let (error_code, error_message) = super::k44_incremental_alter_configs::in_protocol(answer);
        AclCreationResult { error_code, error_message }
    });
    CreateAclsResponse { results: results.collect(), ..CreateAclsResponse::default() }
}

fn acl_of(creation: &AclCreation) -> Result<Acl, Refusal> {
    let invalid = |what: &str, code: i8| Refusal {
        code: ErrorCode::InvalidRequest,
        message: format!("Invalid {what}: {code}"),
    };
    let resource_type = ResourceType::from_code(creation.resource_type);
    let pattern_type = PatternType::from_code(creation.resource_pattern_type);
    let (operation, permission) =
        (Operation::from_code(creation.operation), Permission::from_code(creation.permission_type));
    Ok(Acl {
        resource_type: resource_type.ok_or_else(|| invalid("resourceType", creation.resource_type))?,
        resource_name: creation.resource_name.to_string(),
        pattern_type: pattern_type.ok_or_else(|| invalid("patternType", creation.resource_pattern_type))?,
        principal: creation.principal.to_string(),
        host: creation.host.to_string(),
        operation: operation.ok_or_else(|| invalid("operation", creation.operation))?,
        permission: permission.ok_or_else(|| invalid("permissionType", creation.permission_type))?,
    })
}

pub(in super::super) fn create_refused(request: &CreateAclsRequest, code: ErrorCode) -> CreateAclsResponse {
    let refused =
        || AclCreationResult { error_code: code.code(), error_message: Some(code.message().into()) };
    let results = request.creations.iter().map(|_| refused()).collect();
    CreateAclsResponse { results, ..CreateAclsResponse::default() }
}

pub(in super::super) async fn delete(
    context: Arc<Context>,
    call: Call<DeleteAclsRequest>,
) -> DeleteAclsResponse {
    let mut wanted = Vec::new();
    let placed: Vec<Result<usize, Refusal>> = call
        .request
        .filters
        .iter()
        .map(|filter| {
            if context.authorizer.is_none() {
                return Err(disabled());
            }
            wanted.push(filter_of(filter).ok_or_else(unknown_elements)?);
            Ok(wanted.len() - 1)
        })
        .collect();
    let answers = context.controller.delete_acls(wanted).await;
    let filter_results = placed.into_iter().map(|place| {
        match place.and_then(|place| answers.get(place).cloned().unwrap_or_else(|| Ok(Vec::new()))) {
            Ok(removed) => DeleteAclsFilterResult {
                matching_acls: removed.into_iter().map(removed_acl).collect(),
                ..DeleteAclsFilterResult::default()
            },
            Err(refusal) => DeleteAclsFilterResult {
                error_code: refusal.code.code(),
                error_message: Some(refusal.message.into()),
                ..DeleteAclsFilterResult::default()
            },
        }
    });
    DeleteAclsResponse { filter_results: filter_results.collect(), ..DeleteAclsResponse::default() }
}

fn filter_of(filter: &DeleteAclsFilter) -> Option<AclFilter> {
    let codes = FilterCodes {
        resource_type: filter.resource_type_filter,
        pattern_type: filter.pattern_type_filter,
        operation: filter.operation,
        permission: filter.permission_type,
    };
    let (name, principal) = (filter.resource_name_filter.as_deref(), filter.principal_filter.as_deref());
    AclFilter::from_codes(codes, name, principal, filter.host_filter.as_deref())
}

fn removed_acl(acl: Acl) -> DeleteAclsMatchingAcl {
    DeleteAclsMatchingAcl {
        resource_type: acl.resource_type.code(),
        resource_name: acl.resource_name.into(),
        pattern_type: acl.pattern_type.code(),
        principal: acl.principal.into(),
        host: acl.host.into(),
        operation: acl.operation.code(),
        permission_type: acl.permission.code(),
        ..DeleteAclsMatchingAcl::default()
    }
}

pub(in super::super) fn delete_refused(request: &DeleteAclsRequest, code: ErrorCode) -> DeleteAclsResponse {
    let refused = || DeleteAclsFilterResult {
        error_code: code.code(),
        error_message: Some(code.message().into()),
        ..DeleteAclsFilterResult::default()
    };
    let filter_results = request.filters.iter().map(|_| refused()).collect();
    DeleteAclsResponse { filter_results, ..DeleteAclsResponse::default() }
}
