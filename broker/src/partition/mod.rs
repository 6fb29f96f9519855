//! A partition at work: one owner task per partition around its log and its leader state, and the group commit that
//! all partitions of a log dir share.
//!
//! A produce request goes `Partition::append` → the owner's queue → one vectored write for all that waited →
//! [`Committer`] → `Synced` → the leader's parked answers. Readers go to the log directly, below the high watermark.

mod appending;
mod committer;
mod following;
mod handle;
mod housekeeping;
mod log_dir;
mod log_dir_error;
mod log_dirs;
mod meta_properties;
mod moving;
mod owner;
mod points;
mod published;
mod quorum_log;
mod readers;
mod refusals;
mod registry;
mod replica_lag;
mod slot;
mod unverified;

pub use committer::Committer;
pub use following::{FetchAnswer, NotFollowing};
pub use handle::{Acks, AppendError, Appended, Leadership, OutOfRange, Partition};
pub use housekeeping::{HousekeepingConfig, keep_houses};
pub use log_dir::{LogDir, space_of};
pub use log_dir_error::LogDirError;
pub use log_dirs::{Assignment, LogDirPaths, LogDirs, OfflineDir};

pub use moving::{MoveRefusal, MovingReplica};
#[cfg(test)]
pub(crate) use readers::{Event, Readers};
pub use readers::{News, UpTo};
pub use registry::{OpenPartition, Partitions, RemovedPartition};
pub use replica_lag::ReplicaLag;
pub use slot::PartitionState;
pub use unverified::Verify;

pub use quorum_log::{QuorumLog, whole_batches};

pub(crate) use handle::now_ms;
pub(crate) use meta_properties::{Identity, kafka_uuid, parse_kafka_uuid};
pub(crate) use registry::off_the_runtime;

use std::sync::Arc;

use tokio::sync::mpsc;
use uuid::Uuid;

use crate::ids::TopicPartition;
use crate::replica::{LeaderAndIsr, Proposal};

/// A leader's wish about who is in sync, for the controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsrWanted {
    /// Of which partition.
    pub name: TopicPartition,
    /// Of its topic.
    pub topic_id: Uuid,
    /// The wish.
    pub proposal: Proposal,
}

/// What the owner of a partition must know of the cluster when it begins.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    pub topic_id: Uuid,
    pub assignment: Arc<LeaderAndIsr>,
    /// Where wishes go.
    pub proposals: mpsc::UnboundedSender<IsrWanted>,
}

#[cfg(test)]
impl Opening {
    /// Of the only replica.
    pub fn of_test() -> Opening {
        let assignment = LeaderAndIsr::alone(crate::ids::NodeId(1), crate::ids::LeaderEpoch(0));
        Opening {
            topic_id: Uuid::nil(),
            assignment: Arc::new(assignment),
            proposals: mpsc::unbounded_channel().0,
        }
    }
}
