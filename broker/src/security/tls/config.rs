//! What a listener's TLS is made of, and reading it again when files change, so that certificates are renewed without a
//! restart.

use std::fs;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use ottla_client::security::{PemError, PemSource};
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use thiserror::Error;

use super::dn;
use super::mapping::PrincipalMapping;
use crate::security::Principal;

/// `ssl.client.auth`: whether clients show certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    None,
    /// They may.
    Requested,
    /// They must.
    Required,
}

/// A listener's TLS.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    /// The certificate, then those that signed it.
    pub chain: PemSource,
    /// The certificate's key.
    pub key: PemSource,
    /// Who may sign clients' certificates.
    pub trust: Option<PemSource>,
    /// Whether clients show theirs.
    pub client_auth: ClientAuth,
    /// `ssl.enabled.protocols`.
    pub versions: Vec<&'static SupportedProtocolVersion>,
    /// `ssl.principal.mapping.rules`.
    pub mapping: PrincipalMapping,
}

/// Why TLS cannot be had. Each says what to do.
#[derive(Debug, Error)]
pub enum TlsError {
    /// Keys or certificates cannot be read.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// Clients cannot be checked.
    #[error("ssl.client.auth needs ssl.truststore.location: the certificates of those who sign for clients")]
    NoTrust,
    /// The parts do not belong together.
    #[error("certificate and key cannot be used: {0}")]
    Rustls(#[from] rustls::Error),
    /// The certificates that clients are checked against cannot be used.
    #[error("the trusted certificates cannot be used: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// TLS that is ready for connections.
#[derive(Debug)]
pub struct TlsServer {
    config: TlsConfig,
    current: ArcSwap<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    server: Arc<ServerConfig>,
    /// When the files were written, in the order in which they are named.
    written: Vec<Option<SystemTime>>,
}

impl TlsServer {
    /// Reads everything.
    pub fn new(config: TlsConfig) -> Result<TlsServer, TlsError> {
        let current = ArcSwap::from_pointee(load(&config)?);
        Ok(TlsServer { config, current })
    }

    /// For the next connection.
    pub fn server(&self) -> Arc<ServerConfig> {
        self.current.load().server.clone()
    }

    /// Reads the files again if one was written since, and gives whether they are in use now. What was read before stays
    /// where the new files cannot be used.
    pub fn reload(&self) -> Result<bool, TlsError> {
        if written(&self.config) == self.current.load().written {
            return Ok(false);
        }
        self.current.store(Arc::new(load(&self.config)?));
        Ok(true)
    }

    /// Whom a client's certificate makes it.
    pub fn principal(&self, certificate: Option<&CertificateDer<'_>>) -> Principal {
        match certificate.and_then(dn::subject) {
            Some(subject) => Principal::user(&self.config.mapping.name(&subject)),
            None => Principal::anonymous(),
        }
    }
}

fn sources(config: &TlsConfig) -> impl Iterator<Item = &PemSource> {
    [&config.chain, &config.key].into_iter().chain(&config.trust)
}

fn written(config: &TlsConfig) -> Vec<Option<SystemTime>> {
    let of = |source: &PemSource| match source {
        PemSource::File(path) => fs::metadata(path).and_then(|file| file.modified()).ok(),
        PemSource::Text(_) => None,
    };
    sources(config).map(of).collect()
}

fn load(config: &TlsConfig) -> Result<Loaded, TlsError> {
    // Before the files are read: one that is written meanwhile is read again.
    let written = written(config);
    let chain = config.chain.certificates()?;
    let key = config.key.key()?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&config.versions)?;
    let builder = match (config.client_auth, &config.trust) {
        (ClientAuth::None, _) => builder.with_no_client_auth(),
        (_, None) => return Err(TlsError::NoTrust),
        (client_auth, Some(trust)) => {
            let mut roots = RootCertStore::empty();
            for certificate in trust.certificates()? {
                roots.add(certificate)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match client_auth {
                ClientAuth::Requested => verifier.allow_unauthenticated(),
                _ => verifier,
            };
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let server = Arc::new(builder.with_single_cert(chain, key)?);
    Ok(Loaded { server, written })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn config(chain: PemSource, key: PemSource) -> TlsConfig {
        TlsConfig {
            chain,
            key,
            trust: None,
            client_auth: ClientAuth::None,
            versions: rustls::ALL_VERSIONS.to_vec(),
            mapping: PrincipalMapping::default(),
        }
    }

    #[test]
    fn files_that_were_renewed_are_read_again_and_damaged_ones_are_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.pem");
        let write = |text: &str, seconds: u64| {
            fs::write(&path, text).unwrap();
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000 + seconds);
            fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        };
        let (chain, key) = certificate("one");
        write(&format!("{key}{chain}"), 0);
        let source = PemSource::File(path.clone());
        let server = TlsServer::new(config(source.clone(), source)).unwrap();
        let before = server.server();
        assert!(!server.reload().unwrap());
        write("damaged", 1);
        assert!(matches!(server.reload(), Err(TlsError::Pem(PemError::NoCertificate(_)))));
        assert!(Arc::ptr_eq(&before, &server.server()));
        let (chain, key) = certificate("two");
        write(&format!("{key}{chain}"), 2);
        assert!(server.reload().unwrap());
        assert!(!Arc::ptr_eq(&before, &server.server()));
    }

    #[test]
    fn what_does_not_belong_together_is_refused_without_showing_the_key() {
        let ((chain, _), (_, key)) = (certificate("one"), certificate("two"));
        let text = |text: &str| PemSource::Text(text.to_owned());
        let wrong = TlsServer::new(config(text(&chain), text(&key))).unwrap_err();
        assert!(matches!(wrong, TlsError::Rustls(_)), "{wrong}");
        let wrong = TlsServer::new(config(text(&chain), text(&chain))).unwrap_err();
        assert!(wrong.to_string().contains("in the config"), "{wrong}");
        let mut needs_trust = config(text(&chain), text(&key));
        needs_trust.client_auth = ClientAuth::Required;
        assert!(TlsServer::new(needs_trust).is_err());
    }
}
