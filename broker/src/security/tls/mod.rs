//! TLS: certificates and keys in PEM, whose clients' certificates are believed, and what principal a certificate makes.

mod config;
mod dn;
mod mapping;

pub use config::{ClientAuth, PemSource, TlsConfig, TlsError, TlsServer};
pub use dn::subject;
pub use mapping::PrincipalMapping;
