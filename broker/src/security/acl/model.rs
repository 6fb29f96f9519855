//! The words of access control, with Kafka's numbers.

/// The name of the one resource of type cluster.
pub const CLUSTER_NAME: &str = "kafka-cluster";
/// As a resource's name: every resource; as a host: every host.
pub const WILDCARD: &str = "*";

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $code:literal $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i8)]
        pub enum $name {
            $(#[doc = concat!("`", $word, "`.")] $variant = $code,)*
        }

        impl $name {
            /// All of them, by number.
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            /// The one with this number.
            pub fn from_code(code: i8) -> Option<$name> {
                $name::ALL.iter().copied().find(|each| each.code() == code)
            }

            /// The protocol's number.
            pub fn code(self) -> i8 {
                self as i8
            }

            /// Kafka's name.
            pub fn name(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)*
                }
            }
        }
    };
}

numbered! {
    /// What an entry protects.
    ResourceType {
        Topic = 2 "TOPIC",
        Group = 3 "GROUP",
        Cluster = 4 "CLUSTER",
        TransactionalId = 5 "TRANSACTIONAL_ID",
        DelegationToken = 6 "DELEGATION_TOKEN",
        User = 7 "USER",
    }
}

numbered! {
    /// How an entry's resource name is meant.
    PatternType {
        Literal = 3 "LITERAL",
        Prefixed = 4 "PREFIXED",
    }
}

numbered! {
    /// What is done with a resource.
    Operation {
        All = 2 "ALL",
        Read = 3 "READ",
        Write = 4 "WRITE",
        Create = 5 "CREATE",
        Delete = 6 "DELETE",
        Alter = 7 "ALTER",
        Describe = 8 "DESCRIBE",
        ClusterAction = 9 "CLUSTER_ACTION",
        DescribeConfigs = 10 "DESCRIBE_CONFIGS",
        AlterConfigs = 11 "ALTER_CONFIGS",
        IdempotentWrite = 12 "IDEMPOTENT_WRITE",
        CreateTokens = 13 "CREATE_TOKENS",
        DescribeTokens = 14 "DESCRIBE_TOKENS",
        TwoPhaseCommit = 15 "TWO_PHASE_COMMIT",
    }
}

numbered! {
    /// What an entry says.
    Permission {
        Deny = 2 "DENY",
        Allow = 3 "ALLOW",
    }
}

impl Operation {
    /// Whether doing it shows that the thing may be described as well.
    pub(super) fn implied_by(self) -> &'static [Operation] {
        match self {
            Operation::Describe => &[Operation::Read, Operation::Write, Operation::Delete, Operation::Alter],
            Operation::DescribeConfigs => &[Operation::AlterConfigs],
            _ => &[],
        }
    }

    /// Whether it changes the cluster or what is kept in it, other than by records: what an audit asks about.
    pub fn is_administration(self) -> bool {
        use Operation::{Alter, AlterConfigs, Create, CreateTokens, Delete};
        matches!(self, Create | Delete | Alter | AlterConfigs | CreateTokens)
    }
}

impl ResourceType {
    /// What can be done with it.
    pub fn operations(self) -> &'static [Operation] {
        use Operation::*;
        match self {
            ResourceType::Topic => {
                &[Read, Write, Create, Delete, Alter, Describe, DescribeConfigs, AlterConfigs]
            }
            ResourceType::Group => &[Read, Delete, Describe, DescribeConfigs, AlterConfigs],
            ResourceType::Cluster => {
                &[Create, Alter, Describe, ClusterAction, DescribeConfigs, AlterConfigs, IdempotentWrite]
            }
            ResourceType::TransactionalId => &[Write, Describe, TwoPhaseCommit],
            ResourceType::DelegationToken => &[Describe],
            ResourceType::User => &[CreateTokens, DescribeTokens],
        }
    }
}

/// One entry: a principal may, or may not, do something with a resource from a host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Acl {
    /// What it protects.
    pub resource_type: ResourceType,
    /// Its name, or the beginning of names, or [`WILDCARD`].
    pub resource_name: String,
    /// Which of these the name is.
    pub pattern_type: PatternType,
    /// As `User:name`; `User:*` is everybody.
    pub principal: String,
    /// An address, or [`WILDCARD`].
    pub host: String,
    /// What is done.
    pub operation: Operation,
    /// Whether it may.
    pub permission: Permission,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words_belong_together() {
        for operation in Operation::ALL {
            assert_eq!(Operation::from_code(operation.code()), Some(*operation));
        }
        assert_eq!(Operation::from_code(1), None, "any is a word of filters");
        assert_eq!(ResourceType::from_code(4).unwrap().name(), "CLUSTER");
        assert_eq!(Operation::IdempotentWrite.name(), "IDEMPOTENT_WRITE");
    }
}
