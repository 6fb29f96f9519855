//! SCRAM (RFC 5802, 7677) as Kafka speaks it: credentials, and the server's side of an exchange.

mod credential;
mod exchange;

pub use credential::{ITERATIONS_MAX, ITERATIONS_MIN, ScramCredential};
pub use exchange::ScramExchange;
pub use ottla_client::security::{SaltedPassword, ScramMechanism};
