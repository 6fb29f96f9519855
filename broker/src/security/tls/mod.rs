//! TLS: certificates and keys in PEM, whose clients' certificates are believed, and what principal a certificate makes.

mod config;
mod dn;
mod mapping;

pub use config::{ClientAuth, TlsConfig, TlsError, TlsServer};
pub use dn::subject;
pub use mapping::PrincipalMapping;
