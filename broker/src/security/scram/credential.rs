//! What is kept of a password: enough to check who knows it, not enough to be them.

use std::fmt;

use bytes::Bytes;
use ottla_client::security::{SaltedPassword, ScramMechanism};

/// Fewer iterations make guessing too cheap; Kafka's bound.
pub const ITERATIONS_MIN: i32 = 4096;
/// More would keep clients busy; Kafka's bound.
pub const ITERATIONS_MAX: i32 = 16384;

/// A user's credential for one mechanism.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramCredential {
    /// Random, told to the client.
    pub salt: Bytes,
    /// Checks a client.
    pub stored_key: Bytes,
    /// Shows a client that the server knows it.
    pub server_key: Bytes,
    /// Told to the client.
    pub iterations: i32,
}

impl ScramCredential {
    /// From what a client makes of its password.
    pub fn new(
        mechanism: ScramMechanism,
        salted: &SaltedPassword,
        salt: Bytes,
        iterations: i32,
    ) -> ScramCredential {
        ScramCredential {
            salt,
            stored_key: mechanism.hash(&salted.client_key(mechanism)),
            server_key: salted.server_key(mechanism),
            iterations,
        }
    }
}

/// Keys and salt stay out of logs.
impl fmt::Debug for ScramCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramCredential").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_debug_text_of_a_credential_has_no_secret() {
        let salt = Bytes::from_static(b"0123");
        let salted = SaltedPassword::derive(ScramMechanism::Sha256, "pencil", &salt, 4096);
        let credential = ScramCredential::new(ScramMechanism::Sha256, &salted, salt, 4096);
        assert_eq!(format!("{credential:?}"), "ScramCredential { iterations: 4096, .. }");
    }
}
