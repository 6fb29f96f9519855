//! The controller: what the cluster is made of, decided in one place. This is ZooKeeper's job, done inside.
//!
//! Topics, partitions, configs, producer ids, access control entries, credentials and quotas are an image that only changes by records of the metadata log
//! (`__cluster_metadata-0`, Kafka's record format, KIP-631). Deciding is pure: `decide_*` in `topics.rs` and
//! `producer_ids.rs` turn a request and the image into records and a reply and change nothing;
//! [`ClusterImage::apply`] is the only mutator; recovery is `apply` from the log. `runtime.rs` owns the log and the
//! order of requests, and has the image follow what the quorum (`quorum/`) has committed.
//!
//! Snapshots of the image bound what a start reads (`snapshot.rs`).
//!
//! Architecture invariant: no file, socket, clock or task outside `runtime.rs`, `replay.rs` and the snapshots' files.

mod acls;
mod alter_configs;
pub(crate) mod alter_partition_wire;
mod alter_partitions;
mod assign;
mod assign_wire;
mod brokers;
mod bugs;
mod client_metrics;
mod client_quotas;
mod configs;
mod elections;
mod error;
mod features;
mod group_configs;
mod image;
mod kafka_broker_configs;
mod partition_change;
mod placement;
mod producer_ids;
mod reassignments;
mod records;
mod replay;
mod replica_placement;
#[cfg(test)]
mod replication_model;
mod runtime;
mod scram_credentials;
mod sessions;
mod snapshot;
mod snapshots;
mod takeover;
mod throttle_configs;
mod topic_configs;
mod topics;

pub use alter_configs::{AlterConfigs, ConfigEdit};
pub use alter_partitions::{AlterPartitions, IsrAnswers, IsrChange};
pub(crate) use brokers::leads_something;
pub use brokers::{BrokerEndpoint, BrokerImage, Brokers, Registration};
pub use client_metrics::{ClientSubscription, client_metrics_configs};
pub use client_quotas::{AlterQuotas, ClientQuotas, EntityName, QuotaEntity};
pub use configs::{ConfigLayer, ConfigSource, ConfigType, ConfigValue, Configs};
pub(crate) use configs::{Definition, Rule, define};
pub use elections::{ElectLeader, ElectionType};
pub use error::ControllerError;
pub(crate) use features::supported as supported_features;
pub use features::{FEATURES, Feature, GROUP_VERSION, SupportedFeature, UpdateFeature, UpgradeType};
pub use group_configs::{GroupLimits, HEARTBEAT_INTERVAL_MS, SESSION_TIMEOUT_MS, group_configs};
pub use image::{ClusterImage, PartitionImage, ResourceType, TopicImage};
pub(crate) use kafka_broker_configs::{WITHOUT_MEANING, why_without_meaning};
pub use placement::Placement;
pub use producer_ids::ProducerIdBlock;
pub use reassignments::Reassign;
pub use records::{MetadataRecord, RecordError};
pub(crate) use runtime::look_for_the_gone;
pub use runtime::{Controller, ControllerTiming, GrowTopic, Heartbeat, HeartbeatAnswer};
pub use scram_credentials::{AlterScram, ScramCredentials, ScramEdit};
pub(crate) use snapshot::{SnapshotId, remove_fetched, snapshots_in};
pub use snapshots::SnapshotRules;
pub use takeover::OtherNodes;
pub(crate) use throttle_configs::rate_definition;
pub use throttle_configs::{ThrottleRates, ThrottledReplicas, ThrottledRole};
pub(crate) use topic_configs::{
    COARSER, broker_names_of_topic_configs, definition_of_broker, topic_defaults,
};
pub use topic_configs::{TopicConfigs, dynamic_broker_configs};
pub use topics::{CreateTopic, CreatedTopic, Refusal, TopicRef, TopicRules, is_internal};

/// The topic that holds the metadata log.
pub const METADATA_TOPIC: &str = "__cluster_metadata";
/// The topic that holds what clients push of their metrics (KIP-714).
pub const CLIENT_METRICS_TOPIC: &str = "__client_metrics";
/// The topic that holds groups and their committed offsets.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// The topic in which Kafka keeps the state of transactions; an adopted data directory may have it.
pub const TRANSACTIONS_TOPIC: &str = "__transaction_state";

/// What decides about replicas, for the simulation of them (`replica/simulation/`).
#[cfg(test)]
pub(crate) mod simulated {
    pub(crate) use super::alter_partitions::decide_alter_partitions;
    pub(crate) use super::brokers::{
        decide_controlled_shutdown, decide_fence, decide_register, decide_unfence,
    };
    pub(crate) use super::bugs::{Bug, PartitionRules};
}
