//! A client's security, and what Kafka's properties say of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::jaas::Jaas;
use super::pem::PemSource;
use super::protocol::SecurityProtocol;
use super::sasl::{SaslSettings, TokenSource};
use super::scram::ScramMechanism;
use super::secret::Secret;
use super::tls::{TlsIdentity, TlsSettings};
use crate::error::ClientError;

/// How connections are made safe. The default is plain TCP.
#[derive(Debug, Clone, Default)]
pub struct ClientSecurity {
    /// `security.protocol`. Says whether `tls` and `sasl` are used at all.
    pub protocol: SecurityProtocol,
    pub tls: TlsSettings,
    /// Needed where the protocol has SASL.
    pub sasl: Option<SaslSettings>,
}

impl ClientSecurity {
    /// Reads the properties that Kafka's own clients take: `security.protocol`, `sasl.mechanism`, `sasl.jaas.config`,
    /// `sasl.oauthbearer.token.endpoint.url` (a `file:` URL), `ssl.truststore.*`, `ssl.keystore.*`,
    /// `ssl.endpoint.identification.algorithm`, `ssl.enabled.protocols`. Others are left alone.
    ///
    /// # Errors
    /// [`ClientError::InvalidConfig`] that names the property, and shows no value of one that may hold a secret.
    pub fn from_properties(properties: &BTreeMap<String, String>) -> Result<ClientSecurity, ClientError> {
        let properties = Properties(properties);
        let protocol = match properties.get("security.protocol") {
            None => SecurityProtocol::Plaintext,
            Some(name) => SecurityProtocol::from_name(&name.to_ascii_uppercase()).ok_or_else(|| {
                wrong("security.protocol", "is not PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL")
            })?,
        };
        let tls = if protocol.has_tls() { properties.tls()? } else { TlsSettings::default() };
        let sasl = if protocol.has_sasl() { Some(properties.sasl()?) } else { None };
        Ok(ClientSecurity { protocol, tls, sasl })
    }
}

fn wrong(name: &str, reason: &str) -> ClientError {
    ClientError::InvalidConfig(format!("{name} {reason}"))
}

struct Properties<'a>(&'a BTreeMap<String, String>);

impl Properties<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    fn tls(&self) -> Result<TlsSettings, ClientError> {
        for name in ["ssl.truststore.type", "ssl.keystore.type"] {
            if self.get(name).is_some_and(|kind| !kind.eq_ignore_ascii_case("PEM")) {
                return Err(wrong(
                    name,
                    "is not PEM, the only one that is read; `openssl pkcs12` and `keytool -exportcert -rfc` make PEM of others",
                ));
            }
        }
        if self.get("ssl.key.password").is_some() {
            return Err(wrong(
                "ssl.key.password",
                "is not used: `openssl pkey` takes a passphrase off a key",
            ));
        }
        let text = |name: &str| self.get(name).map(|text| PemSource::Text(text.to_owned()));
        let file = |name: &str| self.get(name).map(|path| PemSource::File(PathBuf::from(path)));
        let trust = text("ssl.truststore.certificates").or_else(|| file("ssl.truststore.location"));
        let identity = match (text("ssl.keystore.certificate.chain"), text("ssl.keystore.key")) {
            (Some(chain), Some(key)) => Some(TlsIdentity { chain, key }),
            (None, None) => {
                file("ssl.keystore.location").map(|both| TlsIdentity { chain: both.clone(), key: both })
            }
            _ => return Err(wrong("ssl.keystore.key", "and ssl.keystore.certificate.chain need each other")),
        };
        let verify_hostname =
            match self.0.get("ssl.endpoint.identification.algorithm").map(|text| text.trim()) {
                None => true,
                Some("") => false,
                Some(name) if name.eq_ignore_ascii_case("https") => true,
                Some(_) => {
                    return Err(wrong("ssl.endpoint.identification.algorithm", "is neither https nor empty"));
                }
            };
        let versions = match self.get("ssl.enabled.protocols") {
            None => rustls::ALL_VERSIONS.to_vec(),
            Some(names) => names.split(',').map(tls_version).collect::<Result<_, _>>()?,
        };
        Ok(TlsSettings { trust, identity, verify_hostname, versions })
    }

    fn sasl(&self) -> Result<SaslSettings, ClientError> {
        let mechanism = self.get("sasl.mechanism").ok_or_else(|| {
            wrong("sasl.mechanism", "is missing: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER")
        })?;
        if mechanism == "OAUTHBEARER" {
            return self.oauth_bearer();
        }
        if mechanism == "PLAIN" {
            let (user, password) = self.login("PlainLoginModule")?;
            return Ok(SaslSettings::Plain { user, password });
        }
        let scram = ScramMechanism::ALL.into_iter().find(|scram| scram.name() == mechanism);
        let mechanism = scram.ok_or_else(|| {
            wrong("sasl.mechanism", "is not PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER")
        })?;
        let (user, password) = self.login("ScramLoginModule")?;
        Ok(SaslSettings::Scram { mechanism, user, password })
    }

    /// Name and password out of `sasl.jaas.config`.
    fn login(&self, module: &str) -> Result<(String, Secret), ClientError> {
        const NAME: &str = "sasl.jaas.config";
        let text = self.get(NAME).ok_or_else(|| wrong(NAME, "is missing"))?;
        let mut jaas = Jaas::parse(text).map_err(|reason| wrong(NAME, reason))?;
        if jaas.module != module {
            return Err(wrong(NAME, &format!("should be of {module} for this sasl.mechanism")));
        }
        match (jaas.options.remove("username"), jaas.options.remove("password")) {
            (Some(user), Some(password)) => Ok((user, Secret::new(password))),
            _ => Err(wrong(NAME, "should have username=\"…\" password=\"…\"")),
        }
    }

    fn oauth_bearer(&self) -> Result<SaslSettings, ClientError> {
        const URL: &str = "sasl.oauthbearer.token.endpoint.url";
        let url = self.get(URL).ok_or_else(|| wrong(URL, "is missing: a file: URL of the token"))?;
        let path = url.strip_prefix("file:").ok_or_else(|| {
            wrong(URL, "is not a file: URL; have whatever gets tokens write them to a file")
        })?;
        // file:///path and file:/path are the same; a host is not thought of.
        let path = path.strip_prefix("//").unwrap_or(path);
        let mut extensions = BTreeMap::new();
        if let Some(text) = self.get("sasl.jaas.config") {
            let jaas = Jaas::parse(text).map_err(|reason| wrong("sasl.jaas.config", reason))?;
            for (name, value) in &jaas.options {
                if let Some(name) = name.strip_prefix("extension_") {
                    extensions.insert(name.to_owned(), value.clone());
                }
            }
        }
        Ok(SaslSettings::OauthBearer { token: TokenSource::File(PathBuf::from(path)), extensions })
    }
}

fn tls_version(name: &str) -> Result<&'static rustls::SupportedProtocolVersion, ClientError> {
    match name.trim() {
        "TLSv1.2" => Ok(&rustls::version::TLS12),
        "TLSv1.3" => Ok(&rustls::version::TLS13),
        _ => Err(wrong("ssl.enabled.protocols", "has something else than TLSv1.2 and TLSv1.3")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::parse_properties;

    fn read(text: &str) -> Result<ClientSecurity, ClientError> {
        ClientSecurity::from_properties(&parse_properties(text))
    }

    #[test]
    fn what_kafkas_clients_are_told_is_understood() {
        let security = read(
            "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\nssl.truststore.type=PEM\n\
             ssl.truststore.location=/ca.pem\nssl.endpoint.identification.algorithm=\n\
             sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\\n  username=\"alice\" \\\n  password=\"a;\\\\\"b\";",
        )
        .unwrap();
        assert_eq!(security.protocol, SecurityProtocol::SaslSsl);
        assert_eq!(security.tls.trust, Some(PemSource::File("/ca.pem".into())));
        assert!(!security.tls.verify_hostname);
        let expected = SaslSettings::Scram {
            mechanism: ScramMechanism::Sha512,
            user: "alice".to_owned(),
            password: Secret::new("a;\"b"),
        };
        assert_eq!(security.sasl, Some(expected));
        assert_eq!(read("").unwrap().protocol, SecurityProtocol::Plaintext);
        let mutual = read("security.protocol=ssl\nssl.keystore.location=/me.pem").unwrap();
        assert_eq!(mutual.tls.identity.unwrap().key, PemSource::File("/me.pem".into()));
        let token = "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=OAUTHBEARER\nsasl.oauthbearer.token.endpoint.url=file:///t/token\n\
            sasl.jaas.config=OAuthBearerLoginModule required extension_traceId=\"7\";";
        let expected = SaslSettings::OauthBearer {
            token: TokenSource::File("/t/token".into()),
            extensions: BTreeMap::from([("traceId".to_owned(), "7".to_owned())]),
        };
        assert_eq!(read(token).unwrap().sasl, Some(expected));
    }

    #[test]
    fn what_is_wrong_is_named_without_what_may_be_secret() {
        let scram = "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-256\n";
        for (text, expected) in [
            ("security.protocol=TLS".to_owned(), "security.protocol"),
            ("security.protocol=SASL_SSL".to_owned(), "sasl.mechanism"),
            ("security.protocol=SASL_SSL\nsasl.mechanism=GSSAPI".to_owned(), "sasl.mechanism"),
            (scram.to_owned(), "sasl.jaas.config is missing"),
            (format!("{scram}sasl.jaas.config=M required password=\"s3cret\""), "semicolon"),
            (format!("{scram}sasl.jaas.config=M required password=\"s3cret\";"), "ScramLoginModule"),
            (format!("{scram}sasl.jaas.config=ScramLoginModule required password=\"s3cret\";"), "username"),
            ("security.protocol=SSL\nssl.truststore.type=JKS".to_owned(), "ssl.truststore.type"),
            ("security.protocol=SSL\nssl.key.password=s3cret".to_owned(), "ssl.key.password"),
            ("security.protocol=SSL\nssl.keystore.key=s3cret".to_owned(), "ssl.keystore.key"),
            ("security.protocol=SSL\nssl.enabled.protocols=TLSv1".to_owned(), "ssl.enabled.protocols"),
        ] {
            let error = read(&text).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("s3cret"), "{text}: {error}");
        }
    }
}
