//! The partitions that are open on this node, kept in line with the cluster's image.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, RwLock};

use uuid::Uuid;

use super::log_dir::{LogDir, kafka_uuid};
use super::owner::Partition;
use crate::controller::{ClusterImage, TopicConfigs, TopicImage};
use crate::ids::TopicPartition;
use crate::log::{LogConfig, LogError};

/// The file in a partition's folder that says which topic it belongs to (KIP-516).
const PARTITION_METADATA: &str = "partition.metadata";

struct OpenTopic {
    id: Uuid,
    acks_all_is_durable: bool,
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

/// All open partitions.
pub struct Partitions {
    log_dir: Arc<LogDir>,
    topics: RwLock<HashMap<String, OpenTopic>>,
}

impl Partitions {
    /// None yet.
    pub fn new(log_dir: Arc<LogDir>) -> Partitions {
        Partitions { log_dir, topics: RwLock::default() }
    }

    /// An open partition.
    pub fn get(&self, topic: &str, partition: i32) -> Option<OpenPartition> {
        let topics = self.topics.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let topic = topics.get(topic)?;
        let partition = topic.partitions.get(usize::try_from(partition).ok()?)?.clone()?;
        Some(OpenPartition { partition, acks_all_is_durable: topic.acks_all_is_durable })
    }

    /// Every open partition.
    pub fn all(&self) -> Vec<Partition> {
        let topics = self.topics.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        topics.values().flat_map(|topic| topic.partitions.iter().flatten().cloned()).collect()
    }

    /// Opens everything that the image names; blocking. A partition whose files are beyond recovery stays offline
    /// and is named in the log: the rest of the node serves.
    pub fn open_all(&self, image: &ClusterImage) -> Result<(), LogError> {
        self.log_dir.remove_leftovers()?;
        self.follow(&ClusterImage::default(), image)?;
        for name in self.log_dir.partitions_on_disk()? {
            if self.get(&name.topic, name.partition).is_none()
                && name.topic != crate::controller::METADATA_TOPIC
            {
                tracing::warn!(partition = %name, "a folder belongs to no known partition and is left alone");
            }
        }
        Ok(())
    }

    /// Opens what came and gives what went from one image to the next; blocking.
    pub fn follow(&self, before: &ClusterImage, after: &ClusterImage) -> Result<Vec<Partition>, LogError> {
        let mut removed = Vec::new();
        for topic in before.topics() {
            if after.topic(&topic.name).is_none_or(|now| now.id != topic.id) {
                let mut topics = self.topics.write().unwrap_or_else(std::sync::PoisonError::into_inner);
                if let Some(closed) = topics.remove(&topic.name) {
                    removed.extend(closed.partitions.into_iter().flatten());
                }
            }
        }
        for partition in &removed {
            self.log_dir.forget(partition.name());
        }
        let mut first_error = None;
        for topic in after.topics() {
            let unchanged = before.topic(&topic.name).is_some_and(|old| Arc::ptr_eq(old, topic));
            if !unchanged && let Err(error) = self.bring_up(topic) {
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

    fn bring_up(&self, topic: &TopicImage) -> Result<(), LogError> {
        let configs = TopicConfigs(&topic.configs);
        let log_config = configs.log_config();
        let have = {
            let topics = self.topics.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            topics.get(&topic.name).filter(|open| open.id == topic.id).map_or(0, |open| open.partitions.len())
        };
        let mut result = Ok(());
        let mut opened = Vec::new();
        for (number, partition) in topic.partitions.iter().enumerate().skip(have) {
            let name = TopicPartition::new(topic.name.clone(), number as i32);
            match self.open(name, topic.id, log_config.clone(), partition.leader_epoch) {
                Ok(partition) => opened.push(Some(partition)),
                Err(error) => {
                    opened.push(None);
                    result = Err(error);
                }
            }
        }
        let mut topics = self.topics.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let open = topics.entry(topic.name.clone()).or_insert_with(|| OpenTopic {
            id: topic.id,
            acks_all_is_durable: true,
            partitions: Vec::new(),
        });
        open.acks_all_is_durable = configs.acks_all_is_durable();
        for partition in open.partitions.iter().flatten() {
            partition.configure(log_config.clone());
        }
        open.partitions.extend(opened);
        result
    }

    fn open(
        &self,
        name: TopicPartition,
        topic_id: Uuid,
        config: LogConfig,
        leader_epoch: crate::ids::LeaderEpoch,
    ) -> Result<Partition, LogError> {
        let dir = self.log_dir.path().join(name.to_string());
        set_strays_aside(&dir, topic_id)?;
        let partition = self.log_dir.open_partition(name, config, leader_epoch)?;
        let file = dir.join(PARTITION_METADATA);
        if !file.exists() {
            let text = format!("version: 0\ntopic_id: {}", kafka_uuid(topic_id));
            fs::write(&file, text).map_err(LogError::io("write", &file))?;
        }
        Ok(partition)
    }
}

/// Moves a folder away that belongs to an earlier topic of the same name: its records must not be served as the new
/// topic's, and they are not ours to destroy.
fn set_strays_aside(dir: &Path, topic_id: Uuid) -> Result<(), LogError> {
    let Ok(text) = fs::read_to_string(dir.join(PARTITION_METADATA)) else { return Ok(()) };
    let id = text.lines().find_map(|line| line.strip_prefix("topic_id:")).map(str::trim);
    if id.is_none_or(|id| id.is_empty() || id == kafka_uuid(topic_id)) {
        return Ok(());
    }
    let name = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let aside = dir.with_file_name(format!("{name}.{}-stray", Uuid::new_v4().simple()));
    tracing::warn!(from = %dir.display(), to = %aside.display(), "a folder of an earlier topic is set aside");
    fs::rename(dir, &aside).map_err(LogError::io("rename", dir))
}
