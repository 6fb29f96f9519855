//! Adding and removing access control entries: pure decisions.

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::metadata_records::{AccessControlEntryRecord, RemoveAccessControlEntryRecord};
use uuid::Uuid;

use super::image::ClusterImage;
use super::records::MetadataRecord;
use super::topics::{Refusal, refuse};
use crate::security::acl::{AclFilter, CLUSTER_NAME};
use crate::security::{Acl, Operation, PatternType, Permission, ResourceType};

/// Longer principals, hosts and names cannot be what somebody meant.
const TEXT_BYTES_MAX: usize = 1024;

/// Decides about a new entry that shall have the id `id`. One that is there already is not added again.
pub(super) fn decide_create(
    image: &ClusterImage,
    acl: &Acl,
    id: Uuid,
) -> Result<Vec<MetadataRecord>, Refusal> {
    check(acl)?;
    if image.acls().contains(acl) {
        return Ok(Vec::new());
    }
    Ok(vec![to_record(id, acl)])
}

/// The record that makes an entry.
pub(super) fn to_record(id: Uuid, acl: &Acl) -> MetadataRecord {
    MetadataRecord::AccessControlEntry(AccessControlEntryRecord {
        id,
        resource_type: acl.resource_type.code(),
        resource_name: acl.resource_name.as_str().into(),
        pattern_type: acl.pattern_type.code(),
        principal: acl.principal.as_str().into(),
        host: acl.host.as_str().into(),
        operation: acl.operation.code(),
        permission_type: acl.permission.code(),
    })
}

fn check(acl: &Acl) -> Result<(), Refusal> {
    let invalid = |message: String| refuse(ErrorCode::InvalidRequest, message);
    if acl.resource_name.is_empty() {
        return invalid("Resource name should not be empty".to_owned());
    }
    if acl.resource_type == ResourceType::Cluster && acl.resource_name != CLUSTER_NAME {
        return invalid(format!("The only valid name for the CLUSTER resource is {CLUSTER_NAME}"));
    }
    if !acl.principal.contains(':') {
        return invalid(format!(
            "Could not parse principal from `{}` (no colon is present separating the principal type from the principal name)",
            acl.principal
        ));
    }
    if acl.host.is_empty() {
        return invalid("Host should not be empty".to_owned());
    }
    if [&acl.resource_name, &acl.principal, &acl.host].iter().any(|text| text.len() > TEXT_BYTES_MAX) {
        return invalid(format!("Names, principals and hosts have at most {TEXT_BYTES_MAX} bytes"));
    }
    Ok(())
}

/// Decides what the removal of all entries that a filter matches does.
pub(super) fn decide_delete(image: &ClusterImage, filter: &AclFilter) -> (Vec<MetadataRecord>, Vec<Acl>) {
    let matching = image.acls().iter().filter(|(_, acl)| filter.matches(acl));
    let removed = |(id, acl): (Uuid, &Acl)| {
        (MetadataRecord::RemoveAccessControlEntry(RemoveAccessControlEntryRecord { id }), acl.clone())
    };
    matching.map(removed).unzip()
}

/// The entry of a record; `None` when it has numbers that this release does not know.
pub(super) fn from_record(record: &AccessControlEntryRecord) -> Option<Acl> {
    Some(Acl {
        resource_type: ResourceType::from_code(record.resource_type)?,
        resource_name: record.resource_name.to_string(),
        pattern_type: PatternType::from_code(record.pattern_type)?,
        principal: record.principal.to_string(),
        host: record.host.to_string(),
        operation: Operation::from_code(record.operation)?,
        permission: Permission::from_code(record.permission_type)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::acl::FilterCodes;

    fn acl(principal: &str, name: &str) -> Acl {
        Acl {
            resource_type: ResourceType::Topic,
            resource_name: name.to_owned(),
            pattern_type: PatternType::Literal,
            principal: principal.to_owned(),
            host: "*".to_owned(),
            operation: Operation::Read,
            permission: Permission::Allow,
        }
    }

    #[test]
    fn an_entry_is_added_once_and_removed_by_a_filter() {
        let mut image = ClusterImage::default();
        for number in 0..2 {
            let records = decide_create(&image, &acl("User:alice", "t"), Uuid::from_u128(number)).unwrap();
            assert_eq!(records.len(), usize::from(number == 0));
            records.iter().for_each(|record| image.apply(record));
        }
        let records = decide_create(&image, &acl("User:bob", "t"), Uuid::from_u128(7)).unwrap();
        records.iter().for_each(|record| image.apply(record));
        let codes = FilterCodes { resource_type: 1, pattern_type: 1, operation: 1, permission: 1 };
        let filter = AclFilter::from_codes(codes, None, Some("User:alice"), None).unwrap();
        let (records, removed) = decide_delete(&image, &filter);
        assert_eq!(removed, [acl("User:alice", "t")]);
        records.iter().for_each(|record| image.apply(record));
        assert_eq!(image.acls().iter().map(|(_, acl)| &*acl.principal).collect::<Vec<_>>(), ["User:bob"]);
    }

    #[test]
    fn an_entry_that_can_protect_nothing_is_refused() {
        let image = ClusterImage::default();
        let cluster = Acl { resource_type: ResourceType::Cluster, ..acl("User:a", "other") };
        for wrong in [
            acl("alice", "t"),
            acl("User:alice", ""),
            Acl { host: String::new(), ..acl("User:a", "t") },
            cluster,
        ] {
            let refusal = decide_create(&image, &wrong, Uuid::nil()).unwrap_err();
            assert_eq!(refusal.code, ErrorCode::InvalidRequest, "{wrong:?}");
        }
    }
}
