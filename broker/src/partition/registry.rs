//! The partitions that are open on this node, kept in line with the cluster's image.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::IsrWanted;
use super::handle::Partition;
use super::log_dir_error::LogDirError;
use super::log_dirs::{Assignment, LOST, LogDirs};
use super::moving::Moves;
use super::slot::{PartitionState, Slot};
use crate::controller::{ClusterImage, METADATA_TOPIC, PartitionImage, ResourceType, TopicImage};
use crate::ids::TopicPartition;
use crate::log::{LogConfig, LogError};
use crate::replica::{LeaderAndIsr, NodeRun};

struct OpenTopic {
    id: Uuid,
    acks_all_is_durable: bool,
    config: Arc<LogConfig>,
    slots: Vec<Arc<Slot>>,
}

/// A partition that went with its topic and whose files must go.
pub struct RemovedPartition {
    name: TopicPartition,
    slot: Arc<Slot>,
}

impl RemovedPartition {
    /// The name of its topic.
    pub fn topic(&self) -> &str {
        &self.name.topic
    }
}

/// A partition with what its topic's config says about answering producers.
#[derive(Clone)]
pub struct OpenPartition {
    /// The partition.
    pub partition: Partition,
    /// `acks=all` waits for the disk.
    pub acks_all_is_durable: bool,
    /// Who leads it, and who is in sync.
    pub leader_and_isr: Arc<LeaderAndIsr>,
}

/// Partitions that are opened at the same time: most of an opening is waiting for the disk.
const PARALLEL_OPENS_MAX: usize = 8;

/// All partitions of this node; most of them may be asleep.
pub struct Partitions {
    log_dirs: Arc<LogDirs>,
    node: NodeRun,
    topics: RwLock<Topics>,
    pub(super) moves: Moves,
    /// What leaders want of the controller.
    proposals: mpsc::UnboundedSender<IsrWanted>,
}

#[derive(Default)]
struct Topics {
    by_name: HashMap<String, OpenTopic>,
    /// The broker stops: nothing opens any more.
    closed: bool,
}

impl Partitions {
    /// None yet. What leaders want of the controller goes to `proposals`.
    pub fn new(
        log_dirs: Arc<LogDirs>,
        node: NodeRun,
        proposals: mpsc::UnboundedSender<IsrWanted>,
    ) -> Partitions {
        Partitions { log_dirs, node, topics: RwLock::default(), moves: Moves::default(), proposals }
    }

    /// Where they are kept.
    pub fn log_dirs(&self) -> &Arc<LogDirs> {
        &self.log_dirs
    }

    fn topics(&self) -> RwLockReadGuard<'_, Topics> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn topics_mut(&self) -> RwLockWriteGuard<'_, Topics> {
        self.topics.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A partition that can be served. One that is asleep is opened, which may wait for the disk.
    pub fn get(&self, topic: &str, partition: i32) -> Option<OpenPartition> {
        let (slot, acks_all_is_durable) = {
            let topics = self.topics();
            let topic = topics.by_name.get(topic)?;
            let slot = topic.slots.get(usize::try_from(partition).ok()?)?;
            if let Some(open) = slot.open() {
                let acks_all_is_durable = topic.acks_all_is_durable;
                let leader_and_isr = slot.leader_and_isr();
                return Some(OpenPartition { partition: open.clone(), acks_all_is_durable, leader_and_isr });
            }
            (slot.clone(), topic.acks_all_is_durable)
        };
        if slot.is_offline() {
            return None;
        }
        let partition = off_the_runtime(|| self.wake(&slot, TopicPartition::new(topic, partition)))?;
        Some(OpenPartition { partition, acks_all_is_durable, leader_and_isr: slot.leader_and_isr() })
    }

    /// Whether a partition is open, or asleep and not known to be beyond service.
    pub fn is_served(&self, topic: &str, partition: i32) -> bool {
        let topics = self.topics();
        let slots = topics.by_name.get(topic).map(|topic| &topic.slots);
        let slot = slots.and_then(|slots| slots.get(usize::try_from(partition).ok()?));
        slot.is_some_and(|slot| slot.is_asleep() || slot.open().is_some_and(|open| !open.is_closed()))
    }

    /// The first partition of a topic that this node should keep and cannot.
    pub fn first_offline(&self, topic: &str) -> Option<i32> {
        let topics = self.topics();
        let is_offline =
            |slot: &Arc<Slot>| slot.is_offline() && slot.leader_and_isr().replicas.contains(&self.node.id);
        let number = topics.by_name.get(topic)?.slots.iter().position(is_offline)?;
        i32::try_from(number).ok()
    }

    /// Opens a partition that is asleep. `None` when it cannot be served.
    fn wake(&self, slot: &Slot, name: TopicPartition) -> Option<Partition> {
        let config = self.topics().by_name.get(&name.topic)?.config.clone();
        let woken = slot.wake(name.clone(), &config).unwrap_or_else(|error| {
            tracing::error!(partition = %name, %error, "a partition is offline");
            None
        })?;
        // The config may have changed while the partition was not yet there to be told.
        if let Some(topic) = self.topics().by_name.get(&name.topic)
            && !Arc::ptr_eq(&topic.config, &config)
        {
            woken.configure(topic.config.clone());
        }
        Some(woken)
    }

    /// The place of a partition.
    pub(super) fn slot(&self, name: &TopicPartition) -> Option<Arc<Slot>> {
        let number = usize::try_from(name.partition).ok()?;
        self.topics().by_name.get(&name.topic)?.slots.get(number).cloned()
    }

    fn slots(&self) -> Vec<(TopicPartition, Arc<LogConfig>, Arc<Slot>)> {
        let topics = self.topics();
        let of_topic = |(name, topic): (&String, &OpenTopic)| {
            let (name, config) = (name.clone(), topic.config.clone());
            let slots = topic.slots.clone().into_iter().enumerate();
            slots.map(move |(number, slot)| {
                (TopicPartition::new(name.clone(), number as i32), config.clone(), slot)
            })
        };
        let mut slots: Vec<_> = topics.by_name.iter().flat_map(of_topic).collect();
        drop(topics);
        slots.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        slots
    }

    /// Has the leaders that are open see which followers had not everything for so long.
    pub fn check_lag(&self, lag_max: Duration) {
        self.of_open_leaders(|_, partition| partition.check_lag(lag_max));
    }

    /// Leaders that have followers and are not asleep.
    pub(super) fn of_open_leaders(&self, tell: impl Fn(TopicPartition, &Partition)) {
        for (name, _, slot) in self.slots() {
            let assignment = slot.leader_and_isr();
            if assignment.leads()
                && !assignment.is_alone()
                && let Some(partition) = slot.open()
            {
                tell(name, partition);
            }
        }
    }

    /// Every partition that can be served, by name, without waking any. Blocking.
    pub fn states(&self) -> Vec<PartitionState> {
        self.slots().into_iter().filter_map(|(name, _, slot)| slot.state(|| name)).collect()
    }

    /// As [`states`](Partitions::states), of one.
    pub fn state(&self, topic: &str, partition: i32) -> Option<PartitionState> {
        let name = TopicPartition::new(topic, partition);
        self.slot(&name)?.state(|| name)
    }

    /// Has every owner look for what retention and compaction have to do, by a clock in milliseconds since the epoch.
    /// Blocking: of sleeping partitions those are woken for which something is due.
    pub fn keep_houses(&self, now_ms: i64, only_compacted: bool) {
        for (name, config, slot) in self.slots() {
            if only_compacted && !config.compacted {
                continue;
            }
            if slot.is_asleep() && !slot.is_due(|| name.clone(), &config, now_ms) {
                continue;
            }
            let open = slot.open().cloned().or_else(|| self.wake(&slot, name));
            if let Some(partition) = open {
                partition.keep_house(now_ms);
            }
        }
    }

    /// Closes every partition for good. Gives the ids of the log dirs in which one was offline: its files are as a crash
    /// left them.
    pub async fn close(&self) -> Result<BTreeSet<Uuid>, LogError> {
        self.moves.stop().await;
        let topics = {
            let mut topics = self.topics_mut();
            topics.closed = true;
            std::mem::take(&mut topics.by_name)
        };
        let slots: Vec<Arc<Slot>> = topics.into_values().flat_map(|topic| topic.slots).collect();
        let offline = slots.iter().filter(|slot| slot.is_offline()).filter_map(|slot| slot.dir());
        let unclean = offline.map(|dir| dir.directory_id).collect();
        // One that fails must not keep the others from being closed.
        let closed = join_all(slots.iter().filter_map(|slot| slot.open()).map(Partition::close)).await;
        closed.into_iter().collect::<Result<Vec<()>, LogError>>().map(|_| unclean)
    }

    /// The partitions of which the image does not say where they are, see [`LogDirs::misplaced`]. Blocking; before
    /// [`open_all`](Partitions::open_all).
    pub fn misplaced(&self, image: &ClusterImage) -> Result<Vec<Assignment>, LogDirError> {
        self.log_dirs.misplaced(image, self.node.id)
    }

    /// Opens everything that the image names; blocking. A partition whose files are beyond recovery stays offline
    /// and is named in the log: the rest of the node serves.
    pub fn open_all(&self, image: &ClusterImage) -> Result<(), LogError> {
        if !self.is_all_in(image) {
            self.follow(&ClusterImage::default(), image);
            return Ok(());
        }
        self.remove_leftovers(image)?;
        self.follow(&ClusterImage::default(), image);
        self.forget_unknown(image)
    }

    /// Whether an image names every partition that this node keeps. When a node of a cluster starts it has not heard yet what was
    /// decided, or what of it has come to be.
    pub fn is_all_in(&self, image: &ClusterImage) -> bool {
        self.node.may_lead(image)
    }

    /// Removes, and forgets, what belongs to no partition of an image that names them all. Blocking.
    pub fn tidy(&self, image: &ClusterImage) -> Result<(), LogError> {
        self.remove_leftovers(image)?;
        self.forget_unknown(image)
    }

    /// Removes what was on its way out at the last stop, but for what is all that is left of a partition.
    fn remove_leftovers(&self, image: &ClusterImage) -> Result<(), LogError> {
        let is_lost = |name: &TopicPartition| {
            let number = usize::try_from(name.partition).unwrap_or(usize::MAX);
            let partition = image.topic(&name.topic).and_then(|topic| topic.partitions.get(number));
            partition.is_some_and(|partition| partition.directory_of(self.node.id) == Some(LOST))
        };
        self.log_dirs.online().iter().try_for_each(|dir| dir.remove_leftovers(is_lost))
    }

    fn forget_unknown(&self, image: &ClusterImage) -> Result<(), LogError> {
        let is_known = |name: &TopicPartition| {
            let count = image.topic(&name.topic).map_or(0, |topic| topic.partitions.len());
            name.topic == METADATA_TOPIC || usize::try_from(name.partition).is_ok_and(|number| number < count)
        };
        self.log_dirs.keep_checkpoints(is_known)?;
        for dir in self.log_dirs.online() {
            for name in dir.partitions_on_disk()?.iter().filter(|name| !is_known(name)) {
                let path = dir.path().join(name.to_string());
                tracing::warn!(path = %path.display(), "a folder belongs to no known partition and is left alone");
            }
        }
        Ok(())
    }

    /// Takes away the partitions of topics that are not there any more; whoever holds them goes on with files that
    /// [`delete`](Partitions::delete) removes.
    pub fn take_gone(&self, before: &ClusterImage, after: &ClusterImage) -> Vec<RemovedPartition> {
        let mut gone = Vec::new();
        for topic in before.topics() {
            if after.topic(&topic.name).is_none_or(|now| now.id != topic.id)
                && let Some(closed) = self.topics_mut().by_name.remove(&topic.name)
            {
                let slots = closed.slots.into_iter().enumerate();
                gone.extend(slots.map(|(number, slot)| RemovedPartition {
                    name: TopicPartition::new(topic.name.clone(), number as i32),
                    slot,
                }));
            }
        }
        gone
    }

    /// Opens what came, and gives what this node keeps no more of topics that are still there; blocking. A partition that cannot be
    /// opened is offline and its clients retry.
    pub fn follow(&self, before: &ClusterImage, after: &ClusterImage) -> Vec<RemovedPartition> {
        let of_brokers = |image: &ClusterImage| {
            let brokers = ["", &self.node.id.to_string()];
            brokers.map(|broker| image.configs(ResourceType::Broker, broker).clone())
        };
        let same_defaults = of_brokers(before) == of_brokers(after);
        let mut left = Vec::new();
        if self.topics().closed {
            return left;
        }
        for topic in after.topics() {
            let unchanged =
                same_defaults && before.topic(&topic.name).is_some_and(|old| Arc::ptr_eq(old, topic));
            if unchanged {
                continue;
            }
            left.extend(self.reassign(topic, after));
            if let Err(error) = self.bring_up(topic, after) {
                tracing::error!(topic = topic.name, %error, "a partition is offline");
            }
        }
        left
    }

    /// Removes the files of partitions that were taken away, and what recovery would remember of them. No topic of the same
    /// name may be made before this returns.
    pub async fn delete(&self, removed: Vec<RemovedPartition>) {
        for RemovedPartition { name, slot } in &removed {
            self.moves.cancel(name).await;
            if let Err(error) = slot.clone().delete(name.clone()).await {
                tracing::warn!(partition = %name, %error, "files of a deleted partition stay behind");
            }
        }
        // The owners have ended, so none can move a recovery point any more.
        let names: HashSet<TopicPartition> = removed.into_iter().map(|removed| removed.name).collect();
        let log_dirs = self.log_dirs.clone();
        let forgetting = move || log_dirs.keep_checkpoints(|name| !names.contains(name));
        if let Ok(Err(error)) = tokio::task::spawn_blocking(forgetting).await {
            tracing::warn!(%error, "recovery points of deleted partitions stay until they can be written");
        }
    }

    /// Tells the partitions of a topic what was decided about them. Gives those that this node does not keep any more; those
    /// that it keeps only now are opened.
    fn reassign(&self, topic: &TopicImage, image: &ClusterImage) -> Vec<RemovedPartition> {
        let (me, may_lead) = (self.node.id, self.node.may_lead(image));
        let (mut removed, mut come) = (Vec::new(), Vec::new());
        let mut topics = self.topics_mut();
        let Some(open) = topics.by_name.get_mut(&topic.name).filter(|open| open.id == topic.id) else {
            return removed;
        };
        for (number, (slot, partition)) in open.slots.iter_mut().zip(&topic.partitions).enumerate() {
            let assignment = Arc::new(LeaderAndIsr::of(partition, me, may_lead));
            let name = || TopicPartition::new(topic.name.clone(), number as i32);
            let (was_kept, is_kept) = {
                let keeps = |assignment: &LeaderAndIsr| assignment.replicas.contains(&self.node.id);
                (keeps(&slot.leader_and_isr()), keeps(&assignment))
            };
            match (was_kept, is_kept) {
                (true, true) | (false, false) if *slot.leader_and_isr() == *assignment => {}
                (true, true) | (false, false) => slot.assign(assignment),
                (_, true) => {
                    *slot = self.slot_of(topic, partition, assignment);
                    come.push((name(), slot.clone()));
                }
                (true, false) => {
                    let left = std::mem::replace(slot, self.slot_of(topic, partition, assignment));
                    removed.push(RemovedPartition { name: name(), slot: left });
                }
            }
        }
        let config = open.config.clone();
        drop(topics);
        for (name, slot) in come {
            if let Err(error) = slot.wake(name.clone(), &config) {
                tracing::error!(partition = %name, %error, "a partition is offline");
            }
        }
        removed
    }

    fn slot_of(
        &self,
        topic: &TopicImage,
        partition: &PartitionImage,
        assignment: Arc<LeaderAndIsr>,
    ) -> Arc<Slot> {
        let directory_id = partition.directory_of(self.node.id);
        let dir = directory_id.and_then(|id| self.log_dirs.by_id(id)).cloned();
        Arc::new(Slot::asleep(dir, topic.id, assignment, self.proposals.clone()))
    }

    fn bring_up(&self, topic: &TopicImage, image: &ClusterImage) -> Result<(), LogError> {
        let configs = image.topic_configs(&topic.configs, self.node.id);
        let log_config = Arc::new(configs.log_config());
        let have = {
            let topics = self.topics();
            let open = topics.by_name.get(&topic.name).filter(|open| open.id == topic.id);
            open.map_or(0, |open| open.slots.len())
        };
        let (slots, first_error) = self.open_many(topic, have, self.node.may_lead(image), &log_config);
        let mut topics = self.topics_mut();
        if topics.closed {
            return Err(LogError::Abandoned);
        }
        let open = topics.by_name.entry(topic.name.clone()).or_insert_with(|| OpenTopic {
            id: topic.id,
            acks_all_is_durable: true,
            config: log_config.clone(),
            slots: Vec::new(),
        });
        open.config = log_config;
        open.acks_all_is_durable = configs.acks_all_is_durable();
        for slot in &open.slots {
            slot.forget_quiet();
            if let Some(partition) = slot.open() {
                partition.configure(open.config.clone());
            }
        }
        open.slots.extend(slots);
        first_error.map_or(Ok(()), Err)
    }

    /// Makes room for a topic's partitions from number `from` on. What must be opened now, because it is new or was
    /// not closed, is opened several at a time; gives the first error.
    fn open_many(
        &self,
        topic: &TopicImage,
        from: usize,
        may_lead: bool,
        config: &Arc<LogConfig>,
    ) -> (Vec<Arc<Slot>>, Option<LogError>) {
        let name = |number: usize| TopicPartition::new(topic.name.clone(), number as i32);
        let slots: Vec<Arc<Slot>> = topic
            .partitions
            .iter()
            .skip(from)
            .map(|partition| {
                let decided = LeaderAndIsr::of(partition, self.node.id, may_lead);
                self.slot_of(topic, partition, Arc::new(decided))
            })
            .collect();
        let wanted: Vec<(TopicPartition, &Arc<Slot>)> = slots
            .iter()
            .enumerate()
            .map(|(number, slot)| (name(from + number), slot))
            .filter(|(name, slot)| slot.is_asleep() && (slot.follows() || !slot.was_closed_clean(name)))
            .collect();
        let open = |(name, slot): &(TopicPartition, &Arc<Slot>)| slot.wake(name.clone(), config).map(drop);
        if wanted.len() <= 1 {
            let first_error = wanted.iter().find_map(|wanted| open(wanted).err());
            return (slots, first_error);
        }
        let runtime = tokio::runtime::Handle::current();
        let first_error = thread::scope(|scope| {
            let shares: Vec<_> = wanted
                .chunks(wanted.len().div_ceil(PARALLEL_OPENS_MAX))
                .map(|share| {
                    let (runtime, open) = (&runtime, &open);
                    scope.spawn(move || {
                        let _entered = runtime.enter();
                        // All of them, though one fails.
                        share.iter().filter_map(|wanted| open(wanted).err()).reduce(|first, _| first)
                    })
                })
                .collect();
            let mut errors =
                shares.into_iter().filter_map(|share| share.join().unwrap_or(Some(LogError::Abandoned)));
            errors.by_ref().reduce(|first, _| first)
        });
        (slots, first_error)
    }
}

/// Does what may wait for the disk so that other tasks of an async thread do not wait with it.
pub(crate) fn off_the_runtime<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
