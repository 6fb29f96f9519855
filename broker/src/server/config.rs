//! How a broker runs.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::replica_selector::ReplicaSelector;
use crate::controller::SnapshotRules;
use crate::controller::{Configs, topic_defaults};
use crate::groups::MigrationPolicy;
use crate::groups::consumer::assignor::Assignor;
use crate::ids::NodeId;
use crate::partition::{HousekeepingConfig, LogDirPaths};
use crate::quorum::{PeerAddress, QuorumTimeouts};
use crate::quotas::Windows;
use crate::replication::ReplicationConfig;
use crate::transactions::TransactionConfig;

/// `group.consumer.*` (KIP-848).
#[derive(Debug, Clone)]
pub struct ConsumerGroupSettings {
    /// `session.timeout.ms`, of groups that have none of their own.
    pub session_timeout_ms: u64,
    /// `min.session.timeout.ms` and `max.session.timeout.ms`: what a group's own is held within.
    pub session_timeout_ms_range: (u64, u64),
    /// `heartbeat.interval.ms`, of groups that have none of their own.
    pub heartbeat_interval_ms: u64,
    /// `min.heartbeat.interval.ms` and `max.heartbeat.interval.ms`: what a group's own is held within.
    pub heartbeat_interval_ms_range: (u64, u64),
    /// `max.size`.
    pub size_max: usize,
    /// `assignors`: the first is the default.
    pub assignors: Vec<Assignor>,
    /// `migration.policy`.
    pub migration_policy: MigrationPolicy,
}

impl Default for ConsumerGroupSettings {
    fn default() -> ConsumerGroupSettings {
        ConsumerGroupSettings {
            session_timeout_ms: 45_000,
            session_timeout_ms_range: (45_000, 60_000),
            heartbeat_interval_ms: 5_000,
            heartbeat_interval_ms_range: (5_000, 15_000),
            size_max: i32::MAX as usize,
            assignors: vec![Assignor::Uniform, Assignor::Range],
            migration_policy: MigrationPolicy::Bidirectional,
        }
    }
}

/// What a node of a cluster does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// It keeps records and serves clients.
    pub broker: bool,
    /// It votes about the metadata, and decides while it is elected.
    pub controller: bool,
}

/// How a broker runs. Names are Kafka's, with dots as underscores.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// `node.id`.
    pub node_id: NodeId,
    /// `process.roles`.
    pub roles: Roles,
    /// `log.dirs` and `metadata.log.dir`: where the data is.
    pub log_dirs: LogDirPaths,
    /// Where to listen in plaintext, while no `listeners` are set; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The host that clients of the first listener are told, its address by default.
    pub advertised_host: Option<String>,
    /// The port that clients of the first listener are told, its own by default.
    pub advertised_port: Option<u16>,
    /// `num.partitions`: of topics that are made without a number.
    pub num_partitions: i32,
    /// `default.replication.factor`: of topics that are made without a number. Where it is not set, three replicas, or as many as there
    /// are brokers.
    pub default_replication_factor: Option<i16>,
    /// How followers fetch, and when they count as too slow.
    pub replication: ReplicationConfig,
    /// `auto.create.topics.enable`: a topic is made on first use.
    pub auto_create_topics: bool,
    /// `delete.topic.enable`.
    pub delete_topics: bool,
    /// `offsets.topic.num.partitions`.
    pub offsets_topic_partitions: i32,
    /// `offsets.topic.replication.factor`; where it is not set, as of other topics.
    pub offsets_topic_replication_factor: Option<i16>,
    /// `transaction.state.log.replication.factor`; where it is not set, as of other topics.
    pub transaction_topic_replication_factor: Option<i16>,
    /// `transaction.state.log.min.isr`; where it is not set, as of other topics.
    pub transaction_topic_min_isr: Option<i32>,
    /// `transaction.state.log.num.partitions`.
    pub transaction_topic_partitions: i32,
    /// Limits and delays of transactions.
    pub transactions: TransactionConfig,
    /// `group.initial.rebalance.delay.ms`.
    pub group_initial_rebalance_delay_ms: i32,
    /// `group.min.session.timeout.ms`.
    pub group_session_timeout_ms_min: u64,
    /// `group.max.session.timeout.ms`.
    pub group_session_timeout_ms_max: u64,
    /// `group.max.size`.
    pub group_size_max: usize,
    /// Of groups of the consumer protocol.
    pub consumer_groups: ConsumerGroupSettings,
    /// `offsets.retention.minutes`.
    pub offsets_retention_minutes: u64,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval_ms: u64,
    /// `offset.metadata.max.bytes`.
    pub offset_metadata_bytes_max: usize,
    /// `socket.request.max.bytes`.
    pub request_bytes_max: usize,
    /// `queued.max.request.bytes`: of all connections together.
    pub queued_request_bytes_max: usize,
    /// `fetch.max.bytes`: of one answer.
    pub fetch_bytes_max: usize,
    /// `max.incremental.fetch.session.cache.slots`.
    pub fetch_sessions_max: usize,
    /// `connections.max.idle.ms`.
    pub connection_idle_ms_max: u64,
    /// `max.connections`: further ones wait to be accepted.
    pub connections_max: usize,
    /// `max.connection.creation.rate`: what comes faster waits to be accepted.
    pub connection_creation_rate_max: u32,
    /// `max.connections.per.ip`: further ones are closed.
    pub connections_per_ip_max: usize,
    /// `ottla.coordinator.skip.damaged.records`: coordinators go on without the records of their logs that a disk has
    /// damaged, which an operator must want; else the groups or transactions of such a partition are not served.
    pub skip_damaged_records: bool,
    /// `max.connections.per.ip.overrides`: of these addresses.
    pub connections_per_ip_overrides: BTreeMap<IpAddr, usize>,
    /// `quota.window.num` and `quota.window.size.seconds`.
    pub quota_windows: Windows,
    /// Retention, compaction and what is forgotten.
    pub housekeeping: HousekeepingConfig,
    /// When the metadata gets a snapshot.
    pub snapshots: SnapshotRules,
    /// The controllers of the cluster, which vote about its metadata; none where this node is a cluster by itself. A node whose id
    /// is among them is one of them.
    pub controllers: Vec<PeerAddress>,
    /// `broker.rack`: where the node stands; replicas of a partition are put on different racks.
    pub rack: Option<String>,
    /// `replica.selector.class`: where consumers are sent to read; to leaders where it is not set.
    pub replica_selector: Option<ReplicaSelector>,
    /// `broker.session.timeout.ms`: how long a broker of a cluster may be silent, milliseconds.
    pub broker_session_timeout_ms: u64,
    /// `auto.leader.rebalance.enable`: leaderships go back to preferred leaders that are in sync again.
    pub auto_leader_rebalance: bool,
    /// `leader.imbalance.check.interval.seconds`: how often.
    pub leader_imbalance_check_interval: Duration,
    /// `broker.heartbeat.interval.ms`: how often one says that it is there, milliseconds.
    pub broker_heartbeat_interval_ms: u64,
    /// `request.timeout.ms`: how long another node is waited for, and looked for while it is not known which, milliseconds.
    pub request_timeout_ms: u64,
    /// `controller.quorum.*`: how long members of the metadata quorum wait for each other.
    pub quorum: QuorumTimeouts,
    /// What was [set](BrokerConfig::set) by name, as text.
    pub set: Configs,
}

impl BrokerConfig {
    /// The defaults, with the data in `data_dir`, listening on a free port of the loopback address.
    pub fn new(data_dir: impl Into<PathBuf>) -> BrokerConfig {
        BrokerConfig {
            node_id: NodeId(1),
            roles: Roles { broker: true, controller: true },
            log_dirs: LogDirPaths { log_dirs: vec![data_dir.into()], metadata_log_dir: None },
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertised_host: None,
            advertised_port: None,
            num_partitions: 1,
            default_replication_factor: None,
            replication: ReplicationConfig::default(),
            auto_create_topics: true,
            delete_topics: true,
            offsets_topic_partitions: 50,
            offsets_topic_replication_factor: None,
            transaction_topic_replication_factor: None,
            transaction_topic_min_isr: None,
            transaction_topic_partitions: 50,
            transactions: TransactionConfig::default(),
            // The reason for the difference to Kafka's three seconds is at `GroupConfig::initial_rebalance_delay`.
            group_initial_rebalance_delay_ms: 100,
            group_session_timeout_ms_min: 6_000,
            group_session_timeout_ms_max: 1_800_000,
            group_size_max: i32::MAX as usize,
            consumer_groups: ConsumerGroupSettings::default(),
            offsets_retention_minutes: 7 * 24 * 60,
            offsets_retention_check_interval_ms: 600_000,
            offset_metadata_bytes_max: 4096,
            request_bytes_max: 100 << 20,
            queued_request_bytes_max: 512 << 20,
            fetch_bytes_max: 55 << 20,
            fetch_sessions_max: 1000,
            connection_idle_ms_max: 600_000,
            connections_max: i32::MAX as usize,
            connection_creation_rate_max: i32::MAX as u32,
            connections_per_ip_max: i32::MAX as usize,
            skip_damaged_records: false,
            connections_per_ip_overrides: BTreeMap::new(),
            quota_windows: Windows::default(),
            housekeeping: HousekeepingConfig::default(),
            snapshots: SnapshotRules::default(),
            controllers: Vec::new(),
            rack: None,
            replica_selector: None,
            broker_session_timeout_ms: 9_000,
            auto_leader_rebalance: true,
            leader_imbalance_check_interval: Duration::from_secs(300),
            broker_heartbeat_interval_ms: 2_000,
            request_timeout_ms: 30_000,
            quorum: QuorumTimeouts::default(),
            set: Configs::new(),
        }
    }

    /// Whether what the node does goes together with where its cluster's controllers are.
    ///
    /// # Errors
    /// What does not, and what to do.
    pub fn check_roles(&self) -> Result<(), String> {
        let (id, Roles { broker, controller }) = (self.node_id, self.roles);
        let mut ids: Vec<NodeId> = self.controllers.iter().map(|controller| controller.id).collect();
        ids.sort();
        if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("--controllers names node {} twice", twice[0]));
        }
        let is_named = ids.contains(&id);
        match (broker, controller) {
            (false, false) => {
                Err("--roles: a node is a broker, a controller or both; name at least one".to_owned())
            }
            (true, true) if ids.is_empty() => Ok(()),
            _ if ids.is_empty() => Err(
                "--roles: a node that does not do both, broker and controller, needs others; say with --controllers where the \
                 controllers are, as 1@HOST:PORT,2@…"
                    .to_owned(),
            ),
            (_, true) if !is_named => Err(format!(
                "--roles has controller, but --controllers does not name node {id}: add {id}@HOST:PORT there on every node, or \
                 leave controller out of --roles"
            )),
            (_, false) if is_named => Err(format!(
                "--controllers names node {id}, so its --roles must have controller: add it, or give the node another --node-id"
            )),
            _ => Ok(()),
        }
    }

    /// The defaults of topics that were set, by the names that brokers have for them.
    pub fn topic_defaults(&self) -> Configs {
        topic_defaults(&self.set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_must_go_together_with_the_controllers() {
        let check = |broker, controller, ids: &[i32]| {
            let mut config = BrokerConfig::new("data");
            config.roles = Roles { broker, controller };
            let address = |id: &i32| PeerAddress { id: NodeId(*id), host: "h".to_owned(), port: 1 };
            config.controllers = ids.iter().map(address).collect();
            config.check_roles().err().unwrap_or_default()
        };
        for (broker, controller, ids) in
            [(true, true, &[][..]), (true, true, &[1, 2, 3]), (false, true, &[1]), (true, false, &[2])]
        {
            assert_eq!(check(broker, controller, ids), "");
        }
        for (broker, controller, ids, expected) in [
            (false, false, &[1][..], "at least one"),
            (true, false, &[], "where the controllers are"),
            (false, true, &[], "where the controllers are"),
            (true, true, &[2, 3], "does not name node 1"),
            (true, false, &[1, 2], "must have controller"),
            (true, true, &[1, 2, 2], "names node 2 twice"),
        ] {
            let why = check(broker, controller, ids);
            assert!(why.contains(expected), "{broker} {controller} {ids:?}: {why}");
        }
    }
}
