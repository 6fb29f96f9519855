//! The partitions that are open on this node, kept in line with the cluster's image.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;

use futures::future::join_all;
use uuid::Uuid;

use super::log_dir::{LogDir, kafka_uuid};
use super::owner::Partition;
use crate::controller::{ClusterImage, METADATA_TOPIC, ResourceType, TopicImage};
use crate::ids::{LeaderEpoch, NodeId, TopicPartition};
use crate::log::{LogConfig, LogError, path_aside, write_file_durably};

/// The file in a partition's folder that says which topic it belongs to (KIP-516).
const PARTITION_METADATA: &str = "partition.metadata";

struct OpenTopic {
    id: Uuid,
    acks_all_is_durable: bool,
    compacted: bool,
    partitions: Vec<Option<Partition>>,
}

/// A partition with what its topic's config says about answering producers.
#[derive(Clone)]
pub struct OpenPartition {
    /// The partition.
    pub partition: Partition,
    /// `acks=all` waits for the disk.
    pub acks_all_is_durable: bool,
}

/// Partitions that are opened at the same time: most of an opening is waiting for the disk.
const PARALLEL_OPENS_MAX: usize = 8;

/// All open partitions.
pub struct Partitions {
    log_dir: Arc<LogDir>,
    node_id: NodeId,
    topics: RwLock<Topics>,
}

#[derive(Default)]
struct Topics {
    by_name: HashMap<String, OpenTopic>,
    /// The broker stops: nothing opens any more.
    closed: bool,
}

impl Partitions {
    /// None yet.
    pub fn new(log_dir: Arc<LogDir>, node_id: NodeId) -> Partitions {
        Partitions { log_dir, node_id, topics: RwLock::default() }
    }

    /// Where they are kept.
    pub fn log_dir(&self) -> &LogDir {
        &self.log_dir
    }

    fn topics(&self) -> RwLockReadGuard<'_, Topics> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn topics_mut(&self) -> RwLockWriteGuard<'_, Topics> {
        self.topics.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// An open partition.
    pub fn get(&self, topic: &str, partition: i32) -> Option<OpenPartition> {
        let topics = self.topics();
        let topic = topics.by_name.get(topic)?;
        let partition = topic.partitions.get(usize::try_from(partition).ok()?)?.clone()?;
        Some(OpenPartition { partition, acks_all_is_durable: topic.acks_all_is_durable })
    }

    /// Every open partition, by name.
    pub fn all(&self) -> Vec<Partition> {
        let topics = self.topics();
        let mut open: Vec<Partition> =
            topics.by_name.values().flat_map(|topic| topic.partitions.iter().flatten().cloned()).collect();
        drop(topics);
        open.sort_by(|a, b| a.name().cmp(b.name()));
        open
    }

    /// Has every owner look for what retention and compaction have to do, by a clock in milliseconds since the epoch.
    pub fn keep_houses(&self, now_ms: i64, only_compacted: bool) {
        let topics = self.topics();
        let due = topics.by_name.values().filter(|topic| topic.compacted || !only_compacted);
        due.flat_map(|topic| topic.partitions.iter().flatten())
            .for_each(|partition| partition.keep_house(now_ms));
    }

    /// Closes every partition for good. False when one was offline: its files are as a crash left them.
    pub async fn close(&self) -> Result<bool, LogError> {
        let topics = {
            let mut topics = self.topics_mut();
            topics.closed = true;
            std::mem::take(&mut topics.by_name)
        };
        let partitions: Vec<Option<Partition>> =
            topics.into_values().flat_map(|topic| topic.partitions).collect();
        let all_open = partitions.iter().all(Option::is_some);
        // One that fails must not keep the others from being closed.
        let closed = join_all(partitions.iter().flatten().map(Partition::close)).await;
        closed.into_iter().collect::<Result<Vec<()>, LogError>>().map(|_| all_open)
    }

    /// Opens everything that the image names; blocking. A partition whose files are beyond recovery stays offline
    /// and is named in the log: the rest of the node serves.
    pub fn open_all(&self, image: &ClusterImage) -> Result<(), LogError> {
        self.log_dir.remove_leftovers()?;
        self.follow(&ClusterImage::default(), image)?;
        let is_known = |name: &TopicPartition| {
            let count = image.topic(&name.topic).map_or(0, |topic| topic.partitions.len());
            name.topic == METADATA_TOPIC || usize::try_from(name.partition).is_ok_and(|number| number < count)
        };
        self.log_dir.keep_checkpoints(is_known)?;
        for name in self.log_dir.partitions_on_disk()? {
            if !is_known(&name) {
                tracing::warn!(partition = %name, "a folder belongs to no known partition and is left alone");
            }
        }
        Ok(())
    }

    /// Opens what came and gives what went from one image to the next; blocking.
    pub fn follow(&self, before: &ClusterImage, after: &ClusterImage) -> Result<Vec<Partition>, LogError> {
        let mut removed = Vec::new();
        for topic in before.topics() {
            if after.topic(&topic.name).is_none_or(|now| now.id != topic.id)
                && let Some(closed) = self.topics_mut().by_name.remove(&topic.name)
            {
                removed.extend(closed.partitions.into_iter().flatten());
            }
        }
        let of_brokers = |image: &ClusterImage| {
            let brokers = ["", &self.node_id.to_string()];
            brokers.map(|broker| image.configs(ResourceType::Broker, broker).clone())
        };
        let same_defaults = of_brokers(before) == of_brokers(after);
        let mut first_error = None;
        for topic in after.topics() {
            let unchanged =
                same_defaults && before.topic(&topic.name).is_some_and(|old| Arc::ptr_eq(old, topic));
            if !unchanged && let Err(error) = self.bring_up(topic, after) {
                tracing::error!(topic = topic.name, %error, "a partition is offline");
                first_error.get_or_insert(error);
            }
        }
        match first_error {
            // At the start an offline partition must not keep the others from serving.
            Some(error) if before.topics().next().is_some() => Err(error),
            _ => Ok(removed),
        }
    }

    /// Removes the files of partitions that [`follow`](Partitions::follow) gave, and what recovery would remember of
    /// them. No topic of the same name may be made before this returns.
    pub async fn delete(&self, removed: Vec<Partition>) {
        for partition in &removed {
            if let Err(error) = partition.delete().await {
                tracing::warn!(partition = %partition.name(), %error, "files of a deleted partition stay behind");
            }
        }
        // The owners have ended, so none can move a recovery point any more.
        let names: HashSet<TopicPartition> =
            removed.iter().map(|partition| partition.name().clone()).collect();
        let log_dir = self.log_dir.clone();
        let forgetting = move || log_dir.keep_checkpoints(|name| !names.contains(name));
        if let Ok(Err(error)) = tokio::task::spawn_blocking(forgetting).await {
            tracing::warn!(%error, "recovery points of deleted partitions stay until they can be written");
        }
    }

    fn bring_up(&self, topic: &TopicImage, image: &ClusterImage) -> Result<(), LogError> {
        let configs = image.topic_configs(&topic.configs, self.node_id);
        let log_config = configs.log_config();
        let have = {
            let topics = self.topics();
            let open = topics.by_name.get(&topic.name).filter(|open| open.id == topic.id);
            open.map_or(0, |open| open.partitions.len())
        };
        let mut opened = self.open_many(topic, have, &log_config);
        let result = opened.iter_mut().find_map(|opened| match opened {
            Err(_) => std::mem::replace(opened, Err(LogError::Abandoned)).err(),
            Ok(_) => None,
        });
        let mut topics = self.topics_mut();
        if topics.closed {
            return Err(LogError::Abandoned);
        }
        let open = topics.by_name.entry(topic.name.clone()).or_insert_with(|| OpenTopic {
            id: topic.id,
            acks_all_is_durable: true,
            compacted: false,
            partitions: Vec::new(),
        });
        open.compacted = log_config.compacted;
        open.acks_all_is_durable = configs.acks_all_is_durable();
        for partition in open.partitions.iter().flatten() {
            partition.configure(log_config.clone());
        }
        open.partitions.extend(opened.into_iter().map(Result::ok));
        result.map_or(Ok(()), Err)
    }

    /// Opens a topic's partitions from number `from` on, several at a time, in order.
    fn open_many(
        &self,
        topic: &TopicImage,
        from: usize,
        config: &LogConfig,
    ) -> Vec<Result<Partition, LogError>> {
        let wanted: Vec<(usize, LeaderEpoch)> =
            topic.partitions.iter().map(|partition| partition.leader_epoch).enumerate().skip(from).collect();
        let open = |(number, epoch): &(usize, LeaderEpoch)| {
            let name = TopicPartition::new(topic.name.clone(), *number as i32);
            self.open(name, topic.id, config.clone(), *epoch)
        };
        if wanted.len() <= 1 {
            return wanted.iter().map(open).collect();
        }
        let runtime = tokio::runtime::Handle::current();
        thread::scope(|scope| {
            let shares: Vec<_> = wanted
                .chunks(wanted.len().div_ceil(PARALLEL_OPENS_MAX))
                .map(|share| {
                    let (runtime, open) = (&runtime, &open);
                    let opening = move || {
                        let _entered = runtime.enter();
                        share.iter().map(open).collect::<Vec<_>>()
                    };
                    (share.len(), scope.spawn(opening))
                })
                .collect();
            let opened = shares.into_iter().flat_map(|(count, share)| {
                share.join().unwrap_or_else(|_| (0..count).map(|_| Err(LogError::Abandoned)).collect())
            });
            opened.collect()
        })
    }

    fn open(
        &self,
        name: TopicPartition,
        topic_id: Uuid,
        config: LogConfig,
        leader_epoch: LeaderEpoch,
    ) -> Result<Partition, LogError> {
        let dir = self.log_dir.path().join(name.to_string());
        let file = dir.join(PARTITION_METADATA);
        let stored_id = stored_topic_id(&file);
        if stored_id.as_ref().is_some_and(|id| *id != kafka_uuid(topic_id)) {
            set_aside(&dir)?;
        }
        let partition = self.log_dir.open_partition(name, config, leader_epoch)?;
        if stored_id.is_none_or(|id| id != kafka_uuid(topic_id)) {
            // Durable: a folder that does not say whose it is could be served as a later topic's.
            let text = format!("version: 0\ntopic_id: {}", kafka_uuid(topic_id));
            write_file_durably(&file, text.as_bytes())?;
        }
        Ok(partition)
    }
}

fn stored_topic_id(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let id = text.lines().find_map(|line| line.strip_prefix("topic_id:"))?.trim();
    (!id.is_empty()).then(|| id.to_owned())
}

/// Moves a folder away that belongs to an earlier topic of the same name: its records must not be served as the new
/// topic's, and they are not ours to destroy.
fn set_aside(dir: &Path) -> Result<(), LogError> {
    let aside = path_aside(dir, "stray");
    tracing::warn!(from = %dir.display(), to = %aside.display(), "a folder of an earlier topic is set aside");
    fs::rename(dir, &aside).map_err(LogError::io("rename", dir))
}
