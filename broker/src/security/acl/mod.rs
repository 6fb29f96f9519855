//! Access control as Kafka has it (KIP-140, 290): who may do what with which resource from where.

mod authorizer;
mod entries;
mod filter;
mod model;

pub use authorizer::Authorizer;
pub use entries::AclEntries;
pub use filter::{AclFilter, FilterCodes, PatternFilter};
pub use model::{Acl, CLUSTER_NAME, Operation, PatternType, Permission, ResourceType, WILDCARD};
