//! A cluster in memory whose process can be killed at any effect: for tests of the stage. Records that were
//! sent and not yet acknowledged may or may not arrive when that happens, but never with a gap.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use ottla_client::{ClientError, ConsumerRecord, Record, TopicPartition};

use super::cluster::{Acknowledged, Fetched, StageCluster, StoredCommit, TopicInfo};

/// What outlives a process.
#[derive(Default)]
pub struct Disk {
    pub logs: BTreeMap<TopicPartition, Vec<ConsumerRecord>>,
    pub commits: BTreeMap<TopicPartition, StoredCommit>,
}

struct Process {
    disk: Disk,
    on_their_way: BTreeMap<TopicPartition, Vec<Record>>,
    positions: BTreeMap<TopicPartition, i64>,
    /// Effects until it is killed.
    effects_left: u32,
}

#[derive(Clone)]
pub struct MemoryCluster(Arc<Mutex<Process>>);

impl MemoryCluster {
    pub fn new(disk: Disk, effects_left: u32) -> MemoryCluster {
        MemoryCluster(Arc::new(Mutex::new(Process {
            disk,
            on_their_way: BTreeMap::new(),
            positions: BTreeMap::new(),
            effects_left,
        })))
    }

    /// Ends the process. Of what was on its way to each partition, `arrives` says how much gets there.
    pub fn kill(&self, mut arrives: impl FnMut(usize) -> usize) -> Disk {
        let mut process = self.process();
        for (partition, records) in std::mem::take(&mut process.on_their_way) {
            let count = arrives(records.len());
            for record in records.into_iter().take(count) {
                append(&mut process.disk, &partition, record);
            }
        }
        std::mem::take(&mut process.disk)
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.0.lock().unwrap()
    }

    /// One more effect, or the end.
    fn effect(&self) -> Result<MutexGuard<'_, Process>, ClientError> {
        let mut process = self.process();
        process.effects_left = process.effects_left.checked_sub(1).ok_or(ClientError::Closed("process"))?;
        Ok(process)
    }
}

/// Adds a record to a log and gives its offset.
pub fn append(disk: &mut Disk, partition: &TopicPartition, record: Record) -> i64 {
    let log = disk.logs.entry(partition.clone()).or_default();
    let offset = log.len() as i64;
    let Record { key, value, headers, timestamp_ms } = record;
    log.push(ConsumerRecord {
        offset,
        timestamp_ms: timestamp_ms.unwrap_or(0),
        key,
        value,
        headers,
        leader_epoch: 0,
    });
    offset
}

#[async_trait]
impl StageCluster for MemoryCluster {
    async fn topic(&self, name: &str) -> Result<Option<TopicInfo>, ClientError> {
        let process = self.effect()?;
        let partitions = process.disk.logs.keys().filter(|partition| partition.topic == name).count();
        Ok((partitions > 0).then(|| TopicInfo { id: format!("id of {name}"), partitions: partitions as i32 }))
    }

    async fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, StoredCommit>, ClientError> {
        let process = self.effect()?;
        let commits = &process.disk.commits;
        Ok(partitions
            .iter()
            .filter_map(|partition| Some((partition.clone(), commits.get(partition)?.clone())))
            .collect())
    }

    async fn commit(&self, commits: BTreeMap<TopicPartition, StoredCommit>) -> Result<(), ClientError> {
        self.effect()?.disk.commits.extend(commits);
        Ok(())
    }

    async fn begins(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, ClientError> {
        let _process = self.effect()?;
        Ok(partitions.iter().map(|partition| (partition.clone(), 0)).collect())
    }

    async fn ends(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, ClientError> {
        let process = self.effect()?;
        let end = |partition| process.disk.logs.get(partition).map_or(0, |log| log.len() as i64);
        Ok(partitions.iter().map(|partition| (partition.clone(), end(partition))).collect())
    }

    async fn read(
        &self,
        partition: &TopicPartition,
        from: i64,
        until: i64,
        see: &mut (dyn for<'record> FnMut(&'record ConsumerRecord) + Send),
    ) -> Result<(), ClientError> {
        let process = self.effect()?;
        for record in &process.disk.logs[partition][from as usize..until as usize] {
            see(record);
        }
        Ok(())
    }

    async fn seek(&self, positions: &BTreeMap<TopicPartition, i64>) -> Result<(), ClientError> {
        self.effect()?.positions = positions.clone();
        Ok(())
    }

    async fn poll(&self, _: Duration) -> Result<Vec<Fetched>, ClientError> {
        tokio::task::yield_now().await;
        let mut process = self.effect()?;
        let Process { disk, positions, .. } = &mut *process;
        let mut fetched = Vec::new();
        for (partition, position) in positions {
            // Few at a time, so that a run has many places to be killed at.
            let records: Vec<_> =
                disk.logs[partition].iter().skip(*position as usize).take(3).cloned().collect();
            *position += records.len() as i64;
            fetched.push(Fetched { partition: partition.clone(), records, next_offset: *position });
        }
        Ok(fetched)
    }

    async fn send(&self, partition: &TopicPartition, record: Record) -> Result<Acknowledged, ClientError> {
        self.effect()?.on_their_way.entry(partition.clone()).or_default().push(record);
        let (cluster, partition) = (self.clone(), partition.clone());
        let acknowledged = async move {
            let mut process = cluster.effect()?;
            let mut offset = process.disk.logs.get(&partition).map_or(0, |log| log.len() as i64) - 1;
            for record in process.on_their_way.remove(&partition).unwrap_or_default() {
                offset = append(&mut process.disk, &partition, record);
            }
            Ok(offset)
        };
        Ok(acknowledged.boxed())
    }
}
