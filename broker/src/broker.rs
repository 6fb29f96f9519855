//! Starting and stopping a broker: opens the data directory, replays the metadata log, opens partitions, listens.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use ottla_client::security::ClientSecurity;
use prometheus_client::metrics::histogram::Histogram;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::active_controller::ActiveController;
use crate::broker_session::BrokerSession;
use crate::controller::{BrokerEndpoint, GroupLimits, Registration};
use crate::controller::{
    Controller, ControllerError, ControllerTiming, METADATA_TOPIC, OFFSETS_TOPIC, SnapshotId,
    TRANSACTIONS_TOPIC, TopicRules, look_for_the_gone, remove_fetched, snapshots_in, supported_features,
};
use crate::coordinator::{CoordinatorConfig, GroupCoordinator, TransactionCoordinator};
use crate::group_topics::{GroupTopics, forget_deleted};
use crate::groups::{ConsumerGroupConfig, GroupConfig, OffsetRetention};
use crate::ids::TopicPartition;
use crate::internal_topic::InternalTopic;
use crate::log::{LogConfig, LogError};
use crate::markers::MarkerWriter;
use crate::metrics::Metrics;
use crate::monitor::Monitor;
use crate::other_brokers::OtherBrokers;
use crate::partition::{Assignment, LogDirError, LogDirs, Partitions, QuorumLog, keep_houses};
use crate::producer_id_source::ProducerIdSource;
use crate::quorum::{
    self, Config as QuorumSettings, ElectionState, Face, FormationError, Membership, NodeTransport,
    QuorumHandle, QuorumListener, ReplicaKey, StateFileError, VoterHistory, join_cluster,
    load_election_state, voters_alone,
};
use crate::quotas::{Quotas, ReplicationThrottles};
use crate::replica::NodeRun;
use crate::replication::{Surroundings, follow_leaders, keep_isr};
use crate::security::tls::TlsError;
use crate::security::{Authorizer, jwks};
use crate::server::{
    BrokerConfig, ConnectionLimits, Context, Endpoint, Entrance, FetchSessions, InProcess, Listener,
    RequestMemory, TransactionVerifier, keep_certificates,
};

/// How often recovery points are written: at most this much time is scanned again after a crash.
const RECOVERY_POINT_INTERVAL: Duration = Duration::from_secs(5);

/// How long after it could not be recorded where a partition is, that is tried again.
const ASSIGN_RETRY: Duration = Duration::from_millis(500);

/// How often it is looked whether certificates were renewed.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(5);

/// Why a broker did not start. Each says what to do.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    LogDir(#[from] LogDirError),
    /// A log cannot be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The address for the other controllers is taken or not ours.
    #[error(
        "cannot listen on {host}:{port}, where --controllers says that this controller is: {source}; stop what uses it, or \
         name another address"
    )]
    ListenController {
        /// Named.
        host: String,
        /// Named.
        port: u16,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The node is no part of the cluster that its controllers are.
    #[error(transparent)]
    Formation(#[from] FormationError),
    /// What the node must not forget of elections cannot be read.
    #[error(transparent)]
    Election(#[from] StateFileError),
    /// The metadata log cannot be read.
    #[error(transparent)]
    Controller(#[from] ControllerError),
    /// The address is taken or not ours.
    #[error(
        "cannot listen on {address}: {source}; stop what uses it, or choose another with --listen (port 0 takes a free one)"
    )]
    Listen {
        /// Asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A config is missing or wrong.
    #[error("{0}")]
    Config(String),
    /// A listener's certificates cannot be used.
    #[error("listener {listener}: {source}")]
    Tls {
        /// Whose.
        listener: String,
        /// Why.
        #[source]
        source: TlsError,
    },
    /// The runtime ended while the broker started.
    #[error("the start was interrupted")]
    Interrupted,
}

/// A broker that serves.
pub struct Broker {
    context: Arc<Context>,
    addresses: Vec<(String, SocketAddr)>,
    controller_address: Option<SocketAddr>,
    log_dirs: Arc<LogDirs>,
    quorum: QuorumHandle,
    /// Where the node is one of several.
    session: Option<BrokerSession>,
    /// By which brokers reach each other, and how.
    inter_broker: (Arc<str>, NodeTransport),
    stop: watch::Sender<bool>,
    serving: JoinSet<()>,
    /// What is done now and then.
    chores: JoinSet<()>,
}

impl Broker {
    /// Starts it; when this returns, clients are served.
    pub async fn start(config: BrokerConfig) -> Result<Broker, StartError> {
        // Listeners come first: a taken port must be found before anything is written.
        config.check_roles().map_err(StartError::Config)?;
        let authorizer = config.authorizer().map_err(StartError::Config)?;
        let listeners = if config.roles.broker { listen(&config).await? } else { Vec::new() };
        let mut endpoints: Vec<Arc<Endpoint>> =
            listeners.iter().map(|(_, endpoint)| endpoint.clone()).collect();
        let addresses =
            listeners.iter().map(|(listener, endpoint)| (endpoint.name.to_string(), listener.address()));
        let addresses = addresses.collect();
        let to_controllers = match config.controllers.is_empty() {
            true => ClientSecurity::default(),
            false => config.security_to_controllers().map_err(StartError::Config)?,
        };
        let transport = NodeTransport::new(config.node_id, &to_controllers)
            .map_err(|error| StartError::Config(error.to_string()))?;
        let (voters, quorum_listener) = form_cluster(&config, &transport, authorizer.clone()).await?;
        let metrics = Metrics::new();
        let (opened, sync_seconds) = (config.clone(), metrics.sync_seconds.clone());
        let opening = tokio::task::spawn_blocking(move || open(&opened, sync_seconds));
        let (log_dirs, metadata) = opening.await.map_err(|_| StartError::Interrupted)??;
        let quorum = join_quorum(&config, &log_dirs, metadata, voters, transport)?;
        let (mut serving, mut chores) = (JoinSet::new(), JoinSet::new());
        let decides = Arc::new(OnceLock::new());
        let mut controller_address = None;
        if let Some(listener) = quorum_listener {
            let address = listener.address().map_err(LogError::io("listen", Path::new("--controllers")))?;
            controller_address = Some(address);
            chores.spawn(keep_certificates(listener.endpoint().clone(), CERTIFICATE_INTERVAL));
            if endpoints.is_empty() {
                endpoints.push(listener.endpoint().clone());
            }
            let own = config.controllers.iter().find(|controller| controller.id == config.node_id);
            if let Some(own) = own {
                chores.spawn(quorum::raft_voters::keep_recorded(quorum.clone(), own.clone()));
            }
            let face = Face::Member(quorum.clone(), decides.clone());
            chores.spawn(async move { listener.serve(face).await });
        }
        let run = NodeRun { id: config.node_id, incarnation: Uuid::new_v4(), is_alone: quorum.is_alone() };
        let (proposals, wanted_isr) = mpsc::unbounded_channel();
        let partitions = Arc::new(Partitions::new(log_dirs.clone(), run, proposals));
        let rules = TopicRules {
            node_id: config.node_id,
            is_alone: quorum.is_alone(),
            default_partitions: config.num_partitions,
            default_replication_factor: config.default_replication_factor,
            directories: log_dirs.ids(),
            group_limits: GroupLimits {
                heartbeat_interval_ms: config.consumer_groups.heartbeat_interval_ms_range,
                session_timeout_ms: config.consumer_groups.session_timeout_ms_range,
            },
            topic_defaults: config.topic_defaults(),
            snapshots: config.snapshots,
        };
        let timing = ControllerTiming {
            session_timeout: Duration::from_millis(config.broker_session_timeout_ms),
            balance_interval: config.auto_leader_rebalance.then_some(config.leader_imbalance_check_interval),
        };
        let controller = Controller::start(quorum.clone(), rules, partitions.clone(), timing).await?;
        let active_controller =
            ActiveController::new(controller.clone(), Duration::from_millis(config.request_timeout_ms));
        let internal_topic = |name, partition_count, replication_factor| {
            let topic =
                InternalTopic::new(name, partitions.clone(), active_controller.clone(), partition_count, run);
            topic.replicated(replication_factor).skipping_damage(config.skip_damaged_records)
        };
        let offsets_partition_count = offsets_partitions(&config, &controller);
        let offsets_log =
            internal_topic(OFFSETS_TOPIC, offsets_partition_count, config.offsets_topic_replication_factor);
        let groups = GroupCoordinator::new(
            Arc::new(offsets_log.clone()),
            Arc::new(GroupTopics::new(controller.clone(), config.consumer_groups.clone())),
            coordinator_config(&config, offsets_partitions(&config, &controller)),
        );
        let listener = replication_listener(&config, &endpoints);
        let to_brokers = match config.roles.broker && !quorum.is_alone() {
            true => config.security_to_brokers(&listener).map_err(StartError::Config)?,
            false => ClientSecurity::default(),
        };
        let to_brokers = NodeTransport::new(config.node_id, &to_brokers)
            .map_err(|error| StartError::Config(error.to_string()))?;
        let other_brokers = || {
            let within = Duration::from_millis(config.request_timeout_ms);
            OtherBrokers::new(controller.clone(), &listener, to_brokers.clone(), within)
        };
        let producer_ids = ProducerIdSource::new(active_controller.clone());
        let markers =
            MarkerWriter::new(partitions.clone(), controller.clone(), groups.clone(), other_brokers());
        let transaction_partitions = transaction_partitions(&config, &controller);
        let transactions_log = internal_topic(
            TRANSACTIONS_TOPIC,
            transaction_partitions,
            config.transaction_topic_replication_factor,
        )
        .with_min_insync_replicas(config.transaction_topic_min_isr);
        let transactions = TransactionCoordinator::new(
            Arc::new(transactions_log.clone()),
            Arc::new(producer_ids.clone()),
            Arc::new(markers.clone()),
            CoordinatorConfig {
                partitions: transaction_partitions,
                machine: config.transactions.clone(),
                ..CoordinatorConfig::default()
            },
        );
        let transaction_verifier =
            TransactionVerifier::new(transactions.clone(), transactions_log.clone(), other_brokers());
        let context = Arc::new(Context {
            run,
            cluster_id: log_dirs.metadata().cluster_id.as_str().into(),
            endpoints,
            metrics: metrics.with_partitions(partitions.clone(), controller.clone()),
            controller,
            active_controller,
            partitions,
            groups,
            offsets_log,
            authorizer,
            transactions,
            transaction_verifier,
            transactions_log,
            markers,
            quotas: Quotas::new(config.quota_windows),
            throttles: Arc::new(ReplicationThrottles::unlimited()),
            request_memory: RequestMemory::new(config.queued_request_bytes_max),
            fetch_sessions: Mutex::new(FetchSessions::new(config.fetch_sessions_max)),
            producer_ids,
            config,
        });
        let _ = decides.set(context.clone());
        let (stop, stopped) = watch::channel(false);
        let limits = ConnectionLimits::new(&context.config);
        for (listener, endpoint) in listeners {
            if let Some((source, validator, interval)) = endpoint.tokens() {
                if let Err(error) = jwks::refresh(&source, &validator).await {
                    tracing::warn!(%error, ?source, "the keys that sign tokens cannot be read yet");
                }
                chores.spawn(jwks::keep_fresh(source, validator, interval));
            }
            chores.spawn(keep_certificates(endpoint.clone(), CERTIFICATE_INTERVAL));
            let address = listener.address();
            let (name, protocol) = (&*endpoint.name, endpoint.protocol.name());
            tracing::info!(node_id = %context.node_id(), %address, name, protocol, "broker serves");
            let limits = limits.of_listener(&context.config, &endpoint.name);
            serving.spawn(listener.run(endpoint, limits, context.clone(), stopped.clone()));
        }
        let has_session = context.config.roles.broker && !quorum.is_alone();
        let session = has_session.then(|| session_of(&context, run));
        if let Some(session) = session.clone() {
            chores.spawn(session.run());
            chores.spawn(forget_deleted(context.controller.clone(), context.groups.clone()));
        }
        let around = Surroundings {
            node_id: context.node_id(),
            controller: context.controller.clone(),
            partitions: context.partitions.clone(),
            listener: listener.clone(),
            config: Arc::new(context.config.replication.clone()),
            throttles: context.throttles.clone(),
            transport: to_brokers.clone(),
        };
        let (groups, transactions) = (context.groups.clone(), context.transactions.clone());
        chores.spawn(follow_leaders(around.clone(), groups, transactions));
        chores.spawn(keep_isr(around, wanted_isr));
        if !quorum.is_alone() {
            chores.spawn(look_for_the_gone(context.controller.clone()));
        }
        chores.spawn(save_checkpoints(log_dirs.clone()));
        chores.spawn(keep_houses(context.partitions.clone(), context.config.housekeeping.clone()));
        chores.spawn(record_moves(context.partitions.report_moves(), context.controller.clone()));
        chores.spawn(context.partitions.clone().resume_moves());
        Ok(Broker {
            context,
            addresses,
            controller_address,
            log_dirs,
            quorum,
            session,
            inter_broker: (listener, to_brokers),
            stop,
            serving,
            chores,
        })
    }

    /// Where clients of the first listener connect. A node that is no broker has none, and where it would be is told.
    pub fn address(&self) -> SocketAddr {
        self.addresses.first().map_or(self.context.config.listen, |(_, address)| *address)
    }

    /// Where other controllers and brokers connect, where this node is a controller of several nodes.
    pub fn controller_address(&self) -> Option<SocketAddr> {
        self.controller_address
    }

    /// Where clients of each listener connect.
    pub fn addresses(&self) -> &[(String, SocketAddr)] {
        &self.addresses
    }

    /// Shared with the handlers.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// A way in without a socket; the other brokers of the cluster are reached as this one reaches them.
    pub fn in_process(&self) -> InProcess {
        let (listener, transport) = &self.inter_broker;
        let others = transport.connections();
        InProcess::new(self.context.clone(), listener.clone(), others, self.stop.subscribe())
    }

    /// How the broker is, for as long as it runs.
    pub fn monitor(&self) -> Monitor {
        Monitor::new(self.context.clone())
    }

    /// Stops serving, makes everything durable and leaves word of it, so that the next start need not scan.
    pub async fn shutdown(mut self) -> Result<(), LogError> {
        if let Some(session) = &self.session {
            session.leave().await;
        }
        let _ = self.stop.send(true);
        while self.serving.join_next().await.is_some() {}
        self.context.transactions.close().await;
        self.context.groups.close().await;
        self.chores.shutdown().await;
        let partitions = self.context.partitions.close().await;
        // After the partitions, whose closing no change of the cluster may overtake.
        self.quorum.close().await?;
        let unclean = partitions?;
        // The epoch with which it was registered, so that the next registration shows that nothing was lost since: that of an
        // earlier run where this one never was, for that had stopped in good order too.
        let own = self.session.as_ref().and_then(|session| {
            let image = self.context.controller.image();
            let own = image.brokers().get(&session.registration.id);
            let own = own.filter(|own| own.incarnation_id == session.registration.incarnation_id);
            own.map(|own| own.epoch).or(session.registration.previous_epoch)
        });
        let log_dirs = self.log_dirs;
        let marking = move || {
            log_dirs.save_checkpoints()?;
            for dir in log_dirs.all() {
                // A partition that is offline was not recovered: the next start must try, and trust nothing.
                if !unclean.contains(&dir.directory_id) {
                    dir.mark_clean(own)?;
                }
                dir.unlock()?;
            }
            Ok(())
        };
        let marked = tokio::task::spawn_blocking(marking).await;
        tracing::info!("broker stopped");
        marked.unwrap_or(Ok(()))
    }
}

/// The listener by which brokers reach each other.
fn replication_listener(config: &BrokerConfig, endpoints: &[Arc<Endpoint>]) -> Arc<str> {
    let first = endpoints.first().map(|endpoint| endpoint.name.to_string());
    config.replication.listener.clone().or(first).unwrap_or_default().into()
}

/// What keeps the node registered as one of the cluster's brokers.
fn session_of(context: &Context, run: NodeRun) -> BrokerSession {
    let endpoints = context.endpoints.iter().map(|endpoint| BrokerEndpoint {
        listener: endpoint.name.to_string(),
        host: endpoint.host.to_string(),
        port: u16::try_from(endpoint.port).unwrap_or_default(),
        // Kafka's numbers are those of the order.
        security_protocol: endpoint.protocol as i16,
    });
    BrokerSession {
        controller: context.controller.clone(),
        registration: Registration {
            id: context.node_id(),
            incarnation_id: run.incarnation,
            endpoints: endpoints.collect(),
            log_dirs: context.partitions.log_dirs().ids(),
            rack: context.config.rack.clone(),
            features: supported_features(),
            previous_epoch: context.partitions.log_dirs().previous_epoch(),
        },
        heartbeat_interval: Duration::from_millis(context.config.broker_heartbeat_interval_ms),
    }
}

/// Binds every listener.
async fn listen(config: &BrokerConfig) -> Result<Vec<(Listener, Arc<Endpoint>)>, StartError> {
    let mut listeners = Vec::new();
    for listener in config.listeners().map_err(StartError::Config)? {
        let address = listener.address;
        let bound = Listener::bind(address).await.map_err(|source| StartError::Listen { address, source })?;
        let endpoint = Endpoint::new(&listener, bound.address().port())
            .map_err(|source| StartError::Tls { listener: listener.name.clone(), source })?;
        listeners.push((bound, Arc::new(endpoint)));
    }
    Ok(listeners)
}

/// What is spoken where controllers come in.
fn controller_endpoint(config: &BrokerConfig, port: u16) -> Result<Endpoint, StartError> {
    let listener = config.controller_listener().map_err(StartError::Config)?;
    Endpoint::new(&listener, port)
        .map_err(|source| StartError::Tls { listener: listener.name.clone(), source })
}

/// The topic's own count, once it is made: groups must be looked for where they were put.
fn offsets_partitions(config: &BrokerConfig, controller: &Controller) -> i32 {
    let made = controller.image().topic(OFFSETS_TOPIC).map(|topic| topic.partitions.len() as i32);
    made.unwrap_or(config.offsets_topic_partitions)
}

/// As [`offsets_partitions`], of transactional ids.
fn transaction_partitions(config: &BrokerConfig, controller: &Controller) -> i32 {
    let made = controller.image().topic(TRANSACTIONS_TOPIC).map(|topic| topic.partitions.len() as i32);
    made.unwrap_or(config.transaction_topic_partitions)
}

fn coordinator_config(config: &BrokerConfig, partitions: i32) -> CoordinatorConfig<GroupConfig> {
    let groups = GroupConfig {
        initial_rebalance_delay: Duration::from_millis(config.group_initial_rebalance_delay_ms.max(0) as u64),
        session_timeout_min: Duration::from_millis(config.group_session_timeout_ms_min),
        session_timeout_max: Duration::from_millis(config.group_session_timeout_ms_max),
        size_max: config.group_size_max,
        offset_metadata_bytes_max: config.offset_metadata_bytes_max,
        consumer: ConsumerGroupConfig {
            session_timeout: Duration::from_millis(config.consumer_groups.session_timeout_ms),
            size_max: config.consumer_groups.size_max,
            assignors: config.consumer_groups.assignors.clone(),
            migration_policy: config.consumer_groups.migration_policy,
        },
        offset_retention: OffsetRetention {
            retention: Duration::from_secs(config.offsets_retention_minutes.saturating_mul(60)),
            check_interval: Duration::from_millis(config.offsets_retention_check_interval_ms),
        },
        ..GroupConfig::default()
    };
    CoordinatorConfig { partitions, machine: groups, ..CoordinatorConfig::default() }
}

/// The metadata log as it was found.
struct Metadata {
    log: QuorumLog,
    election: Option<ElectionState>,
    snapshots: Vec<SnapshotId>,
}

fn open(config: &BrokerConfig, sync_seconds: Histogram) -> Result<(Arc<LogDirs>, Metadata), StartError> {
    let log_dirs = LogDirs::open(&config.log_dirs, config.node_id, &config.housekeeping, &sync_seconds)?;
    // One decision is one batch, however many partitions it makes. Nothing decided is ever forgotten: only what snapshots
    // tell too goes.
    let log_config =
        LogConfig { max_message_bytes: i32::MAX as usize, deleted: false, ..LogConfig::default() };
    let name = TopicPartition::new(METADATA_TOPIC, 0);
    let log = log_dirs.metadata().open_quorum_log(name, Arc::new(log_config))?;
    remove_fetched(log.dir())?;
    let snapshots = snapshots_in(log.dir())?.into_iter().map(|(id, _)| id).collect();
    let election = load_election_state(log.dir())?;
    Ok((Arc::new(log_dirs), Metadata { log, election, snapshots }))
}

/// Where the config names controllers, has the node's folder be part of a cluster with them, and listens where they expect this
/// one, if it is one of them.
async fn form_cluster(
    config: &BrokerConfig,
    transport: &NodeTransport,
    authorizer: Option<Authorizer>,
) -> Result<(Option<VoterHistory>, Option<QuorumListener>), StartError> {
    if config.controllers.is_empty() {
        return Ok((None, None));
    }
    let own = config.controllers.iter().find(|controller| controller.id == config.node_id);
    let listener = match own {
        Some(own) => {
            let endpoint = Arc::new(controller_endpoint(config, own.port)?);
            let bound = QuorumListener::of(own, Entrance { endpoint, authorizer }).await;
            Some(bound.map_err(|source| StartError::ListenController {
                host: own.host.clone(),
                port: own.port,
                source,
            })?)
        }
        None => None,
    };
    let dir = config.log_dirs.metadata();
    let voters = join_cluster(dir, config.node_id, &config.controllers, listener.as_ref(), transport).await?;
    Ok((Some(voters), listener))
}

/// Takes part in the metadata quorum: that of the voters, or one of this node alone.
fn join_quorum(
    config: &BrokerConfig,
    log_dirs: &LogDirs,
    Metadata { log, election, snapshots }: Metadata,
    formed: Option<VoterHistory>,
    transport: NodeTransport,
) -> Result<QuorumHandle, StartError> {
    let dir = log_dirs.metadata();
    let me = ReplicaKey { id: config.node_id, directory: dir.directory_id };
    let formed = match formed {
        Some(formed) => formed,
        None => voters_alone(dir.path(), log.dir(), me)?,
    };
    let membership = Membership {
        config: QuorumSettings {
            bootstrap: config.controllers.iter().map(|controller| controller.id).collect(),
            ..config.quorum.config(me, rand::random())
        },
        formed,
        cluster_id: dir.cluster_id.clone(),
        addresses: config.controllers.clone(),
        transport,
    };
    Ok(quorum::start(log, membership, election, &snapshots)?)
}

/// Has the metadata log say in which log dir a partition is once it has moved. What cannot be recorded now is found out by
/// the next start.
async fn record_moves(mut moved: mpsc::UnboundedReceiver<Assignment>, controller: Controller) {
    while let Some(assignment) = moved.recv().await {
        let mut has_warned = false;
        // Until it is recorded the cluster thinks that the replica is where it was, and takes that dir for its own.
        while let Err(error) = controller.assign(assignment).await {
            if !std::mem::replace(&mut has_warned, true) {
                tracing::warn!(%error, "the log dir of a partition is not recorded yet");
            }
            if matches!(error, ControllerError::Stopped) {
                return;
            }
            tokio::time::sleep(ASSIGN_RETRY).await;
        }
    }
}

async fn save_checkpoints(log_dirs: Arc<LogDirs>) {
    let mut ticks = tokio::time::interval(RECOVERY_POINT_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let saving = log_dirs.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || saving.save_checkpoints()).await {
            // An old recovery point is a right one; the next tick tries again.
            tracing::warn!(%error, "recovery points were not saved");
        }
    }
}
