//! TLS on the client's side: whose certificates are believed, and what certificate is shown.

use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::pem::PemSource;
use crate::error::ClientError;

/// The settings of TLS; names as in Kafka's configs stand with each.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// `ssl.truststore.location` or `ssl.truststore.certificates`: who may sign for brokers. Without it those whom the
    /// system trusts.
    pub trust: Option<PemSource>,
    /// `ssl.keystore.location` or `ssl.keystore.certificate.chain` and `ssl.keystore.key`: the client's own certificate.
    pub identity: Option<TlsIdentity>,
    /// `ssl.endpoint.identification.algorithm`: whether the certificate must be for the host that was connected to.
    pub verify_hostname: bool,
    /// `ssl.enabled.protocols`.
    pub versions: Vec<&'static SupportedProtocolVersion>,
}

/// A client's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsIdentity {
    /// The certificate, then those that signed it.
    pub chain: PemSource,
    /// Its key.
    pub key: PemSource,
}

impl Default for TlsSettings {
    fn default() -> TlsSettings {
        TlsSettings {
            trust: None,
            identity: None,
            verify_hostname: true,
            versions: rustls::ALL_VERSIONS.to_vec(),
        }
    }
}

/// TLS with its files read.
#[derive(Clone)]
pub(crate) struct TlsClient {
    connector: TlsConnector,
}

impl TlsClient {
    /// Reads the files.
    pub(crate) fn new(settings: &TlsSettings) -> Result<TlsClient, ClientError> {
        let wrong = |what: &str, error: &dyn std::fmt::Display| {
            ClientError::InvalidConfig(format!("{what}: {error}"))
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(roots(settings.trust.as_ref())?);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|error| wrong("ssl.truststore.location", &error))?;
        let verifier: Arc<dyn ServerCertVerifier> =
            if settings.verify_hostname { verifier } else { Arc::new(AnyHost { verifier }) };
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&settings.versions)
            .map_err(|error| wrong("ssl.enabled.protocols", &error))?
            // Ours checks as rustls's own does, but for the name where it was told not to.
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match &settings.identity {
            None => config.with_no_client_auth(),
            Some(TlsIdentity { chain, key }) => {
                let chain = chain.certificates().map_err(|error| wrong("ssl.keystore.location", &error))?;
                let key = key.key().map_err(|error| wrong("ssl.keystore.location", &error))?;
                config
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| wrong("ssl.keystore.location: certificate and key", &error))?
            }
        };
        Ok(TlsClient { connector: Arc::new(config).into() })
    }

    /// For connections that are not asynchronous.
    pub(crate) fn config(&self) -> Arc<rustls::ClientConfig> {
        self.connector.config().clone()
    }

    /// The handshake with the broker at that host.
    pub(crate) async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.connector.connect(name, stream).await
    }
}

fn roots(trust: Option<&PemSource>) -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    match trust {
        Some(source) => {
            let wrong = |error: &dyn std::fmt::Display| {
                ClientError::InvalidConfig(format!("ssl.truststore.location: {error}"))
            };
            for certificate in source.certificates().map_err(|error| wrong(&error))? {
                roots.add(certificate).map_err(|error| wrong(&error))?;
            }
        }
        None => {
            // One that the system has and rustls does not understand is one that is not trusted.
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                let reason = "the system has no trusted certificates; name some with ssl.truststore.location";
                return Err(ClientError::InvalidConfig(reason.to_owned()));
            }
        }
    }
    Ok(roots)
}

/// Believes a certificate whatever host it is for.
#[derive(Debug)]
struct AnyHost {
    verifier: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for AnyHost {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.verifier.verify_server_cert(certificate, intermediates, name, ocsp_response, now) {
            // The name is what is looked at last, when all else was found right.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// What TLS found wrong, if that is what an error of a connection is about: another try would find the same.
pub(crate) fn refusal(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref::<rustls::Error>()
}
