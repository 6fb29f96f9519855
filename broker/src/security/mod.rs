//! Who a client is and what it may do: principals, access control entries and the authorizer, SASL, TLS.
//!
//! Deciding is pure: [`Authorizer`] answers from the entries of the cluster's image, a SASL exchange is a machine fed with
//! the client's messages. Sockets and files are only in `tls/`.
//!
//! *Architecture invariant:* no password, token, key or salt is written to a log, an error or a metric.

pub mod acl;
pub mod jwks;
mod principal;
pub mod sasl;
pub mod scram;
pub mod tls;

pub use acl::{Acl, AclEntries, Authorizer, Operation, PatternType, Permission, ResourceType};
pub use principal::Principal;
