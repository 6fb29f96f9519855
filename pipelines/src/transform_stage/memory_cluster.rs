//! A cluster in memory whose process can be killed at any effect: for tests of the stage. What was sent and not
//! committed is gone when that happens; a commit that was asked for at that moment may have happened or not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use ottla_client::{ClientError, ConsumerRecord, Record, TopicPartition};

use super::cluster::{Fetched, Positions, StageCluster};

/// What outlives a process.
#[derive(Default)]
pub struct Disk {
    pub logs: BTreeMap<TopicPartition, Vec<ConsumerRecord>>,
    pub commits: Positions,
}

struct Process {
    disk: Disk,
    /// None before the process has taken over.
    transaction: Option<Vec<(TopicPartition, Record)>>,
    /// A commit that the process did not live to see the end of.
    is_ending: Option<Positions>,
    positions: Positions,
    /// Effects until it is killed.
    effects_left: u32,
}

#[derive(Clone)]
pub struct MemoryCluster(Arc<Mutex<Process>>);

impl MemoryCluster {
    pub fn new(disk: Disk, effects_left: u32) -> MemoryCluster {
        MemoryCluster(Arc::new(Mutex::new(Process {
            disk,
            transaction: None,
            is_ending: None,
            positions: BTreeMap::new(),
            effects_left,
        })))
    }

    /// Ends the process. `is_committed` says whether a commit that was on its way has happened.
    pub fn kill(&self, is_committed: impl FnOnce() -> bool) -> Disk {
        let mut process = self.process();
        if let Some(positions) = process.is_ending.take()
            && is_committed()
        {
            process.commit(positions);
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

impl Process {
    fn commit(&mut self, positions: Positions) {
        for (partition, record) in self.transaction.iter_mut().flat_map(std::mem::take) {
            append(&mut self.disk, &partition, record);
        }
        self.disk.commits.extend(positions);
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
    async fn partitions(&self, topic: &str) -> Result<Option<i32>, ClientError> {
        let process = self.effect()?;
        let partitions = process.disk.logs.keys().filter(|partition| partition.topic == topic).count();
        Ok((partitions > 0).then_some(partitions as i32))
    }

    async fn take_over(&self) -> Result<(), ClientError> {
        self.effect()?.transaction = Some(Vec::new());
        Ok(())
    }

    async fn committed(&self, partitions: &[TopicPartition]) -> Result<Positions, ClientError> {
        let process = self.effect()?;
        assert!(process.transaction.is_some(), "what another writer may still change means nothing");
        let commits = &process.disk.commits;
        let commit = |partition: &TopicPartition| Some((partition.clone(), *commits.get(partition)?));
        Ok(partitions.iter().filter_map(commit).collect())
    }

    async fn begins(&self, partitions: &[TopicPartition]) -> Result<Positions, ClientError> {
        let _process = self.effect()?;
        Ok(partitions.iter().map(|partition| (partition.clone(), 0)).collect())
    }

    async fn ends(&self, partitions: &[TopicPartition]) -> Result<Positions, ClientError> {
        let process = self.effect()?;
        let end = |partition| process.disk.logs.get(partition).map_or(0, |log| log.len() as i64);
        Ok(partitions.iter().map(|partition| (partition.clone(), end(partition))).collect())
    }

    async fn seek(&self, positions: &Positions) -> Result<(), ClientError> {
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

    async fn send(&self, partition: &TopicPartition, records: Vec<Record>) -> Result<(), ClientError> {
        let mut process = self.effect()?;
        let transaction = process.transaction.as_mut().expect("nobody writes before it has taken over");
        transaction.extend(records.into_iter().map(|record| (partition.clone(), record)));
        Ok(())
    }

    async fn commit(&self, positions: Positions) -> Result<(), ClientError> {
        match self.effect() {
            Ok(mut process) => process.commit(positions),
            Err(killed) => {
                self.process().is_ending = Some(positions);
                return Err(killed);
            }
        }
        Ok(())
    }

    async fn give_up(&self) {}
}
