//! Whether somebody may do something: Kafka's rules (`StandardAuthorizer`). Denying wins; without an entry for the resource
//! nobody may, unless `allow.everyone.if.no.acl.found`.

use super::entries::AclEntries;
use super::model::{Acl, Operation, Permission, ResourceType, WILDCARD};
use crate::security::Principal;

/// The name of the principal that is everybody.
const EVERYBODY: &str = "User:*";

/// The rules that do not change while a broker runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authorizer {
    /// `super.users`, each as `User:name`: they may do everything.
    pub super_users: Vec<String>,
    /// `allow.everyone.if.no.acl.found`.
    pub allow_without_acls: bool,
}

impl Authorizer {
    /// Whether the principal may do it from this host.
    pub fn allows(
        &self,
        entries: &AclEntries,
        principal: &Principal,
        host: &str,
        operation: Operation,
        (resource_type, name): (ResourceType, &str),
    ) -> bool {
        if self.is_super_user(principal) {
            return true;
        }
        let (mut any, mut allowed) = (false, false);
        for acl in entries.of(resource_type, name) {
            any = true;
            if concerns(acl, principal, host) {
                match acl.permission {
                    Permission::Deny if denies(acl.operation, operation) => return false,
                    Permission::Allow if allows(acl.operation, operation) => allowed = true,
                    _ => {}
                }
            }
        }
        allowed || (!any && self.allow_without_acls)
    }

    /// Whether the principal may do it with some resource of the type: one that an entry allows and none denies
    /// (KIP-679).
    pub fn allows_any(
        &self,
        entries: &AclEntries,
        principal: &Principal,
        host: &str,
        operation: Operation,
        resource_type: ResourceType,
    ) -> bool {
        if self.is_super_user(principal) {
            return true;
        }
        let mine = || entries.of_type(resource_type).filter(|acl| concerns(acl, principal, host));
        let denied: Vec<&Acl> = mine()
            .filter(|acl| acl.permission == Permission::Deny && denies(acl.operation, operation))
            .collect();
        if denied.iter().any(|acl| acl.resource_name == WILDCARD) {
            return false;
        }
        use super::model::PatternType::{Literal, Prefixed};
        let is_denied = |allow: &Acl| {
            denied.iter().any(|deny| match deny.pattern_type {
                Prefixed => allow.resource_name.starts_with(&deny.resource_name),
                Literal => allow.pattern_type == Literal && allow.resource_name == deny.resource_name,
            })
        };
        let allowed = mine()
            .filter(|acl| acl.permission == Permission::Allow && allows(acl.operation, operation))
            .any(|allow| allow.resource_name == WILDCARD || !is_denied(allow));
        allowed || self.allow_without_acls
    }

    /// Which operations of a resource's type are allowed, as the bits that KIP-430 defines.
    pub fn operations(
        &self,
        entries: &AclEntries,
        principal: &Principal,
        host: &str,
        resource: (ResourceType, &str),
    ) -> i32 {
        let allowed = resource
            .0
            .operations()
            .iter()
            .filter(|operation| self.allows(entries, principal, host, **operation, resource));
        allowed.fold(0, |bits, operation| bits | 1 << operation.code())
    }

    fn is_super_user(&self, principal: &Principal) -> bool {
        principal.is_internal() || self.super_users.iter().any(|user| principal.is(user))
    }
}

fn concerns(acl: &Acl, principal: &Principal, host: &str) -> bool {
    (acl.principal == EVERYBODY || principal.is(&acl.principal)) && (acl.host == WILDCARD || acl.host == host)
}

fn denies(denied: Operation, asked: Operation) -> bool {
    denied == Operation::All || denied == asked
}

fn allows(allowed: Operation, asked: Operation) -> bool {
    denies(allowed, asked) || asked.implied_by().contains(&allowed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::super::model::PatternType;
    use super::*;

    fn entries(texts: &[&str]) -> AclEntries {
        let mut entries = AclEntries::default();
        for (number, text) in texts.iter().enumerate() {
            let words: Vec<&str> = text.split(' ').collect();
            let [permission, principal, operation, name] = words[..] else { panic!("{text}") };
            let (name, pattern_type) = match name.strip_suffix("...") {
                Some(prefix) => (prefix, PatternType::Prefixed),
                None => (name, PatternType::Literal),
            };
            let (principal, host) = principal.split_once('@').unwrap_or((principal, WILDCARD));
            let acl = Acl {
                resource_type: ResourceType::Topic,
                resource_name: name.to_owned(),
                pattern_type,
                principal: format!("User:{principal}"),
                host: host.to_owned(),
                operation: *Operation::ALL.iter().find(|each| each.name() == operation).unwrap(),
                permission: if permission == "allow" { Permission::Allow } else { Permission::Deny },
            };
            entries.insert(Uuid::from_u128(number as u128), acl);
        }
        entries
    }

    fn may(acls: &[&str], who: &str, operation: Operation, topic: &str) -> bool {
        let authorizer = Authorizer { super_users: vec!["User:root".into()], allow_without_acls: false };
        let (who, host) = who.split_once('@').unwrap_or((who, "10.0.0.1"));
        authorizer.allows(
            &entries(acls),
            &Principal::user(who),
            host,
            operation,
            (ResourceType::Topic, topic),
        )
    }

    #[test]
    fn nobody_may_without_an_entry_but_super_users_and_this_process() {
        assert!(!may(&[], "alice", Operation::Read, "t"));
        assert!(may(&["deny root READ t"], "root", Operation::Read, "t"));
        let authorizer = Authorizer::default();
        let (none, internal) = (AclEntries::default(), Principal::internal());
        assert!(authorizer.allows(&none, &internal, "", Operation::Alter, (ResourceType::Cluster, "c")));
        let lookalike = Principal::user(internal.name());
        assert!(!authorizer.allows(&none, &lookalike, "", Operation::Alter, (ResourceType::Cluster, "c")));
    }

    #[test]
    fn names_are_meant_literally_or_as_beginnings_or_all() {
        for (acl, topic, expected) in [
            ("allow alice READ t", "t", true),
            ("allow alice READ t", "tt", false),
            ("allow alice READ t...", "tt", true),
            ("allow alice READ tt...", "t", false),
            ("allow alice READ *", "anything", true),
            ("allow bob READ *", "anything", false),
            ("allow * READ ü...", "üb", true),
        ] {
            assert_eq!(may(&[acl], "alice", Operation::Read, topic), expected, "{acl} {topic}");
        }
    }

    #[test]
    fn deny_wins_over_allow_however_it_is_said() {
        let allow = "allow alice ALL *";
        for deny in ["deny alice READ t", "deny * ALL t...", "deny alice ALL *"] {
            assert!(!may(&[allow, deny], "alice", Operation::Read, "t"), "{deny}");
        }
        assert!(may(&[allow, "deny alice WRITE t"], "alice", Operation::Read, "t"));
        assert!(may(&[allow, "deny alice@10.0.0.2 ALL *"], "alice", Operation::Read, "t"));
        assert!(!may(&[allow, "deny alice@10.0.0.2 ALL *"], "alice@10.0.0.2", Operation::Read, "t"));
    }

    #[test]
    fn who_may_read_or_change_may_describe_and_who_may_not_read_may_still_describe() {
        for operation in ["READ", "WRITE", "DELETE", "ALTER", "ALL", "DESCRIBE"] {
            let acl = format!("allow alice {operation} t");
            assert!(may(&[&acl], "alice", Operation::Describe, "t"), "{operation}");
        }
        assert!(!may(&["allow alice CREATE t"], "alice", Operation::Describe, "t"));
        assert!(may(&["allow alice ALTER_CONFIGS t"], "alice", Operation::DescribeConfigs, "t"));
        assert!(may(&["allow alice ALL t", "deny alice READ t"], "alice", Operation::Describe, "t"));
    }

    #[test]
    fn some_topic_may_be_written_when_an_entry_allows_one_that_none_denies() {
        let any = |acls: &[&str]| {
            let (authorizer, alice) = (Authorizer::default(), Principal::user("alice"));
            authorizer.allows_any(&entries(acls), &alice, "h", Operation::Write, ResourceType::Topic)
        };
        assert!(!any(&[]));
        assert!(any(&["allow alice WRITE t"]));
        assert!(!any(&["allow alice WRITE t", "deny alice ALL t"]));
        assert!(!any(&["allow alice WRITE t", "deny alice ALL *"]));
        assert!(!any(&["allow alice WRITE tt...", "deny * WRITE t..."]));
        assert!(any(&["allow alice WRITE t...", "deny alice WRITE tt"]));
        assert!(any(&["allow alice WRITE *", "deny alice WRITE tt"]));
    }

    proptest! {
        /// The index by names and beginnings finds what looking at every entry finds.
        #[test]
        fn the_index_finds_what_a_scan_finds(
            names in proptest::collection::vec(("[ab*]{1,3}", any::<bool>()), 0..12), topic in "[ab*]{1,4}",
        ) {
            let mut entries = AclEntries::default();
            for (number, (name, prefixed)) in names.iter().enumerate() {
                let acl = Acl {
                    resource_type: ResourceType::Topic,
                    resource_name: name.clone(),
                    pattern_type: if *prefixed { PatternType::Prefixed } else { PatternType::Literal },
                    principal: EVERYBODY.to_owned(),
                    host: number.to_string(),
                    operation: Operation::Read,
                    permission: Permission::Allow,
                };
                entries.insert(Uuid::from_u128(number as u128), acl);
            }
            let scan = |acl: &Acl| match acl.pattern_type {
                PatternType::Literal => acl.resource_name == topic || acl.resource_name == WILDCARD,
                PatternType::Prefixed => topic.starts_with(&acl.resource_name),
            };
            let mut expected: Vec<&Acl> = entries.iter().map(|(_, acl)| acl).filter(|acl| scan(acl)).collect();
            let mut found: Vec<&Acl> = entries.of(ResourceType::Topic, &topic).collect();
            expected.sort();
            found.sort();
            prop_assert_eq!(found, expected);
            for number in 0..names.len() {
                entries.remove(Uuid::from_u128(number as u128));
            }
            prop_assert_eq!(entries.iter().count(), 0);
        }
    }
}
