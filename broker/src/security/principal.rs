//! For whom a connection speaks.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::Message;
use ottla_protocol::messages::DefaultPrincipalData;

/// Kafka's type of all principals that authentication gives.
const USER: &str = "User";
/// The type that a part of a node has for the others.
const NODE: &str = "Node";

/// Whom a client was found to be. Shown as `User:name`, the form that access control entries have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal {
    name: Arc<str>,
    internal: bool,
}

impl Principal {
    /// A client that was authenticated as `name`.
    pub fn user(name: &str) -> Principal {
        Principal { name: name.into(), internal: false }
    }

    /// A client that nobody authenticated.
    pub fn anonymous() -> Principal {
        Principal::user("ANONYMOUS")
    }

    /// A part of this process, which may do everything.
    pub fn internal() -> Principal {
        Principal { name: "ottla".into(), internal: true }
    }

    /// As brokers tell it to the controller (KIP-590).
    pub(crate) fn to_bytes(&self) -> Bytes {
        let principal_type = if self.internal { NODE } else { USER };
        let data = DefaultPrincipalData {
            principal_type: principal_type.into(),
            name: (*self.name).into(),
            token_authenticated: false,
        };
        // Every text fits, so this is the empty one of nobody.
        data.encode_versioned(0).unwrap_or_default()
    }

    /// What [`to_bytes`](Principal::to_bytes) gave; nothing where that is something else.
    pub(crate) fn from_bytes(bytes: Bytes) -> Option<Principal> {
        let data = DefaultPrincipalData::decode_versioned(bytes).ok()?;
        match &*data.principal_type {
            USER => Some(Principal::user(&data.name)),
            NODE => Some(Principal::internal()),
            _ => None,
        }
    }

    /// Without its type.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is a part of this process.
    pub fn is_internal(&self) -> bool {
        self.internal
    }

    /// Whether an entry or a setting, as `User:name`, means this principal.
    pub fn is(&self, text: &str) -> bool {
        text.strip_prefix(USER)
            .and_then(|rest| rest.strip_prefix(':'))
            .is_some_and(|name| *name == *self.name)
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{USER}:{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_the_controller_is_told_is_whom_the_broker_found(name in ".{0,40}") {
            let user = Principal::user(&name);
            prop_assert_eq!(Principal::from_bytes(user.to_bytes()), Some(user));
        }

        #[test]
        fn whatever_else_it_is_told_is_nobody_or_a_user(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let read = Principal::from_bytes(bytes.into());
            prop_assert!(read.is_none_or(|principal| !principal.is_internal() || principal == Principal::internal()));
        }
    }

    #[test]
    fn a_part_of_a_node_stays_one() {
        assert_eq!(Principal::from_bytes(Principal::internal().to_bytes()), Some(Principal::internal()));
    }
}
