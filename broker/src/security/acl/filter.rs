//! Which entries somebody asks about.

use super::model::{Acl, Operation, PatternType, Permission, ResourceType, WILDCARD};

/// The protocol's number for whatever there is.
const ANY: i8 = 1;
/// The protocol's number of the pattern type that means all that apply to a name.
const MATCH: i8 = 2;

/// How a filter's resource name is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatternFilter {
    /// Entries of that name, of either type.
    Any,
    /// Entries that apply to a resource of that name.
    Match,
    /// Entries of that name and type.
    Only(PatternType),
}

/// Entries that agree with all of what is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclFilter {
    /// None: any.
    pub resource_type: Option<ResourceType>,
    /// None: any.
    pub resource_name: Option<String>,
    /// How the name is meant.
    pub pattern: PatternFilter,
    /// None: any.
    pub principal: Option<String>,
    /// None: any.
    pub host: Option<String>,
    /// None: any.
    pub operation: Option<Operation>,
    /// None: any.
    pub permission: Option<Permission>,
}

/// A filter as requests have it.
#[derive(Debug, Clone, Copy)]
pub struct FilterCodes {
    /// 1: any.
    pub resource_type: i8,
    /// 1: any; 2: match.
    pub pattern_type: i8,
    /// 1: any.
    pub operation: i8,
    /// 1: any.
    pub permission: i8,
}

impl AclFilter {
    /// A filter from the protocol's numbers; `None` when one of them is unknown.
    pub fn from_codes(
        codes: FilterCodes,
        resource_name: Option<&str>,
        principal: Option<&str>,
        host: Option<&str>,
    ) -> Option<AclFilter> {
        fn known<T>(code: i8, from_code: impl Fn(i8) -> Option<T>) -> Option<Option<T>> {
            if code == ANY { Some(None) } else { from_code(code).map(Some) }
        }
        Some(AclFilter {
            resource_type: known(codes.resource_type, ResourceType::from_code)?,
            resource_name: resource_name.map(str::to_owned),
            pattern: match codes.pattern_type {
                ANY => PatternFilter::Any,
                MATCH => PatternFilter::Match,
                code => PatternFilter::Only(PatternType::from_code(code)?),
            },
            principal: principal.map(str::to_owned),
            host: host.map(str::to_owned),
            operation: known(codes.operation, Operation::from_code)?,
            permission: known(codes.permission, Permission::from_code)?,
        })
    }

    /// Whether it asks about the entry.
    pub fn matches(&self, acl: &Acl) -> bool {
        fn agrees<T: PartialEq>(wanted: &Option<T>, has: &T) -> bool {
            wanted.as_ref().is_none_or(|wanted| wanted == has)
        }
        agrees(&self.resource_type, &acl.resource_type)
            && self.matches_name(acl)
            && agrees(&self.principal, &acl.principal)
            && agrees(&self.host, &acl.host)
            && agrees(&self.operation, &acl.operation)
            && agrees(&self.permission, &acl.permission)
    }

    fn matches_name(&self, acl: &Acl) -> bool {
        if let PatternFilter::Only(pattern) = self.pattern
            && pattern != acl.pattern_type
        {
            return false;
        }
        let Some(name) = &self.resource_name else { return true };
        match (self.pattern, acl.pattern_type) {
            (PatternFilter::Match, PatternType::Literal) => {
                *name == acl.resource_name || acl.resource_name == WILDCARD
            }
            (PatternFilter::Match, PatternType::Prefixed) => name.starts_with(&acl.resource_name),
            _ => *name == acl.resource_name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(pattern_type: PatternType, name: &str) -> Acl {
        Acl {
            resource_type: ResourceType::Topic,
            resource_name: name.to_owned(),
            pattern_type,
            principal: "User:alice".to_owned(),
            host: WILDCARD.to_owned(),
            operation: Operation::Read,
            permission: Permission::Allow,
        }
    }

    #[test]
    fn a_name_is_matched_as_the_pattern_type_says() {
        let filter = |pattern_type, name| {
            let codes = FilterCodes { resource_type: 2, pattern_type, operation: 1, permission: 1 };
            AclFilter::from_codes(codes, Some(name), None, None).unwrap()
        };
        let (literal, prefixed, all) = (
            acl(PatternType::Literal, "orders"),
            acl(PatternType::Prefixed, "ord"),
            acl(PatternType::Literal, "*"),
        );
        for (pattern_type, name, expected) in [
            (1, "orders", [true, false, false]),
            (1, "ord", [false, true, false]),
            (2, "orders", [true, true, true]),
            (2, "other", [false, false, true]),
            (3, "orders", [true, false, false]),
            (4, "ord", [false, true, false]),
            (4, "orders", [false, false, false]),
        ] {
            let found = [&literal, &prefixed, &all].map(|acl| filter(pattern_type, name).matches(acl));
            assert_eq!(found, expected, "{pattern_type} {name}");
        }
    }

    #[test]
    fn unknown_numbers_are_no_filter() {
        let codes = FilterCodes { resource_type: 2, pattern_type: 3, operation: 0, permission: 1 };
        assert_eq!(AclFilter::from_codes(codes, None, None, None), None);
    }
}
