//! Who may do what, and who can log in by SCRAM.

use ottla_protocol::Str;
use ottla_protocol::messages::k30_create_acls::AclCreation;
use ottla_protocol::messages::k31_delete_acls::DeleteAclsFilter;
use ottla_protocol::messages::k51_alter_user_scram_credentials::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use ottla_protocol::messages::{
    AlterUserScramCredentialsRequest, CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest,
    DescribeUserScramCredentialsRequest,
};

use super::Admin;
use crate::error::{ClientError, check};
use crate::security::{SaltedPassword, ScramMechanism};

/// The protocol's number for whatever there is.
pub const ACL_ANY: i8 = 1;

/// An access control entry, or with [`ACL_ANY`] and `None` a filter of them. The numbers are those of KIP-140 and KIP-290.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AclEntry {
    /// 2: topic; 3: group; 4: cluster; 5: transactional id.
    pub resource_type: i8,
    /// `*` is every name.
    pub resource_name: Option<String>,
    /// 3: literal; 4: prefixed.
    pub pattern_type: i8,
    /// As `User:name`; `User:*` is everybody.
    pub principal: Option<String>,
    /// `*` is every host.
    pub host: Option<String>,
    /// 2: all; 3: read; 4: write; and so on.
    pub operation: i8,
    /// 2: deny; 3: allow.
    pub permission: i8,
}

impl Admin {
    /// Adds an entry. One that is there already stays.
    ///
    /// # Errors
    /// What the broker answers, such as `SECURITY_DISABLED`.
    pub async fn create_acl(&self, entry: &AclEntry) -> Result<(), ClientError> {
        let text = |text: &Option<String>| Str::from(text.as_deref().unwrap_or_default());
        let creation = AclCreation {
            resource_type: entry.resource_type,
            resource_name: text(&entry.resource_name),
            resource_pattern_type: entry.pattern_type,
            principal: text(&entry.principal),
            host: text(&entry.host),
            operation: entry.operation,
            permission_type: entry.permission,
        };
        let response = self.cluster.send_controller(&CreateAclsRequest { creations: vec![creation] }).await?;
        response
            .results
            .iter()
            .try_for_each(|result| check(result.error_code, || "adding an access control entry".to_owned()))
    }

    /// The entries that agree with a filter.
    ///
    /// # Errors
    /// What the broker answers, such as `SECURITY_DISABLED`.
    pub async fn describe_acls(&self, filter: &AclEntry) -> Result<Vec<AclEntry>, ClientError> {
        let text = |text: &Option<String>| text.as_deref().map(Str::from);
        let request = DescribeAclsRequest {
            resource_type_filter: filter.resource_type,
            resource_name_filter: text(&filter.resource_name),
            pattern_type_filter: filter.pattern_type,
            principal_filter: text(&filter.principal),
            host_filter: text(&filter.host),
            operation: filter.operation,
            permission_type: filter.permission,
        };
        let response = self.cluster.send_any(&request).await?;
        check(response.error_code, || "listing access control entries".to_owned())?;
        let entries = response.resources.iter().flat_map(|resource| {
            resource.acls.iter().map(|acl| AclEntry {
                resource_type: resource.resource_type,
                resource_name: Some(resource.resource_name.to_string()),
                pattern_type: resource.pattern_type,
                principal: Some(acl.principal.to_string()),
                host: Some(acl.host.to_string()),
                operation: acl.operation,
                permission: acl.permission_type,
            })
        });
        let mut entries: Vec<AclEntry> = entries.collect();
        entries.sort();
        Ok(entries)
    }

    /// Removes the entries that agree with a filter, and gives how many there were.
    ///
    /// # Errors
    /// What the broker answers, such as `SECURITY_DISABLED`.
    pub async fn delete_acls(&self, filter: &AclEntry) -> Result<usize, ClientError> {
        let text = |text: &Option<String>| text.as_deref().map(Str::from);
        let filter = DeleteAclsFilter {
            resource_type_filter: filter.resource_type,
            resource_name_filter: text(&filter.resource_name),
            pattern_type_filter: filter.pattern_type,
            principal_filter: text(&filter.principal),
            host_filter: text(&filter.host),
            operation: filter.operation,
            permission_type: filter.permission,
        };
        let response = self.cluster.send_controller(&DeleteAclsRequest { filters: vec![filter] }).await?;
        let mut removed = 0;
        for result in &response.filter_results {
            check(result.error_code, || "removing access control entries".to_owned())?;
            removed += result.matching_acls.len();
        }
        Ok(removed)
    }

    /// The users that can log in by SCRAM, with their mechanisms.
    ///
    /// # Errors
    /// What the broker answers.
    pub async fn scram_users(&self) -> Result<Vec<(String, Vec<ScramMechanism>)>, ClientError> {
        let response = self.cluster.send_any(&DescribeUserScramCredentialsRequest { users: None }).await?;
        check(response.error_code, || "listing users".to_owned())?;
        let users = response.results.iter().map(|result| {
            let mechanisms = result.credential_infos.iter().map(|info| info.mechanism);
            (result.user.to_string(), mechanisms.filter_map(ScramMechanism::from_code).collect())
        });
        Ok(users.collect())
    }

    /// Gives a user a password for one mechanism. Only what SCRAM makes of it is sent.
    ///
    /// # Errors
    /// What the broker answers.
    pub async fn set_scram_password(
        &self,
        user: &str,
        mechanism: ScramMechanism,
        password: &str,
    ) -> Result<(), ClientError> {
        const ITERATIONS: u16 = 8192;
        let salt = bytes::Bytes::copy_from_slice(&rand::random::<[u8; 32]>());
        let salted = SaltedPassword::derive(mechanism, password, &salt, u32::from(ITERATIONS));
        let upsertion = ScramCredentialUpsertion {
            name: Str::from(user),
            mechanism: mechanism.code(),
            iterations: i32::from(ITERATIONS),
            salt,
            salted_password: salted.to_bytes(),
        };
        self.alter_scram(user, vec![upsertion], Vec::new()).await
    }

    /// Takes a user's password for one mechanism away.
    ///
    /// # Errors
    /// What the broker answers, such as `RESOURCE_NOT_FOUND`.
    pub async fn delete_scram_password(
        &self,
        user: &str,
        mechanism: ScramMechanism,
    ) -> Result<(), ClientError> {
        let deletion = ScramCredentialDeletion { name: Str::from(user), mechanism: mechanism.code() };
        self.alter_scram(user, Vec::new(), vec![deletion]).await
    }

    async fn alter_scram(
        &self,
        user: &str,
        upsertions: Vec<ScramCredentialUpsertion>,
        deletions: Vec<ScramCredentialDeletion>,
    ) -> Result<(), ClientError> {
        let request = AlterUserScramCredentialsRequest { deletions, upsertions };
        let response = self.cluster.send_controller(&request).await?;
        let mut results = response.results.iter();
        results.try_for_each(|result| check(result.error_code, || format!("the password of user {user}")))
    }
}
