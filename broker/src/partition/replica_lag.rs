//! How far followers are behind, as their leaders know.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::owner::Owner;
use super::registry::Partitions;
use crate::ids::{NodeId, TopicPartition};
use crate::replica::Replica;

/// How far one follower is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaLag {
    /// Of which partition.
    pub name: TopicPartition,
    /// The broker that follows.
    pub replica: NodeId,
    /// The leader has so many records that the follower has not: all that it has, of one that has not fetched since the leader was elected.
    pub records: i64,
}

impl Partitions {
    /// How far the followers of all open leaders are behind, as far as the leaders say so within this time. Blocking.
    pub fn replica_lags(&self, within: Duration) -> Vec<ReplicaLag> {
        let (reply, answers) = mpsc::channel();
        self.of_open_leaders(|name, partition| partition.tell_lags(TellLags { name, reply: reply.clone() }));
        drop(reply);
        let until = Instant::now() + within;
        let next = || answers.recv_timeout(until.saturating_duration_since(Instant::now())).ok();
        std::iter::from_fn(next).collect()
    }
}

/// Who asks a leader, and by which name.
pub(super) struct TellLags {
    name: TopicPartition,
    reply: mpsc::Sender<ReplicaLag>,
}

impl Owner {
    pub(super) fn on_tell_lags(&self, wanted: &TellLags) {
        let (Replica::Leads(leader), Some(log)) = (&self.replica, &self.log) else { return };
        let all = log.log_end().0 - log.log_start().0;
        for (replica, lag) in leader.lags() {
            let lag = ReplicaLag { name: wanted.name.clone(), replica, records: lag.unwrap_or(all) };
            // Whoever asked may have gone.
            let _ = wanted.reply.send(lag);
        }
    }
}
