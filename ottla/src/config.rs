//! How a server runs: flags over `OTTLA_…` variables over `ottla.toml` over defaults.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use clap::Args;
use ottla_broker::ids::NodeId;
use ottla_broker::quorum::PeerAddress;
use ottla_broker::{BrokerConfig, Roles, SettingError};

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
    /// What this node does; in a cluster of several, connectors and queries belong to one of them that is told so
    /// [default: broker,controller,connect,streams; in a cluster broker, and controller where --controllers names the node]
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
    /// The controllers of a cluster and where they are reached, the same on every node, as 1@HOST:PORT,2@…; a node whose id is
    /// among them listens there [default: a cluster of this node alone]
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
    /// Of the Schema Registry's REST API; none where this node does not serve it.
    pub registry: Option<OptionalListen>,
    /// Of PostgreSQL's protocol; none where this node does not run queries.
    pub pg: Option<OptionalListen>,
    /// Whether this node runs queries.
    pub streams: bool,
}

impl ServerConfig {
    /// Whether this node runs pipelines, which are made of connectors and queries.
    pub fn runs_pipelines(&self) -> bool {
        self.streams && self.connect.is_some()
    }
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
        let controllers = self.controllers.iter().flatten().map(|text| controller(text));
        let controllers: Vec<PeerAddress> = controllers.collect::<Result<_, _>>()?;
        let node_id = NodeId(self.node_id.unwrap_or(1));
        let roles = self.roles(node_id, &controllers)?;
        let has_role = |role: &str| roles.iter().any(|found| found == role);
        let log_dirs = ["log.dir", "log.dirs"].into_iter().find(|name| broker_settings.contains_key(*name));
        if let Some(name) = log_dirs.filter(|_| self.data_dir.is_some()) {
            return Err(Failure::wrong_words(format!(
                "--data-dir and [broker] {name} both say where the data is; leave one out"
            )));
        }
        let data_dir = self.data_dir.unwrap_or_else(|| PathBuf::from("ottla-data"));
        let mut broker = BrokerConfig::new(data_dir);
        broker.node_id = node_id;
        if broker.node_id.0 < 0 {
            return Err(Failure::wrong_words("--node-id must not be negative"));
        }
        broker.roles = Roles { broker: has_role("broker"), controller: has_role("controller") };
        broker.controllers = controllers;
        broker.check_roles().map_err(Failure::wrong_words)?;
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
        if broker.roles.broker {
            for listener in broker.listeners().map_err(Failure::wrong_words)? {
                if !listener.authenticates() {
                    refuse_unprotected(&listener.address, &format!("listener {}", listener.name))?;
                }
            }
        }
        if let Some(own) = broker.controllers.iter().find(|controller| controller.id == node_id)
            && !broker.controller_listener().map_err(Failure::wrong_words)?.authenticates()
        {
            let address = address("--controllers", &format!("{}:{}", own.host, own.port))?;
            refuse_unprotected(&address, "--controllers")?;
        }
        refuse_unprotected(&http_listen, "--http-listen")?;
        for (role, flag, listen) in [
            ("connect", "--connect-listen", &self.connect_listen),
            ("streams", "--pg-listen", &self.pg_listen),
            ("broker", "--registry-listen", &self.registry_listen),
        ] {
            if listen.is_some() && !has_role(role) {
                return Err(Failure::wrong_words(format!(
                    "{flag}: this node does not have the role {role}; add it to --roles, or leave {flag} out"
                )));
            }
        }
        let connect = match has_role("connect") {
            true => Some(optional("--connect-listen", self.connect_listen.as_deref(), "127.0.0.1:8083")?),
            false => None,
        };
        // Nodes of a cluster would take each other's default address, and only one of them should serve it.
        let registry = match has_role("broker")
            && (broker.controllers.is_empty() || self.registry_listen.is_some())
        {
            true => Some(optional("--registry-listen", self.registry_listen.as_deref(), "127.0.0.1:8081")?),
            false => None,
        };
        let streams = has_role("streams");
        let pg = match streams {
            true => Some(optional("--pg-listen", self.pg_listen.as_deref(), "127.0.0.1:5433")?),
            false => None,
        };
        Ok(ServerConfig { broker, http_listen, connect, registry, pg, streams })
    }

    /// What the node does: as it was told, or all that a node of its kind should.
    fn roles(&self, node_id: NodeId, controllers: &[PeerAddress]) -> Result<Vec<String>, Failure> {
        let Some(roles) = &self.roles else {
            let is_controller = controllers.iter().any(|controller| controller.id == node_id);
            let roles: &[&str] = match (controllers.is_empty(), is_controller) {
                (true, _) => ROLES,
                (false, true) => &["broker", "controller"],
                (false, false) => &["broker"],
            };
            return Ok(roles.iter().map(|role| (*role).to_owned()).collect());
        };
        if let Some(role) = roles.iter().find(|role| !ROLES.contains(&role.as_str())) {
            return Err(unknown_key("--roles", role, ROLES));
        }
        let is_broker = roles.iter().any(|role| role == "broker");
        if let Some(role) = roles.iter().find(|role| ["connect", "streams"].contains(&role.as_str()))
            && !is_broker
        {
            return Err(Failure::wrong_words(format!(
                "--roles: {role} works over the broker of its own node; add broker, or give {role} to a node that is one"
            )));
        }
        Ok(roles.clone())
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
}

/// A controller, as `ID@HOST:PORT`.
fn controller(text: &str) -> Result<PeerAddress, Failure> {
    let parsed = || {
        let (id, address) = text.trim().split_once('@')?;
        let (host, port) = address.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let (id, port) = (id.parse().ok()?, port.parse().ok()?);
        (id >= 0 && port > 0 && !host.is_empty()).then(|| PeerAddress {
            id: NodeId(id),
            host: host.to_owned(),
            port,
        })
    };
    parsed().ok_or_else(|| {
        Failure::wrong_words(format!(
            "--controllers {text}: expected ID@HOST:PORT, separated by commas, e.g. 1@127.0.0.1:19091,2@127.0.0.1:19092"
        ))
    })
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
    fn a_node_of_a_cluster_leaves_connectors_and_queries_to_one_that_is_told_to_have_them() {
        let toml = "controllers = \"1@127.0.0.1:1, 2@[::1]:2\"\n";
        let config = resolve(toml, ServerArguments::default()).unwrap();
        assert_eq!(config.broker.roles, Roles { broker: true, controller: true });
        assert_eq!(
            (config.broker.controllers[1].host.as_str(), config.broker.controllers[1].port),
            ("::1", 2)
        );
        assert!(config.connect.is_none() && config.registry.is_none() && !config.streams);
        let arguments = ServerArguments { node_id: Some(7), ..ServerArguments::default() };
        let config = resolve(toml, arguments).unwrap();
        assert_eq!(config.broker.roles, Roles { broker: true, controller: false });
        let all = ["broker", "controller", "connect", "streams"].map(str::to_owned).to_vec();
        let arguments = ServerArguments {
            roles: Some(all),
            registry_listen: Some("127.0.0.1:0".into()),
            ..ServerArguments::default()
        };
        let config = resolve(toml, arguments).unwrap();
        assert!(config.runs_pipelines() && config.registry.is_some() && config.pg.is_some());
        let arguments =
            ServerArguments { roles: Some(vec!["controller".into()]), ..ServerArguments::default() };
        let config = resolve(toml, arguments).unwrap();
        assert!(!config.broker.roles.broker && config.registry.is_none());
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
            ("roles = [\"broker\"]", "say with --controllers"),
            ("roles = [\"controller\", \"streams\"]", "streams works over the broker of its own node"),
            ("roles = [\"brokr\"]", "did you mean broker?"),
            ("controllers = [\"localhost:9093\"]", "expected ID@HOST:PORT"),
            ("controllers = [\"1@localhost:0\"]", "expected ID@HOST:PORT"),
            ("controllers = [\"1@127.0.0.1:1\", \"1@127.0.0.1:2\"]", "names node 1 twice"),
            ("controllers = [\"1@0.0.0.0:1\"]", "only loopback"),
            ("roles = [\"broker\"]\ncontrollers = [\"1@127.0.0.1:1\"]", "must have controller"),
            ("controllers = [\"2@127.0.0.1:1\"]\nroles = [\"controller\"]", "does not name node 1"),
            (
                "controllers = [\"1@127.0.0.1:1\"]\npg-listen = \"127.0.0.1:0\"",
                "does not have the role streams",
            ),
            ("pg-listen = \"0.0.0.0:1\"", "only loopback"),
            ("= 3", "ottla.toml"),
        ] {
            let failure = resolve(toml, ServerArguments::default()).unwrap_err();
            assert!(format!("{failure:?}").contains(expected), "{toml}: {failure:?}");
        }
    }
}
