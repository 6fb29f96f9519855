//! How a client shows a broker who it is, and makes sure who the broker is.

mod scram;

pub use scram::{SaltedPassword, ScramClient, ScramMechanism};
