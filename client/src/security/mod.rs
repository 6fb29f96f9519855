//! How a client shows a broker who it is, and makes sure who the broker is.

mod jaas;
mod pem;
mod properties;
mod protocol;
mod sasl;
mod scram;
mod secret;
mod settings;
mod tls;

pub use jaas::Jaas;
pub use pem::{PemError, PemSource};
pub use properties::parse_properties;
pub use protocol::SecurityProtocol;
pub use sasl::{SaslSettings, TokenSource};
pub use scram::{SaltedPassword, ScramClient, ScramMechanism};
pub use secret::Secret;
pub use settings::ClientSecurity;
pub use tls::{TlsIdentity, TlsSettings};

pub(crate) use sasl::{SaslChannel, authenticate, renewal_pause};
pub(crate) use tls::{TlsClient, refusal};
