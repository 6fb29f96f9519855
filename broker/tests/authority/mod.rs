//! Whoever gives out certificates and tokens.

use std::net::SocketAddr;
use std::sync::Arc;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A certificate authority with the certificates that it gave out, as PEM.
pub struct Authority {
    /// As PEM.
    pub certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().pem();
        Authority { certificate, issuer: Issuer::new(params, key) }
    }

    /// Key and certificate of somebody at `localhost`, as PEM.
    pub fn certify(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        (key.serialize_pem(), params.signed_by(&key, &self.issuer).unwrap().pem())
    }

    /// A connection over TLS, with a certificate of the client or without.
    #[allow(dead_code, reason = "each test binary uses its own part")]
    pub async fn connect(
        &self,
        address: SocketAddr,
        client: Option<&(String, String)>,
    ) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match client {
            None => config.with_no_client_auth(),
            Some((key, certificate)) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                config.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

/// Whoever signs tokens.
#[allow(dead_code, reason = "each test binary uses its own part")]
pub struct TokenIssuer {
    key: EncodingKey,
    /// The keys that tell its tokens.
    pub jwks: String,
}

#[allow(dead_code, reason = "each test binary uses its own part")]
impl TokenIssuer {
    pub fn new() -> TokenIssuer {
        let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        let point = pair.public_key().as_ref();
        let text = |bytes| base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, bytes);
        let jwk = json!({ "kty": "EC", "crv": "P-256", "x": text(&point[1..33]), "y": text(&point[33..65]),
                          "kid": "k", "alg": "ES256", "use": "sig" });
        TokenIssuer {
            key: EncodingKey::from_ec_der(pkcs8.as_ref()),
            jwks: json!({ "keys": [jwk] }).to_string(),
        }
    }

    /// A token of somebody that ends so many seconds from now.
    pub fn token(&self, subject: &str, seconds: i64) -> String {
        let header = Header { kid: Some("k".to_owned()), ..Header::new(Algorithm::ES256) };
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
        let claims = json!({ "sub": subject, "iss": "https://issuer", "aud": "ottla", "exp": now + seconds });
        jsonwebtoken::encode(&header, &claims, &self.key).unwrap()
    }
}
