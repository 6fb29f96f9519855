//! Nodes that are started, stopped and killed.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use ottla_broker::controller::{ClusterImage, Controller};
use ottla_broker::ids::NodeId;
use ottla_broker::partition::Partitions;
use ottla_broker::quorum::{PeerAddress, QuorumState, QuorumTimeouts};
use ottla_broker::{Broker, BrokerConfig, Monitor, StartError};
use ottla_client::Transport;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::wire::Wire;
use crate::wire::requests::create;

/// Long enough for the slowest machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A port that nothing uses, below those that the system gives to whoever asks for any.
pub fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = 10_000 + (std::process::id() % 1_000) as u16 * 20;
    loop {
        let port = begin + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits until something is so.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub struct Node {
    pub id: NodeId,
    /// Both are there until the node ends.
    runtime: Option<Runtime>,
    broker: Option<Broker>,
}

impl Drop for Node {
    fn drop(&mut self) {
        // First the tasks: what the broker's own end would put in order stays as it is.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Node {
    /// Starts one. What a killed predecessor has not let go of yet is waited for.
    pub async fn start(config: &BrokerConfig) -> Result<Node, StartError> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let starting = runtime.spawn(Broker::start(config.clone())).await.unwrap();
            match starting {
                Ok(broker) => {
                    return Ok(Node { id: config.node_id, runtime: Some(runtime), broker: Some(broker) });
                }
                Err(StartError::ListenController { .. } | StartError::LogDir(_))
                    if Instant::now() < deadline =>
                {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => {
                    runtime.shutdown_background();
                    return Err(error);
                }
            }
        }
    }

    fn broker(&self) -> &Broker {
        self.broker.as_ref().unwrap()
    }

    pub fn address(&self) -> SocketAddr {
        self.broker().address()
    }

    /// The way in for parts of its process.
    pub fn in_process(&self) -> Arc<dyn Transport> {
        Arc::new(self.broker().in_process())
    }

    /// Of a listener that is not the first.
    pub fn address_of(&self, listener: &str) -> SocketAddr {
        let addresses = self.broker().addresses();
        addresses.iter().find(|(name, _)| &**name == listener).unwrap().1
    }

    pub fn state(&self) -> QuorumState {
        self.broker().context().controller.log().state()
    }

    pub fn partitions(&self) -> &Partitions {
        &self.broker().context().partitions
    }

    pub fn monitor(&self) -> Monitor {
        self.broker().monitor()
    }

    pub fn controller(&self) -> &Controller {
        &self.broker().context().controller
    }

    pub fn leads(&self) -> bool {
        self.state().leads_from.is_some()
    }

    /// The first offset of its metadata log.
    pub fn log_start(&self) -> i64 {
        self.broker().context().controller.log().log().log_start().0
    }

    pub fn image(&self) -> Arc<ClusterImage> {
        self.broker().context().controller.image()
    }

    pub fn topics(&self) -> Vec<String> {
        let image = self.image();
        image.invariants().unwrap();
        image.topics().map(|topic| topic.name.clone()).collect()
    }

    pub async fn create(&self, request: &CreateTopicsRequest) -> CreateTopicsResponse {
        Wire::connect(self.address()).await.call(7, request).await
    }

    /// Ends it as a crash does.
    pub fn kill(self) {}

    pub async fn stop(mut self) {
        let (Some(runtime), Some(broker)) = (&self.runtime, self.broker.take()) else { return };
        runtime.spawn(broker.shutdown()).await.unwrap().unwrap();
    }
}

/// Data directories and addresses of controllers 1 to `count`.
pub struct Cluster {
    dirs: Vec<TempDir>,
    pub controllers: Vec<PeerAddress>,
    /// How long a node looks for the one that decides, milliseconds.
    pub request_timeout_ms: u64,
}

impl Cluster {
    pub fn of(count: i32) -> Cluster {
        let controller = |id| PeerAddress { id: NodeId(id), host: "127.0.0.1".to_owned(), port: port() };
        Cluster {
            dirs: (0..count).map(|_| tempfile::tempdir().unwrap()).collect(),
            controllers: (1..=count).map(controller).collect(),
            request_timeout_ms: 60_000,
        }
    }

    pub fn dir(&self, id: i32) -> PathBuf {
        self.dirs[id as usize - 1].path().join("data")
    }

    /// As it was started with `--controllers`.
    pub fn config(&self, id: i32) -> BrokerConfig {
        let mut config = BrokerConfig::new(self.dir(id));
        config.node_id = NodeId(id);
        config.controllers = self.controllers.clone();
        config.quorum = QuorumTimeouts {
            election: Duration::from_millis(500),
            fetch: Duration::from_millis(1500),
            election_backoff_max: Duration::from_millis(500),
            ..QuorumTimeouts::default()
        };
        // Long: whoever is killed is missed without it, and a slow machine is not to end sessions.
        config.broker_session_timeout_ms = 30_000;
        config.broker_heartbeat_interval_ms = 300;
        config.request_timeout_ms = self.request_timeout_ms;
        config.snapshots.record_bytes_max = 4096;
        config
    }

    pub async fn start(&self, id: i32) -> Node {
        Node::start(&self.config(id)).await.unwrap_or_else(|error| panic!("node {id}: {error}"))
    }

    /// One more data directory, for a controller that is to join; its id.
    pub fn grow(&mut self) -> i32 {
        let id = self.dirs.len() as i32 + 1;
        self.dirs.push(tempfile::tempdir().unwrap());
        self.controllers.push(PeerAddress { id: NodeId(id), host: "127.0.0.1".to_owned(), port: port() });
        id
    }

    /// Replaces a node's disk by a new one.
    pub fn replace_disk(&self, id: i32) {
        std::fs::remove_dir_all(self.dir(id)).unwrap();
    }

    pub async fn start_all(&self) -> Vec<Node> {
        let ids = 1..=self.controllers.len() as i32;
        futures::future::join_all(ids.map(|id| self.start(id))).await
    }
}

/// The place of the leader among the nodes, once they agree on one.
pub async fn leader_of(nodes: &[Node]) -> usize {
    let mut leader = 0;
    until("the nodes agree on a leader", async || {
        let leads: Vec<usize> = (0..nodes.len()).filter(|at| nodes[*at].leads()).collect();
        let [found] = leads[..] else { return false };
        leader = found;
        let state = nodes[found].state();
        nodes
            .iter()
            .all(|node| (node.state().leader, node.state().epoch) == (Some(nodes[found].id), state.epoch))
    })
    .await;
    leader
}

/// Has a topic made, by whichever of the nodes can.
pub async fn make(nodes: &[Node], topic: &str) {
    make_replicated(nodes, topic, 1).await;
}

/// As [`make`], with so many replicas.
pub async fn make_replicated(nodes: &[Node], topic: &str, replication_factor: i16) {
    let mut request = create(topic);
    request.topics[0].replication_factor = replication_factor;
    until("a topic can be made", async || {
        for node in nodes {
            let answer = node.create(&request).await;
            let code = ErrorCode::from_code(answer.topics[0].error_code);
            match code {
                ErrorCode::None | ErrorCode::TopicAlreadyExists => return true,
                // Nobody decides at the moment, or has heard of a broker yet.
                ErrorCode::NotController | ErrorCode::InvalidReplicationFactor => {}
                other => panic!("{topic}: {other:?} {:?}", answer.topics[0].error_message),
            }
        }
        false
    })
    .await;
}

/// Waits until every node knows that so many brokers serve.
pub async fn all_serve(nodes: &[Node], count: usize) {
    until("the brokers serve", async || {
        nodes.iter().all(|node| {
            let image = node.controller().image();
            image.brokers().values().filter(|broker| broker.is_active()).count() == count
        })
    })
    .await;
}

/// Waits until all of them know the same topics, these among them.
pub async fn all_know(nodes: &[Node], topics: &[&str]) {
    until("all nodes know the topics", async || {
        let known: Vec<Vec<String>> = nodes.iter().map(Node::topics).collect();
        known.windows(2).all(|pair| pair[0] == pair[1])
            && topics.iter().all(|topic| known[0].iter().any(|known| known == topic))
    })
    .await;
}
