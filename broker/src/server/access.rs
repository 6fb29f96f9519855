//! What the sender of one request may do: the question that handlers ask before they do or tell anything. Denials and
//! administration are written to the audit log, which is what `tracing` has under the target `audit`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ottla_protocol::wire::Str;
use ottla_protocol::{ApiKey, ErrorCode};

use super::context::Context;
use crate::security::acl::CLUSTER_NAME;
use crate::security::{Operation, Principal, ResourceType};

/// The target of the audit log's events.
const AUDIT: &str = "audit";

/// Who sent a request, and which.
#[derive(Debug, Clone)]
pub(super) struct Access {
    pub principal: Principal,
    pub host: Arc<str>,
    pub client_id: Option<Str>,
    pub api: ApiKey,
}

impl Access {
    /// Whether it may do it with the topic.
    pub fn topic(&self, context: &Context, operation: Operation, name: &str) -> bool {
        self.audited(context, operation, (ResourceType::Topic, name))
    }

    /// Whether it may do it with the group.
    pub fn group(&self, context: &Context, operation: Operation, name: &str) -> bool {
        self.audited(context, operation, (ResourceType::Group, name))
    }

    /// Whether it may do it with the cluster.
    pub fn cluster(&self, context: &Context, operation: Operation) -> bool {
        self.audited(context, operation, (ResourceType::Cluster, CLUSTER_NAME))
    }

    /// Whether it may do it with the transactional id.
    pub fn transactional_id(&self, context: &Context, operation: Operation, name: &str) -> bool {
        self.audited(context, operation, (ResourceType::TransactionalId, name))
    }

    /// Whether it may do it with some resource of the type (KIP-679).
    pub fn any(&self, context: &Context, operation: Operation, resource_type: ResourceType) -> bool {
        let Some(authorizer) = &context.authorizer else { return true };
        authorizer.allows_any(context.image().acls(), &self.principal, &self.host, operation, resource_type)
    }

    /// Whether the resource is to be shown where nobody asked for it by name: what is left out of a list was not denied.
    pub fn sees(&self, context: &Context, operation: Operation, resource: (ResourceType, &str)) -> bool {
        let Some(authorizer) = &context.authorizer else { return true };
        authorizer.allows(context.image().acls(), &self.principal, &self.host, operation, resource)
    }

    /// What it may do with a resource, as the bits of KIP-430, where it `asked` for them.
    pub fn operations(&self, context: &Context, asked: bool, resource: (ResourceType, &str)) -> i32 {
        if !asked {
            return i32::MIN;
        }
        match &context.authorizer {
            Some(authorizer) => {
                authorizer.operations(context.image().acls(), &self.principal, &self.host, resource)
            }
            None => resource.0.operations().iter().fold(0, |bits, operation| bits | 1 << operation.code()),
        }
    }

    /// Takes permission for changes of so many partitions from the sender's quota; the error is how long to wait.
    pub fn take_mutations(&self, context: &Context, changes: usize) -> Result<(), Duration> {
        let image = context.image();
        let client = (self.principal.name(), self.client_id.as_deref().unwrap_or_default());
        if self.principal.is_internal() {
            return Ok(());
        }
        let taken = context.quotas.take_mutations(image.client_quotas(), client, changes, Instant::now());
        if taken.is_err() {
            context.metrics.throttled.inc();
        }
        taken
    }

    fn audited(&self, context: &Context, operation: Operation, resource: (ResourceType, &str)) -> bool {
        let allowed = self.sees(context, operation, resource);
        let (operation_name, (resource_type, name)) = (operation.name(), resource);
        if !allowed {
            context.metrics.authorizations_denied.inc();
            tracing::info!(
                target: AUDIT, principal = %self.principal, host = %self.host, api = self.api.name(),
                operation = operation_name, resource_type = resource_type.name(), resource = name, "denied"
            );
        } else if operation.is_administration() && !self.principal.is_internal() {
            tracing::info!(
                target: AUDIT, principal = %self.principal, host = %self.host, api = self.api.name(),
                operation = operation_name, resource_type = resource_type.name(), resource = name, "allowed"
            );
        }
        allowed
    }
}

/// The error of a request that is about one kind of resource.
pub(super) fn denied(resource_type: ResourceType) -> ErrorCode {
    match resource_type {
        ResourceType::Topic => ErrorCode::TopicAuthorizationFailed,
        ResourceType::Group => ErrorCode::GroupAuthorizationFailed,
        ResourceType::TransactionalId => ErrorCode::TransactionalIdAuthorizationFailed,
        _ => ErrorCode::ClusterAuthorizationFailed,
    }
}
