//! How a server runs: flags over `OTTLA_…` variables over `ottla.toml` over defaults.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use clap::Args;
use ottla_broker::ids::NodeId;
use ottla_broker::{BrokerConfig, SettingError};

use crate::failure::Failure;

/// `ottla server`
#[derive(Args, Debug, Default)]
pub struct ServerArguments {
    /// A file with any of these settings by their long names, and Kafka's broker configs under [broker].
    #[arg(long, env = "OTTLA_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the data is kept [default: ./ottla-data]
    #[arg(long, env = "OTTLA_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The number of this node in its cluster [default: 1]
    #[arg(long, env = "OTTLA_NODE_ID", value_name = "NUMBER")]
    pub node_id: Option<i32>,
    /// What this node does [default: broker,controller,connect,streams]
    #[arg(long, env = "OTTLA_ROLES", value_delimiter = ',', value_name = "ROLE")]
    pub roles: Option<Vec<String>>,
    /// Where the Kafka protocol is served; port 0 takes a free one [default: 127.0.0.1:9092]
    #[arg(long, env = "OTTLA_LISTEN", value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Where the HTTP API is served [default: 127.0.0.1:8080]
    #[arg(long, env = "OTTLA_HTTP_LISTEN", value_name = "HOST:PORT")]
    pub http_listen: Option<String>,
    /// Where the Schema Registry's REST API is served [default: 127.0.0.1:8081, unless another process has that]
    #[arg(long, env = "OTTLA_REGISTRY_LISTEN", value_name = "HOST:PORT")]
    pub registry_listen: Option<String>,
    /// Where Kafka Connect's REST API is served [default: 127.0.0.1:8083, unless another process has that]
    #[arg(long, env = "OTTLA_CONNECT_LISTEN", value_name = "HOST:PORT")]
    pub connect_listen: Option<String>,
    /// Where psql and PostgreSQL's drivers run statements [default: 127.0.0.1:5433, or nowhere if that is taken]
    #[arg(long, env = "OTTLA_PG_LISTEN", value_name = "HOST:PORT")]
    pub pg_listen: Option<String>,
    /// The voters of the metadata quorum, as 1@HOST:PORT,…; this release forms a quorum of one.
    #[arg(long, env = "OTTLA_CONTROLLERS", value_delimiter = ',', value_name = "ID@HOST:PORT")]
    pub controllers: Option<Vec<String>>,
}

const ROLES: &[&str] = &["broker", "controller", "connect", "streams"];
const KEYS: &[&str] = &[
    "data-dir",
    "node-id",
    "roles",
    "listen",
    "http-listen",
    "registry-listen",
    "connect-listen",
    "pg-listen",
    "controllers",
];
/// What a server needs to know.
#[derive(Debug)]
pub struct ServerConfig {
    /// The broker's part.
    pub broker: BrokerConfig,
    /// Of the HTTP API.
    pub http_listen: SocketAddr,
    /// Of Kafka Connect's REST API; none where this node does not run connectors.
    pub connect: Option<OptionalListen>,
    /// Of the Schema Registry's REST API.
    pub registry: OptionalListen,
    /// Of PostgreSQL's protocol; none where this node does not run queries.
    pub pg: Option<OptionalListen>,
}

/// Where something is served that a server can do without.
#[derive(Debug, Clone, Copy)]
pub struct OptionalListen {
    pub address: SocketAddr,
    /// Somebody has said so: then it must be had, or the server does not start.
    pub is_chosen: bool,
}

impl ServerArguments {
    /// Brings the sources together and checks them.
    pub fn resolve(mut self) -> Result<ServerConfig, Failure> {
        let mut broker_settings = BTreeMap::new();
        if let Some(path) = self.config.take() {
            broker_settings = self.fill_from(&path)?;
        }
        self.refuse_what_is_not_served()?;
        let log_dirs = ["log.dir", "log.dirs"].into_iter().find(|name| broker_settings.contains_key(*name));
        if let Some(name) = log_dirs.filter(|_| self.data_dir.is_some()) {
            return Err(Failure::wrong_words(format!(
                "--data-dir and [broker] {name} both say where the data is; leave one out"
            )));
        }
        let data_dir = self.data_dir.unwrap_or_else(|| PathBuf::from("ottla-data"));
        let mut broker = BrokerConfig::new(data_dir);
        broker.node_id = NodeId(self.node_id.unwrap_or(1));
        if broker.node_id.0 < 0 {
            return Err(Failure::wrong_words("--node-id must not be negative"));
        }
        let listen = self.listen.as_deref().unwrap_or("127.0.0.1:9092");
        for (key, value) in &broker_settings {
            set_broker(&mut broker, key, value)?;
        }
        // What is said on the command line counts more than what the file says of the broker.
        if listen.contains("://") || listen.contains(',') {
            let set = broker.set("listeners", listen);
            set.map_err(|error| Failure::wrong_words(format!("--listen: {error}")))?;
        } else {
            broker.listen = address("--listen", listen)?;
            if self.listen.is_some() {
                broker.set.remove("listeners");
            }
        }
        let http_listen = address("--http-listen", self.http_listen.as_deref().unwrap_or("127.0.0.1:8080"))?;
        for listener in broker.listeners().map_err(Failure::wrong_words)? {
            if !listener.authenticates() {
                refuse_unprotected(&listener.address, &format!("listener {}", listener.name))?;
            }
        }
        refuse_unprotected(&http_listen, "--http-listen")?;
        let has_role =
            |role: &str| self.roles.as_ref().is_none_or(|roles| roles.iter().any(|found| found == role));
        let connect = match has_role("connect") {
            true => Some(optional("--connect-listen", self.connect_listen.as_deref(), "127.0.0.1:8083")?),
            false => None,
        };
        let registry = optional("--registry-listen", self.registry_listen.as_deref(), "127.0.0.1:8081")?;
        let pg = match has_role("streams") {
            true => Some(optional("--pg-listen", self.pg_listen.as_deref(), "127.0.0.1:5433")?),
            false => None,
        };
        Ok(ServerConfig { broker, http_listen, connect, registry, pg })
    }

    /// Takes from the file what no flag and no variable said; gives the `[broker]` table, flattened.
    fn fill_from(&mut self, path: &Path) -> Result<BTreeMap<String, String>, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::wrong_words(format!("--config {}: {error}", path.display())))?;
        let table: toml::Table =
            text.parse().map_err(|error| Failure::wrong_words(format!("{}: {error}", path.display())))?;
        let mut broker = BTreeMap::new();
        for (key, value) in &table {
            let place = format!("{}: {key}", path.display());
            match (key.as_str(), value) {
                ("broker", toml::Value::Table(table)) => flatten("", table, &mut broker)?,
                ("data-dir", value) => keep(&mut self.data_dir, PathBuf::from(text_of(&place, value)?)),
                ("node-id", value) => {
                    let text = text_of(&place, value)?;
                    let number = text.parse();
                    keep(&mut self.node_id, number.map_err(|_| wrong(&place, &text, "a number"))?);
                }
                ("roles", value) => keep(&mut self.roles, list_of(&place, value)?),
                ("controllers", value) => keep(&mut self.controllers, list_of(&place, value)?),
                ("listen", value) => keep(&mut self.listen, text_of(&place, value)?),
                ("http-listen", value) => keep(&mut self.http_listen, text_of(&place, value)?),
                ("registry-listen", value) => keep(&mut self.registry_listen, text_of(&place, value)?),
                ("connect-listen", value) => keep(&mut self.connect_listen, text_of(&place, value)?),
                ("pg-listen", value) => keep(&mut self.pg_listen, text_of(&place, value)?),
                _ => return Err(unknown_key(&place, key, KEYS)),
            }
        }
        Ok(broker)
    }

    fn refuse_what_is_not_served(&self) -> Result<(), Failure> {
        if let Some(roles) = &self.roles {
            if let Some(role) = roles.iter().find(|role| !ROLES.contains(&role.as_str())) {
                return Err(unknown_key("--roles", role, ROLES));
            }
            if !["broker", "controller"].iter().all(|needed| roles.iter().any(|role| role == needed)) {
                return Err(Failure::wrong_words(
                    "--roles: this release runs on one node, which needs both broker and controller",
                ));
            }
        }
        if self.controllers.as_ref().is_some_and(|voters| voters.len() > 1) {
            return Err(Failure::wrong_words(
                "--controllers: this release forms a quorum of one; name one voter or leave it out",
            ));
        }
        Ok(())
    }
}

/// Where something is served that does not ask who somebody is.
fn optional(flag: &str, chosen: Option<&str>, default: &str) -> Result<OptionalListen, Failure> {
    let address = address(flag, chosen.unwrap_or(default))?;
    refuse_unprotected(&address, flag)?;
    Ok(OptionalListen { address, is_chosen: chosen.is_some() })
}

/// What does not ask who somebody is may not be reached from another machine.
fn refuse_unprotected(address: &SocketAddr, flag: &str) -> Result<(), Failure> {
    if address.ip().is_loopback() || std::env::var_os("OTTLA_ALLOW_UNAUTHENTICATED").is_some() {
        return Ok(());
    }
    Err(Failure::wrong_words(format!(
        "{flag} {address}: without authentication only loopback addresses are served; give it SASL or client certificates (docs/security.md), or set OTTLA_ALLOW_UNAUTHENTICATED=1 to serve everybody who reaches this address"
    )))
}

fn set_broker(config: &mut BrokerConfig, key: &str, value: &str) -> Result<(), Failure> {
    config.set(key, value).map_err(|error| match error {
        SettingError::Unknown => {
            let names: Vec<&str> = BrokerConfig::names().collect();
            unknown_key("[broker]", key, &names)
        }
        error => Failure::wrong_words(format!("[broker] {key}: {error}")),
    })
}

fn keep<T>(slot: &mut Option<T>, value: T) {
    slot.get_or_insert(value);
}

fn wrong(place: &str, value: &str, expected: &str) -> Failure {
    Failure::wrong_words(format!("{place}: {value:?} should be {expected}"))
}

fn unknown_key(place: &str, key: &str, known: &[&str]) -> Failure {
    let nearest = known.iter().max_by(|a, b| {
        let near = |word: &&str| strsim::jaro_winkler(word, key);
        near(a).total_cmp(&near(b))
    });
    let hint = nearest.map(|word| format!("; did you mean {word}?")).unwrap_or_default();
    Failure::wrong_words(format!("{place}: {key:?} is not known{hint}"))
}

fn address(flag: &str, text: &str) -> Result<SocketAddr, Failure> {
    let resolved = text.to_socket_addrs().map_err(|error| {
        Failure::wrong_words(format!("{flag} {text}: {error}; expected HOST:PORT, e.g. 127.0.0.1:9092"))
    })?;
    // Clients that are told an IPv6 loopback address often cannot use it.
    let mut all: Vec<SocketAddr> = resolved.collect();
    all.sort_by_key(SocketAddr::is_ipv6);
    all.into_iter().next().ok_or_else(|| Failure::wrong_words(format!("{flag} {text}: no address")))
}

fn text_of(place: &str, value: &toml::Value) -> Result<String, Failure> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Boolean(truth) => Ok(truth.to_string()),
        other => Err(Failure::wrong_words(format!("{place}: a {} cannot stand here", other.type_str()))),
    }
}

fn list_of(place: &str, value: &toml::Value) -> Result<Vec<String>, Failure> {
    match value {
        toml::Value::Array(values) => values.iter().map(|value| text_of(place, value)).collect(),
        other => Ok(text_of(place, other)?.split(',').map(|word| word.trim().to_owned()).collect()),
    }
}

/// TOML reads `num.partitions = 3` as nested tables; Kafka's names have their dots back after this.
fn flatten(prefix: &str, table: &toml::Table, into: &mut BTreeMap<String, String>) -> Result<(), Failure> {
    for (key, value) in table {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            toml::Value::Table(inner) => flatten(&name, inner, into)?,
            value => {
                let place = format!("[broker] {name}");
                let text = match value {
                    toml::Value::Array(_) => list_of(&place, value)?.join(","),
                    value => text_of(&place, value)?,
                };
                into.insert(name, text);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(toml: &str, arguments: ServerArguments) -> Result<ServerConfig, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ottla.toml");
        std::fs::write(&path, toml).unwrap();
        ServerArguments { config: Some(path), ..arguments }.resolve()
    }

    #[test]
    fn flags_win_over_the_file_and_kafka_names_are_read_with_their_dots() {
        let toml = "listen = \"127.0.0.1:1\"\nnode-id = 7\n[broker]\nnum.partitions = 3\n\"auto.create.topics.enable\" = false\nlog.retention.hours = 2\n";
        let arguments = ServerArguments { listen: Some("127.0.0.1:2".into()), ..ServerArguments::default() };
        let config = resolve(toml, arguments).unwrap();
        assert_eq!(config.broker.listen.port(), 2);
        assert_eq!((config.broker.node_id, config.broker.num_partitions), (NodeId(7), 3));
        assert!(!config.broker.auto_create_topics);
        assert_eq!(config.broker.topic_defaults()["log.retention.ms"], "7200000");
    }

    #[test]
    fn log_dirs_may_be_a_list_and_take_the_place_of_the_data_directory() {
        let toml = "[broker]\nlog.dirs = [\"/a\", \"/b\"]\n";
        let config = resolve(toml, ServerArguments::default()).unwrap();
        assert_eq!(config.broker.log_dirs.log_dirs, [PathBuf::from("/a"), PathBuf::from("/b")]);
        let arguments = ServerArguments { data_dir: Some("c".into()), ..ServerArguments::default() };
        let failure = resolve(toml, arguments).unwrap_err();
        assert!(format!("{failure:?}").contains("leave one out"), "{failure:?}");
    }

    #[test]
    fn wrong_words_name_their_place_and_the_nearest_right_one() {
        for (toml, expected) in [
            ("lisen = \"x\"", "did you mean listen?"),
            ("[broker]\nnum.partition = 3", "did you mean num.partitions?"),
            ("[broker]\nnum.partitions = \"many\"", "Not a number"),
            ("[broker]\nnum.io.threads = 8", "has no meaning here"),
            ("[broker]\nnode.id = 8", "is given by --node-id"),
            ("[broker]\nlog.segment.bytes = 8", "Value must be at least 1048576"),
            ("listen = \"nowhere\"", "expected HOST:PORT"),
            ("listen = \"0.0.0.0:9092\"", "only loopback"),
            ("roles = [\"broker\"]", "needs both"),
            ("pg-listen = \"0.0.0.0:1\"", "only loopback"),
            ("= 3", "ottla.toml"),
        ] {
            let failure = resolve(toml, ServerArguments::default()).unwrap_err();
            assert!(format!("{failure:?}").contains(expected), "{toml}: {failure:?}");
        }
    }
}
