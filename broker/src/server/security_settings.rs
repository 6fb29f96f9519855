//! The configs of listeners and of who may come in: which there are, and what a broker makes of them when it starts.
//!
//! Each may be set for one listener by the prefix `listener.name.<name>.`, and what belongs to a SASL mechanism for that
//! mechanism by `listener.name.<name>.<mechanism>.`, as in Kafka.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use ottla_client::security::{ClientSecurity, Jaas, PemSource, SecurityProtocol};

use super::config::BrokerConfig;
use super::settings::advertised;
use crate::controller::ConfigType::{self, Boolean, Int, List, Long, Password, String as Text};
use crate::controller::{Definition, Rule, define};
use crate::security::Authorizer;
use crate::security::jwks::JwksSource;
use crate::security::sasl::{Mechanism, PlainUsers, TokenRules};
use crate::security::tls::{ClientAuth, PrincipalMapping, TlsConfig};

/// A config about listeners and security. Unlike others it may have no default.
pub(super) struct SecuritySetting {
    pub definition: Definition,
    pub default: Option<&'static str>,
    /// Kafka tells of it only where it is set.
    pub listed_when_set: bool,
}

const fn security(
    name: &'static str,
    config_type: ConfigType,
    default: Option<&'static str>,
    rule: Rule,
) -> SecuritySetting {
    SecuritySetting { definition: define(name, config_type, "", rule, None), default, listed_when_set: false }
}

const fn of_authorizer(name: &'static str, config_type: ConfigType, rule: Rule) -> SecuritySetting {
    let listed_when_set = true;
    SecuritySetting { definition: define(name, config_type, "", rule, None), default: None, listed_when_set }
}

const STANDARD_AUTHORIZER: &str = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
const MECHANISMS: &[&str] = &["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"];
/// Kafka's default, which no broker here can serve: what is enabled has to be said.
const NO_MECHANISM: &str = "GSSAPI";
const LONG_FROM_0: Rule = Rule::Integer { min: 0, max: i64::MAX };
const LONG_FROM_1: Rule = Rule::Integer { min: 1, max: i64::MAX };
const INT_FROM_0: Rule = Rule::Integer { min: 0, max: i32::MAX as i64 };

const CONTROLLER_LISTENER_NAMES: &str = "controller.listener.names";
/// The name that the listener for controllers has by default.
const CONTROLLER: &str = "CONTROLLER";

/// By name.
pub(super) const SECURITY: &[SecuritySetting] = &[
    of_authorizer("allow.everyone.if.no.acl.found", Boolean, Rule::Boolean),
    security("authorizer.class.name", Text, Some(""), Rule::OneOf(&["", STANDARD_AUTHORIZER])),
    security(CONTROLLER_LISTENER_NAMES, Text, Some(CONTROLLER), Rule::Any),
    security("connection.failed.authentication.delay.ms", Int, Some("100"), INT_FROM_0),
    security("connections.max.reauth.ms", Long, Some("0"), LONG_FROM_0),
    security(
        "listener.security.protocol.map",
        Text,
        Some("SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT"),
        Rule::Any,
    ),
    security("sasl.enabled.mechanisms", List, Some(NO_MECHANISM), Rule::ListOf(MECHANISMS)),
    security("sasl.jaas.config", Password, None, Rule::Any),
    security("sasl.mechanism.controller.protocol", Text, Some(NO_MECHANISM), Rule::OneOf(MECHANISMS)),
    security("sasl.mechanism.inter.broker.protocol", Text, Some(NO_MECHANISM), Rule::OneOf(MECHANISMS)),
    security("sasl.oauthbearer.clock.skew.seconds", Int, Some("30"), INT_FROM_0),
    security("sasl.oauthbearer.expected.audience", List, None, Rule::Any),
    security("sasl.oauthbearer.expected.issuer", Text, None, Rule::Any),
    security("sasl.oauthbearer.jwks.endpoint.refresh.ms", Long, Some("3600000"), LONG_FROM_1),
    security("sasl.oauthbearer.jwks.endpoint.url", Text, None, Rule::Any),
    security("sasl.oauthbearer.sub.claim.name", Text, Some("sub"), Rule::Any),
    security("sasl.server.max.receive.size", Int, Some("524288"), INT_FROM_0),
    security("ssl.client.auth", Text, Some("none"), Rule::OneOf(&["none", "requested", "required"])),
    security("ssl.enabled.protocols", List, Some("TLSv1.2,TLSv1.3"), Rule::ListOf(&["TLSv1.2", "TLSv1.3"])),
    security("ssl.endpoint.identification.algorithm", Text, Some("https"), Rule::OneOf(&["", "https"])),
    security("ssl.keystore.certificate.chain", Password, None, Rule::Any),
    security("ssl.keystore.key", Password, None, Rule::Any),
    security("ssl.keystore.location", Text, None, Rule::Any),
    security("ssl.keystore.type", Text, Some("JKS"), Rule::OneOf(&["PEM"])),
    security("ssl.principal.mapping.rules", Text, Some("DEFAULT"), Rule::Any),
    security("ssl.truststore.certificates", Password, None, Rule::Any),
    security("ssl.truststore.location", Text, None, Rule::Any),
    security("ssl.truststore.type", Text, Some("JKS"), Rule::OneOf(&["PEM"])),
    of_authorizer("super.users", Text, Rule::Any),
];

/// The setting of a name, with whatever prefix.
pub(super) fn security_setting(name: &str) -> Option<&'static SecuritySetting> {
    let plain = match name.strip_prefix("listener.name.") {
        None => name,
        Some(prefixed) => {
            let (_, plain) = prefixed.split_once('.')?;
            let of_mechanism = MECHANISMS
                .iter()
                .find_map(|mechanism| plain.strip_prefix(&mechanism.to_lowercase())?.strip_prefix('.'));
            of_mechanism.unwrap_or(plain)
        }
    };
    SECURITY.iter().find(|setting| setting.definition.name == plain)
}

/// Where and how clients come in.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// Its name.
    pub name: String,
    /// What is spoken there.
    pub protocol: SecurityProtocol,
    /// Port 0 takes a free one.
    pub address: SocketAddr,
    /// The host that clients are told, the address by default.
    pub advertised_host: Option<String>,
    /// The port that clients are told, the address's by default.
    pub advertised_port: Option<u16>,
    /// Where the protocol has TLS.
    pub tls: Option<TlsConfig>,
    /// Where the protocol has SASL.
    pub sasl: Option<SaslConfig>,
}

impl ListenerConfig {
    /// Whether everybody who comes in has shown who they are.
    pub fn authenticates(&self) -> bool {
        let by_certificate = self.tls.as_ref().is_some_and(|tls| tls.client_auth == ClientAuth::Required);
        self.sasl.is_some() || by_certificate
    }
}

/// How clients of a listener show who they are.
#[derive(Debug, Clone)]
pub struct SaslConfig {
    /// `sasl.enabled.mechanisms`.
    pub mechanisms: Vec<Mechanism>,
    /// The users of PLAIN.
    pub plain_users: PlainUsers,
    /// For OAUTHBEARER.
    pub tokens: Option<TokensConfig>,
    /// `connections.max.reauth.ms`, in the order of `mechanisms`.
    pub session_ms_max: Vec<i64>,
    /// `connection.failed.authentication.delay.ms`.
    pub failure_delay: Duration,
    /// `sasl.server.max.receive.size`: of a request before authentication.
    pub request_bytes_max: usize,
}

/// Which tokens are believed.
#[derive(Debug, Clone)]
pub struct TokensConfig {
    /// What they must be.
    pub rules: TokenRules,
    /// Whose signature they need.
    pub jwks: JwksSource,
    /// How often that is read again.
    pub refresh: Duration,
}

impl BrokerConfig {
    /// Who may do what, as it was set.
    pub(crate) fn authorizer(&self) -> Result<Option<Authorizer>, String> {
        if self.set.get("authorizer.class.name").is_none_or(String::is_empty) {
            return Ok(None);
        }
        let super_users = self.set.get("super.users").map_or("", String::as_str);
        let super_users = super_users.split(';').map(str::trim).filter(|user| !user.is_empty());
        let super_users = super_users.map(|user| match user.strip_prefix("User:") {
            Some(name) if !name.is_empty() => Ok(user.to_owned()),
            _ => Err(format!("super.users: {user:?} should be User:NAME; names are separated by semicolons")),
        });
        let allow_without_acls =
            self.set.get("allow.everyone.if.no.acl.found").is_some_and(|value| value == "true");
        Ok(Some(Authorizer { super_users: super_users.collect::<Result<_, _>>()?, allow_without_acls }))
    }

    /// Where clients come in, as it was set. There is at least one.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub fn listeners(&self) -> Result<Vec<ListenerConfig>, String> {
        let protocols = self.set.get("listener.security.protocol.map").map_or("", String::as_str);
        let mut listeners: Vec<ListenerConfig> = Vec::new();
        match self.set.get("listeners") {
            None => listeners.push(self.listener("PLAINTEXT", self.listen, protocols)?),
            Some(value) => {
                for entry in value.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
                    let (name, address) = listen_entry(entry)?;
                    listeners.push(self.listener(&name, address, protocols)?);
                }
            }
        }
        for (place, listener) in listeners.iter().enumerate() {
            if listeners.iter().skip(place + 1).any(|other| other.name == listener.name) {
                return Err(format!("listeners: {} is there twice", listener.name));
            }
        }
        if listeners.is_empty() {
            return Err("listeners: there must be one".to_owned());
        }
        self.advertise(&mut listeners)?;
        Ok(listeners)
    }

    /// Where the other controllers come in, if the node is one: what is spoken there.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub fn controller_listener(&self) -> Result<ListenerConfig, String> {
        let anywhere = SocketAddr::from(([0, 0, 0, 0], 0));
        self.listener(self.controller_listener_name(), anywhere, &self.protocol_map())
    }

    fn controller_listener_name(&self) -> &str {
        let names = self.set.get(CONTROLLER_LISTENER_NAMES).map_or(CONTROLLER, String::as_str);
        // Where there are several, nodes use the first.
        names.split(',').next().map_or(CONTROLLER, str::trim)
    }

    /// What listeners speak: as it was set, and plaintext for controllers where nothing is said of them, as in Kafka.
    fn protocol_map(&self) -> String {
        let set = self.set.get("listener.security.protocol.map").map_or("", String::as_str);
        format!("{set},{CONTROLLER}:PLAINTEXT")
    }

    /// How this node goes to the controllers, and shows them who it is: with the certificate and the name that its own listener for
    /// them would have.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub(crate) fn security_to_controllers(&self) -> Result<ClientSecurity, String> {
        self.security_to(self.controller_listener_name(), "sasl.mechanism.controller.protocol")
    }

    /// As [`security_to_controllers`](BrokerConfig::security_to_controllers), to the listener of that name of other brokers.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub(crate) fn security_to_brokers(&self, listener: &str) -> Result<ClientSecurity, String> {
        self.security_to(listener, "sasl.mechanism.inter.broker.protocol")
    }

    /// What Kafka's clients are told by properties, out of what is set for a listener.
    fn security_to(&self, listener: &str, mechanism: &str) -> Result<ClientSecurity, String> {
        let protocol = protocol_of(listener, &self.protocol_map())?;
        let own = Own { config: self, prefix: format!("listener.name.{}.", listener.to_lowercase()) };
        let mut properties = BTreeMap::from([("security.protocol".to_owned(), protocol.name().to_owned())]);
        if protocol.has_tls() {
            // An empty algorithm means something, and a store that is not there has no type.
            let algorithm = "ssl.endpoint.identification.algorithm";
            let set = &self.set;
            let value = set.get(&format!("{}{algorithm}", own.prefix)).or_else(|| set.get(algorithm));
            properties.extend(value.map(|value| (algorithm.to_owned(), value.clone())));
            for name in [
                "ssl.keystore.certificate.chain",
                "ssl.keystore.key",
                "ssl.keystore.location",
                "ssl.truststore.certificates",
                "ssl.truststore.location",
                "ssl.enabled.protocols",
            ] {
                properties.extend(own.get(name).map(|value| (name.to_owned(), value.to_owned())));
            }
        }
        if protocol.has_sasl() {
            let name = own.get(mechanism).unwrap_or(NO_MECHANISM);
            let found = Mechanism::ALL.into_iter().find(|known| known.name() == name);
            let found = found.ok_or_else(|| {
                format!("{mechanism}: to reach listener {listener} it must be PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
            })?;
            properties.insert("sasl.mechanism".to_owned(), name.to_owned());
            let jaas = own.of_mechanism(found, "sasl.jaas.config");
            properties.extend(jaas.map(|jaas| ("sasl.jaas.config".to_owned(), jaas.to_owned())));
        }
        ClientSecurity::from_properties(&properties).map_err(|error| format!("listener {listener}: {error}"))
    }

    fn advertise(&self, listeners: &mut [ListenerConfig]) -> Result<(), String> {
        if let Some(first) = listeners.first_mut() {
            first.advertised_host.clone_from(&self.advertised_host);
            first.advertised_port = self.advertised_port;
        }
        let Some(value) = self.set.get("advertised.listeners") else { return Ok(()) };
        for entry in value.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (name, host, port) = advertised(entry).map_err(|error| error.to_string())?;
            let Some(listener) =
                listeners.iter_mut().find(|listener| name.is_none_or(|name| listener.name == name))
            else {
                return Err(format!(
                    "advertised.listeners: there is no listener {}",
                    name.unwrap_or_default()
                ));
            };
            (listener.advertised_host, listener.advertised_port) = (Some(host), port);
        }
        Ok(())
    }

    fn listener(&self, name: &str, address: SocketAddr, protocols: &str) -> Result<ListenerConfig, String> {
        let protocol = protocol_of(name, protocols)?;
        let own = Own { config: self, prefix: format!("listener.name.{}.", name.to_lowercase()) };
        let of_listener = |error: String| format!("listener {name}: {error}");
        Ok(ListenerConfig {
            name: name.to_owned(),
            protocol,
            address,
            advertised_host: None,
            advertised_port: None,
            tls: protocol.has_tls().then(|| own.tls()).transpose().map_err(of_listener)?,
            sasl: protocol.has_sasl().then(|| own.sasl()).transpose().map_err(of_listener)?,
        })
    }
}

/// What a listener speaks by the map, or by its own name.
fn protocol_of(name: &str, protocols: &str) -> Result<SecurityProtocol, String> {
    let mapped = protocols.split(',').find_map(|entry| {
        let (mapped, protocol) = entry.trim().split_once(':')?;
        (mapped == name).then_some(protocol)
    });
    SecurityProtocol::from_name(mapped.unwrap_or(name)).ok_or_else(|| {
        format!("listeners: listener.security.protocol.map does not say what {name} speaks: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL")
    })
}

/// `NAME://HOST:PORT`; without a name it is PLAINTEXT, and without a host all addresses of this machine.
fn listen_entry(entry: &str) -> Result<(String, SocketAddr), String> {
    let (name, address) = entry.split_once("://").unwrap_or(("PLAINTEXT", entry));
    let address = match address.strip_prefix(':') {
        Some(port) => format!("0.0.0.0:{port}"),
        None => address.to_owned(),
    };
    let wrong = |error: String| {
        format!("listeners: {entry}: {error}; expected NAME://HOST:PORT, e.g. PLAINTEXT://127.0.0.1:9092")
    };
    let resolved = address.to_socket_addrs().map_err(|error| wrong(error.to_string()))?;
    // Clients that are told an IPv6 loopback address often cannot use it.
    let resolved = resolved.min_by_key(SocketAddr::is_ipv6);
    Ok((name.to_owned(), resolved.ok_or_else(|| wrong("no address".to_owned()))?))
}

/// What was set for one listener, or for all.
struct Own<'a> {
    config: &'a BrokerConfig,
    prefix: String,
}

impl Own<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        let set = &self.config.set;
        let value = set.get(&format!("{}{name}", self.prefix)).or_else(|| set.get(name));
        let default = || SECURITY.iter().find(|setting| setting.definition.name == name)?.default;
        value.map(String::as_str).filter(|value| !value.is_empty()).or_else(default)
    }

    fn of_mechanism(&self, mechanism: Mechanism, name: &str) -> Option<&str> {
        let key = format!("{}{}.{name}", self.prefix, mechanism.name().to_lowercase());
        self.config.set.get(&key).map(String::as_str).or_else(|| self.get(name))
    }

    fn number<T: std::str::FromStr + Default>(&self, name: &str) -> T {
        // It was checked when it was set.
        self.get(name).and_then(|value| value.trim().parse().ok()).unwrap_or_default()
    }

    fn list(&self, name: &str) -> Vec<String> {
        let words = self.get(name).unwrap_or_default().split(',').map(str::trim);
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    fn pem(&self, text: &str, file: &str) -> Option<PemSource> {
        let text = self.get(text).map(|text| PemSource::Text(text.to_owned()));
        text.or_else(|| self.get(file).map(|path| PemSource::File(PathBuf::from(path))))
    }

    fn tls(&self) -> Result<TlsConfig, String> {
        let missing = "needs ssl.keystore.location: a PEM file with the certificates and the key";
        for store in ["ssl.keystore.type", "ssl.truststore.type"] {
            let location = store.replace(".type", ".location");
            if self.get(&location).is_some() && self.get(store) != Some("PEM") {
                return Err(format!("{store} must be set to PEM, and the file be PEM text"));
            }
        }
        let versions = self.list("ssl.enabled.protocols").into_iter().map(|version| match version.as_str() {
            "TLSv1.2" => &rustls::version::TLS12,
            _ => &rustls::version::TLS13,
        });
        Ok(TlsConfig {
            chain: self.pem("ssl.keystore.certificate.chain", "ssl.keystore.location").ok_or(missing)?,
            key: self.pem("ssl.keystore.key", "ssl.keystore.location").ok_or(missing)?,
            trust: self.pem("ssl.truststore.certificates", "ssl.truststore.location"),
            client_auth: match self.get("ssl.client.auth") {
                Some("required") => ClientAuth::Required,
                Some("requested") => ClientAuth::Requested,
                _ => ClientAuth::None,
            },
            versions: versions.collect(),
            mapping: PrincipalMapping::parse(self.get("ssl.principal.mapping.rules").unwrap_or_default())
                .map_err(|error| format!("ssl.principal.mapping.rules: {error}"))?,
        })
    }

    fn sasl(&self) -> Result<SaslConfig, String> {
        let names = self.list("sasl.enabled.mechanisms");
        let mechanisms: Vec<Mechanism> = Mechanism::ALL
            .into_iter()
            .filter(|mechanism| names.iter().any(|name| name == mechanism.name()))
            .collect();
        if mechanisms.is_empty() {
            return Err(format!("needs sasl.enabled.mechanisms: {}", MECHANISMS.join(", ")));
        }
        let plain_users = match mechanisms.contains(&Mechanism::Plain) {
            true => self.plain_users()?,
            false => PlainUsers::default(),
        };
        let reauth = |mechanism: &Mechanism| {
            let value = self.of_mechanism(*mechanism, "connections.max.reauth.ms");
            value.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
        };
        Ok(SaslConfig {
            session_ms_max: mechanisms.iter().map(reauth).collect(),
            tokens: mechanisms.contains(&Mechanism::OauthBearer).then(|| self.tokens()).transpose()?,
            plain_users,
            failure_delay: Duration::from_millis(self.number("connection.failed.authentication.delay.ms")),
            request_bytes_max: self.number("sasl.server.max.receive.size"),
            mechanisms,
        })
    }

    fn plain_users(&self) -> Result<PlainUsers, String> {
        let name = format!("{}plain.sasl.jaas.config", self.prefix);
        let text = self.of_mechanism(Mechanism::Plain, "sasl.jaas.config");
        let text = text.ok_or_else(|| format!("needs {name} with its users: org.apache.kafka.common.security.plain.PlainLoginModule required user_NAME=\"PASSWORD\";"))?;
        let jaas = Jaas::parse(text).map_err(|error| format!("{name} {error}"))?;
        if jaas.module != "PlainLoginModule" {
            return Err(format!("{name} should name PlainLoginModule"));
        }
        Ok(PlainUsers::new(jaas.users()))
    }

    fn tokens(&self) -> Result<TokensConfig, String> {
        let url = self.get("sasl.oauthbearer.jwks.endpoint.url");
        let url = url.ok_or("needs sasl.oauthbearer.jwks.endpoint.url: the keys that sign tokens")?;
        Ok(TokensConfig {
            rules: TokenRules {
                audiences: self.list("sasl.oauthbearer.expected.audience"),
                issuer: self.get("sasl.oauthbearer.expected.issuer").map(str::to_owned),
                skew_seconds: self.number("sasl.oauthbearer.clock.skew.seconds"),
                principal_claim: self.get("sasl.oauthbearer.sub.claim.name").unwrap_or("sub").to_owned(),
            },
            jwks: JwksSource::parse(url)
                .map_err(|error| format!("sasl.oauthbearer.jwks.endpoint.url: {error}"))?,
            refresh: Duration::from_millis(self.number("sasl.oauthbearer.jwks.endpoint.refresh.ms")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(settings: &[(&str, &str)]) -> BrokerConfig {
        let mut config = BrokerConfig::new("data");
        for (name, value) in settings {
            config.set(name, value).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        config
    }

    const USERS: &str = "PlainLoginModule required user_alice=\"secret\";";

    #[test]
    fn a_broker_without_settings_listens_in_plaintext() {
        let listeners = config(&[]).listeners().unwrap();
        assert_eq!(listeners.len(), 1);
        assert_eq!((&*listeners[0].name, listeners[0].protocol), ("PLAINTEXT", SecurityProtocol::Plaintext));
        assert!(!listeners[0].authenticates());
    }

    #[test]
    fn listeners_have_names_protocols_and_settings_of_their_own() {
        let listeners = config(&[
            ("listeners", "INSIDE://127.0.0.1:0,OUTSIDE://:9093"),
            ("listener.security.protocol.map", "INSIDE:PLAINTEXT,OUTSIDE:SASL_SSL"),
            ("advertised.listeners", "OUTSIDE://kafka.example:19093"),
            ("sasl.enabled.mechanisms", "SCRAM-SHA-256"),
            ("listener.name.outside.sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-512"),
            ("listener.name.outside.plain.sasl.jaas.config", USERS),
            ("listener.name.outside.scram-sha-512.connections.max.reauth.ms", "5000"),
            ("listener.name.outside.ssl.keystore.location", "/server.pem"),
            ("ssl.keystore.type", "PEM"),
        ]);
        let listeners = listeners.listeners().unwrap();
        let (inside, outside) = (&listeners[0], &listeners[1]);
        assert_eq!((inside.protocol, &inside.advertised_host), (SecurityProtocol::Plaintext, &None));
        assert_eq!(outside.advertised_host.as_deref(), Some("kafka.example"));
        assert_eq!(outside.address, "0.0.0.0:9093".parse().unwrap());
        let sasl = outside.sasl.as_ref().unwrap();
        assert_eq!(
            sasl.mechanisms.iter().map(|mechanism| mechanism.name()).collect::<Vec<_>>(),
            ["PLAIN", "SCRAM-SHA-512"]
        );
        assert_eq!(sasl.session_ms_max, [0, 5000]);
        assert!(sasl.plain_users.check(b"\0alice\0secret").is_some());
        assert!(outside.authenticates());
    }

    #[test]
    fn what_is_missing_is_said_and_no_secret_with_it() {
        let ssl = ("listeners", "SSL://127.0.0.1:0");
        let sasl = ("listeners", "SASL_PLAINTEXT://127.0.0.1:0");
        let plain = ("sasl.enabled.mechanisms", "PLAIN");
        for (settings, expected) in [
            (vec![("listeners", "OTHER://127.0.0.1:0")], "listener.security.protocol.map"),
            (vec![("listeners", "PLAINTEXT://127.0.0.1:0,PLAINTEXT://127.0.0.1:0")], "twice"),
            (vec![("listeners", "PLAINTEXT://127.0.0.1")], "HOST:PORT"),
            (vec![ssl], "ssl.keystore.location"),
            (vec![ssl, ("ssl.keystore.location", "/server.jks")], "PEM"),
            (vec![sasl], "sasl.enabled.mechanisms"),
            (vec![sasl, plain], "plain.sasl.jaas.config"),
            (vec![sasl, plain, ("sasl.jaas.config", "secret")], "semicolon"),
            (vec![sasl, ("sasl.enabled.mechanisms", "OAUTHBEARER")], "jwks.endpoint.url"),
            (vec![("advertised.listeners", "OTHER://host:1")], "no listener OTHER"),
        ] {
            let error = config(&settings).listeners().unwrap_err();
            assert!(error.contains(expected) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn super_users_are_named_with_their_type() {
        let class = ("authorizer.class.name", STANDARD_AUTHORIZER);
        assert_eq!(config(&[]).authorizer(), Ok(None));
        let authorizer = config(&[class, ("super.users", "User:a; User:b")]).authorizer().unwrap().unwrap();
        assert_eq!(authorizer.super_users, ["User:a", "User:b"]);
        assert!(config(&[class, ("super.users", "a")]).authorizer().is_err());
        let mut other = BrokerConfig::new("data");
        assert!(other.set("authorizer.class.name", "com.example.Mine").is_err());
        assert!(other.set("listener.name.x.num.partitions", "1").is_err());
    }
}
