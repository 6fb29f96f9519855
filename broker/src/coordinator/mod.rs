//! The runtime of coordinators: a shard per partition of an internal topic, each owned by one task that is started by
//! the first request for it.
//!
//! It owns tasks, timers and the order of replies; what is decided is decided by the machine (`machine.rs`), which is
//! `groups/` for `__consumer_offsets` and `transactions/` for `__transaction_state`. It knows the log only through
//! [`CoordinatorLog`] and topics only through [`TopicLookup`].
//!
//! ```text
//!   handler ── api/k11_join_group ──▶ shard's task ── decide, apply ──▶ records ──▶ outbox ──▶ CoordinatorLog
//!      ▲                                                replies ──▶ parked ◀── durable ──────────┘
//!      └──────────────────────────────────────────────────────────────┘
//! ```

mod api;
mod clock;
mod group_coordinator;
mod group_machine;
mod log;
mod machine;
mod outbox;
mod parked;
mod replay;
mod shard;
mod shards;
mod task;
#[cfg(test)]
mod tests;
mod transaction_coordinator;
mod transaction_machine;

use std::time::Duration;

use ottla_protocol::{Str, Uuid};

use crate::groups::Topics;

pub use api::Caller;
pub use group_coordinator::{GroupCoordinator, Verification};
pub use log::{CoordinatorLog, LogError, LogSlice};
pub use transaction_coordinator::{ProducerIds, TransactionCoordinator, WriteMarkers};

/// Settings of the runtime, with `C` for its machines.
#[derive(Clone, Debug)]
pub struct CoordinatorConfig<C> {
    /// Of the internal topic. Must not change once the topic exists.
    pub partitions: i32,
    /// Limits and delays of what is coordinated.
    pub machine: C,
    /// The largest batch that is appended, in bytes; one record may be larger alone.
    pub batch_bytes_max: usize,
    /// How long a request waits for its shard to load before it is told `COORDINATOR_LOAD_IN_PROGRESS`. A small
    /// partition loads in less, and a client that is turned away waits far longer before it asks again.
    pub load_patience: Duration,
}

impl<C: Default> Default for CoordinatorConfig<C> {
    fn default() -> CoordinatorConfig<C> {
        CoordinatorConfig {
            partitions: 50,
            machine: C::default(),
            batch_bytes_max: 1 << 20,
            load_patience: Duration::from_millis(200),
        }
    }
}

/// What a coordinator asks about topics.
pub trait TopicLookup: Send + Sync {
    /// The id of the topic of this name.
    fn topic_id(&self, name: &str) -> Option<Uuid>;
    /// The name of the topic with this id.
    fn topic_name(&self, id: Uuid) -> Option<Str>;
    /// Whether the topic is there and has the partition.
    fn has_partition(&self, name: &str, partition: i32) -> bool;
    /// All topics at this moment.
    fn catalog(&self) -> Topics;
    /// How long members of a group of the consumer protocol may be silent, and how often they are to come: the group's
    /// own configs, or the broker's.
    fn consumer_timeouts(&self, group: &str) -> ConsumerTimeouts;
}

/// See [`TopicLookup::consumer_timeouts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerTimeouts {
    /// `consumer.session.timeout.ms`.
    pub session: Duration,
    /// `consumer.heartbeat.interval.ms`.
    pub heartbeat_interval: Duration,
}

impl Default for ConsumerTimeouts {
    fn default() -> ConsumerTimeouts {
        ConsumerTimeouts { session: Duration::from_secs(45), heartbeat_interval: Duration::from_secs(5) }
    }
}
