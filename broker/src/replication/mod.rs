//! How this node's followers come to have what their leaders have. `fetcher.rs` is the task that fetches from one other broker all
//! that it leads and this node follows; `session.rs` (pure) is what of it travels; `held.rs` (pure) what is not asked for while more was
//! fetched of throttled replicas than the broker's rate allows (KIP-73); `isr.rs` tells the controller who is in sync.
//! What becomes of the answers is each partition's owner's (`partition/following.rs`), and what it means is decided in `replica/`.
//!
//! A round is: ask from where every follower is, have all owners append, wait until their disks have it, ask again. So where a
//! follower fetches always says what it will not lose.

mod fetcher;
mod held;
mod isr;
mod session;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::controller::{
    ClusterImage, Controller, OFFSETS_TOPIC, TRANSACTIONS_TOPIC, ThrottleRates, TopicImage,
};
use crate::coordinator::{GroupCoordinator, TransactionCoordinator};
use crate::ids::{LeaderEpoch, NodeId, TopicPartition};
use crate::partition::{IsrWanted, Partitions};
use crate::quorum::NodeTransport;
use crate::quotas::ReplicationThrottles;
use fetcher::Fetcher;

/// How followers fetch, and when they count as too slow.
#[derive(Debug, Clone)]
pub struct ReplicationConfig {
    /// `replica.lag.time.max.ms`.
    pub lag_time_max: Duration,
    /// `replica.fetch.wait.max.ms`: how long a leader waits for news.
    pub fetch_wait_max: Duration,
    /// `replica.fetch.max.bytes`: of one partition.
    pub fetch_partition_bytes_max: i32,
    /// `replica.fetch.response.max.bytes`: of one answer.
    pub fetch_bytes_max: i32,
    /// `replica.fetch.backoff.ms`: after an error of a partition, or of the connection.
    pub fetch_backoff: Duration,
    /// `inter.broker.listener.name`: by which brokers reach each other; that of the first listener where it is not set.
    pub listener: Option<String>,
}

impl Default for ReplicationConfig {
    fn default() -> ReplicationConfig {
        ReplicationConfig {
            lag_time_max: Duration::from_secs(30),
            fetch_wait_max: Duration::from_millis(500),
            fetch_partition_bytes_max: 1 << 20,
            fetch_bytes_max: 10 << 20,
            fetch_backoff: Duration::from_millis(200),
            listener: None,
        }
    }
}

/// What the tasks work with.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub node_id: NodeId,
    pub controller: Controller,
    pub partitions: Arc<Partitions>,
    /// By which brokers reach each other.
    pub listener: Arc<str>,
    pub config: Arc<ReplicationConfig>,
    /// How much is replicated.
    pub throttles: Arc<ReplicationThrottles>,
    /// How they are reached there.
    pub transport: NodeTransport,
}

/// A partition that this node follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Followed {
    pub topic_id: Uuid,
    pub leader_epoch: LeaderEpoch,
}

/// What a fetcher is told.
#[derive(Debug)]
pub(crate) enum Change {
    /// Fetch this partition, in this epoch.
    Follow(TopicPartition, Followed),
    /// Fetch it no more.
    Leave(TopicPartition),
}

/// Keeps what is fetched, and which coordinators run, in line with the cluster, for as long as it is polled.
pub(crate) async fn follow_leaders(
    around: Surroundings,
    groups: GroupCoordinator,
    transactions: TransactionCoordinator,
) {
    let mut applied = around.controller.watch_applied();
    let mut leaders = Leaders::default();
    let (mut fetchers, mut tasks) = (BTreeMap::new(), JoinSet::new());
    loop {
        let image = around.controller.image();
        set_rates(&around, &image);
        let changed: Vec<Arc<TopicImage>> =
            leaders.changed(image.topics(), |name| image.topic(name).is_some());
        for topic in &changed {
            for (partition, change) in leaders.coordinators_of(topic, around.node_id) {
                match (topic.name.as_str(), change) {
                    (OFFSETS_TOPIC, Office::Changed { leads }) => groups.leader_changed(partition, leads),
                    // Groups are read when somebody asks for one.
                    (OFFSETS_TOPIC, Office::Found) => {}
                    (_, Office::Changed { leads }) => transactions.leader_changed(partition, leads),
                    // Transactions that were under way are to be ended, whether or not anybody asks.
                    (_, Office::Found) => transactions.load(partition),
                }
            }
        }
        for (leader, change) in leaders.take_changes(&changed, around.node_id) {
            let inbox = fetchers.entry(leader).or_insert_with(|| {
                let (changes, inbox) = mpsc::unbounded_channel();
                tasks.spawn(Fetcher::new(around.clone(), leader).run(inbox));
                changes
            });
            let _ = inbox.send(change);
        }
        if applied.changed().await.is_err() {
            return;
        }
    }
}

/// Goes by the rates that are set for this broker.
fn set_rates(around: &Surroundings, image: &ClusterImage) {
    let rates = ThrottleRates::of(image, around.node_id);
    around.throttles.leader.set_rate(rates.leader);
    around.throttles.follower.set_rate(rates.follower);
    around.partitions.move_throttle().set_rate(rates.log_dirs);
}

/// Tells the controller who is in sync, and looks who is not any more, for as long as it is polled.
pub(crate) async fn keep_isr(around: Surroundings, wanted: mpsc::UnboundedReceiver<IsrWanted>) {
    let lag_time_max = around.config.lag_time_max;
    let looking = async {
        let mut ticks = tokio::time::interval((lag_time_max / 2).max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            around.partitions.check_lag(lag_time_max);
        }
    };
    tokio::join!(looking, isr::propose(around.clone(), wanted));
}

/// What is new of the leader of an internal topic's partition.
enum Office {
    /// This node leads what was not known before, so nothing that runs is of an earlier leader's time.
    Found,
    /// Another leads, or this node in another epoch.
    Changed {
        /// It is this node.
        leads: bool,
    },
}

/// Who led what when it was last looked.
#[derive(Default)]
struct Leaders {
    topics: BTreeMap<String, Arc<TopicImage>>,
    /// What is fetched, and from whom.
    followed: BTreeMap<TopicPartition, (NodeId, Followed)>,
    /// Of the internal topics: the epoch of each partition's leader, and whether this node is it.
    coordinators: BTreeMap<TopicPartition, (LeaderEpoch, bool)>,
    gone: Vec<String>,
}

impl Leaders {
    /// The topics that are not as they were.
    fn changed<'a>(
        &mut self,
        now: impl Iterator<Item = &'a Arc<TopicImage>>,
        is_there: impl Fn(&str) -> bool,
    ) -> Vec<Arc<TopicImage>> {
        let mut changed = Vec::new();
        for topic in now {
            if self.topics.get(&topic.name).is_none_or(|known| !Arc::ptr_eq(known, topic)) {
                changed.push(topic.clone());
                self.topics.insert(topic.name.clone(), topic.clone());
            }
        }
        self.gone = self.topics.keys().filter(|name| !is_there(name)).cloned().collect();
        self.topics.retain(|name, _| is_there(name));
        changed
    }

    /// The partitions of an internal topic of whose leader something is new.
    fn coordinators_of(&mut self, topic: &TopicImage, me: NodeId) -> Vec<(i32, Office)> {
        if topic.name != OFFSETS_TOPIC && topic.name != TRANSACTIONS_TOPIC {
            return Vec::new();
        }
        let mut changed = Vec::new();
        for (number, partition) in (0i32..).zip(&topic.partitions) {
            let now = (partition.leader_epoch, partition.leader == Some(me));
            let name = TopicPartition::new(topic.name.clone(), number);
            match self.coordinators.insert(name, now) {
                Some(before) if before != now => changed.push((number, Office::Changed { leads: now.1 })),
                None if now.1 => changed.push((number, Office::Found)),
                Some(_) | None => {}
            }
        }
        changed
    }

    /// What is to be fetched otherwise than before, and from whom.
    fn take_changes(&mut self, changed: &[Arc<TopicImage>], me: NodeId) -> Vec<(NodeId, Change)> {
        let mut changes = Vec::new();
        let gone = std::mem::take(&mut self.gone);
        let left: Vec<TopicPartition> =
            self.followed.keys().filter(|name| gone.contains(&name.topic)).cloned().collect();
        for name in left {
            self.leave(name, &mut changes);
        }
        for topic in changed {
            for (number, partition) in (0i32..).zip(&topic.partitions) {
                let name = TopicPartition::new(topic.name.clone(), number);
                let leader =
                    partition.leader.filter(|leader| *leader != me && partition.replicas.contains(&me));
                let followed = Followed { topic_id: topic.id, leader_epoch: partition.leader_epoch };
                let wanted = leader.map(|leader| (leader, followed));
                if self.followed.get(&name) == wanted.as_ref() {
                    continue;
                }
                self.leave(name.clone(), &mut changes);
                if let Some((leader, followed)) = wanted {
                    self.followed.insert(name.clone(), (leader, followed));
                    changes.push((leader, Change::Follow(name, followed)));
                }
            }
        }
        changes
    }

    fn leave(&mut self, name: TopicPartition, changes: &mut Vec<(NodeId, Change)>) {
        if let Some((leader, _)) = self.followed.remove(&name) {
            changes.push((leader, Change::Leave(name)));
        }
    }
}
