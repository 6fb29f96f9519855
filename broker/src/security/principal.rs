//! For whom a connection speaks.

use std::fmt;
use std::sync::Arc;

/// Kafka's type of all principals that authentication gives.
const USER: &str = "User";

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
