//! The runtime against a log in memory that keeps real batches, can hold appends back and can fail.

mod api;
mod consumer_api;
mod handle;
mod shard;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use ottla_protocol::records::{Batches, patch_base_offset};
use ottla_protocol::{Str, Uuid};
use tokio::sync::Semaphore;

use super::*;
use crate::groups::{
    GroupConfig, GroupError, GroupId, Reply, Request, TopicCatalog, TopicInfo, TopicName, Topics,
};
use crate::ids::LeaderEpoch;

/// Partitions in memory.
pub(super) struct MemoryLog {
    state: Mutex<State>,
    /// A permit for every append that may go through.
    appends_allowed: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    partitions: BTreeMap<i32, BytesMut>,
    next_offsets: BTreeMap<i32, i64>,
    append_fails: Option<LogError>,
    read_fails: Option<LogError>,
    batch_count: usize,
}

impl MemoryLog {
    pub(super) fn new() -> Arc<MemoryLog> {
        MemoryLog::with_appends_allowed(Semaphore::MAX_PERMITS)
    }

    /// Holds appends back until they are allowed.
    pub(super) fn held() -> Arc<MemoryLog> {
        MemoryLog::with_appends_allowed(0)
    }

    fn with_appends_allowed(count: usize) -> Arc<MemoryLog> {
        Arc::new(MemoryLog { state: Mutex::default(), appends_allowed: Arc::new(Semaphore::new(count)) })
    }

    pub(super) fn allow_appends(&self, count: usize) {
        self.appends_allowed.add_permits(count);
    }

    pub(super) fn fail_appends(&self, error: Option<LogError>) {
        self.state.lock().unwrap().append_fails = error;
    }

    pub(super) fn fail_reads(&self, error: Option<LogError>) {
        self.state.lock().unwrap().read_fails = error;
    }

    pub(super) fn batch_count(&self) -> usize {
        self.state.lock().unwrap().batch_count
    }

    fn append_now(&self, partition: i32, batch: &Bytes) -> Result<i64, LogError> {
        let mut state = self.state.lock().unwrap();
        if let Some(error) = &state.append_fails {
            return Err(error.clone());
        }
        state.batch_count += 1;
        let next = state.next_offsets.entry(partition).or_default();
        let offset = *next;
        let mut bytes = BytesMut::from(&batch[..]);
        patch_base_offset(&mut bytes, offset);
        *next = Batches::new(bytes.clone().freeze()).next().unwrap().unwrap().header.next_offset();
        state.partitions.entry(partition).or_default().extend_from_slice(&bytes);
        Ok(offset)
    }
}

/// A handle, because the futures outlive the call.
#[derive(Clone)]
pub(super) struct SharedLog(pub(super) Arc<MemoryLog>);

impl CoordinatorLog for SharedLog {
    fn append(
        &self,
        partition: i32,
        _: LeaderEpoch,
        batch: Bytes,
    ) -> BoxFuture<'static, Result<i64, LogError>> {
        let log = self.0.clone();
        async move {
            log.appends_allowed.acquire().await.unwrap().forget();
            log.append_now(partition, &batch)
        }
        .boxed()
    }

    /// One batch at a time, so that loading takes several reads.
    fn read(
        &self,
        partition: i32,
        from_offset: i64,
        _: usize,
    ) -> BoxFuture<'static, Result<LogSlice, LogError>> {
        let state = self.0.state.lock().unwrap();
        let slice = match &state.read_fails {
            Some(error) => Err(error.clone()),
            None => {
                let bytes = state.partitions.get(&partition).cloned().unwrap_or_default().freeze();
                let end_offset = state.next_offsets.get(&partition).copied().unwrap_or(0);
                let batch =
                    Batches::new(bytes).flatten().find(|batch| batch.header.next_offset() > from_offset);
                Ok(LogSlice {
                    leader_epoch: LeaderEpoch::default(),
                    next_offset: batch.as_ref().map_or(end_offset, |batch| batch.header.next_offset()),
                    batches: batch.map(|batch| batch.bytes).unwrap_or_default(),
                    end_offset,
                })
            }
        };
        std::future::ready(slice).boxed()
    }
}

/// Topics `events` and `other` with four partitions each.
pub(super) struct TwoTopics;

pub(super) const EVENTS_ID: Uuid = Uuid::from_u128(1);
pub(super) const OTHER_ID: Uuid = Uuid::from_u128(2);

impl TopicLookup for TwoTopics {
    fn topic_id(&self, name: &str) -> Option<Uuid> {
        match name {
            "events" => Some(EVENTS_ID),
            "other" => Some(OTHER_ID),
            _ => None,
        }
    }

    fn topic_name(&self, id: Uuid) -> Option<Str> {
        [("events", EVENTS_ID), ("other", OTHER_ID)]
            .iter()
            .find(|topic| topic.1 == id)
            .map(|topic| topic.0.into())
    }

    fn has_partition(&self, name: &str, partition: i32) -> bool {
        self.topic_id(name).is_some() && (0..4).contains(&partition)
    }

    fn catalog(&self) -> Topics {
        Topics(Arc::new(TwoTopics))
    }

    fn consumer_timeouts(&self, _group: &str) -> ConsumerTimeouts {
        ConsumerTimeouts::default()
    }
}

impl TopicCatalog for TwoTopics {
    fn version(&self) -> u64 {
        1
    }

    fn topic(&self, name: &str) -> Option<TopicInfo> {
        Some(TopicInfo { id: self.topic_id(name)?, partition_count: 4 })
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(["events", "other"].into_iter())
    }
}

pub(super) fn coordinator(log: &Arc<MemoryLog>) -> GroupCoordinator {
    let groups = GroupConfig { initial_rebalance_delay: Duration::ZERO, ..GroupConfig::default() };
    let config = CoordinatorConfig { partitions: 4, machine: groups, ..CoordinatorConfig::default() };
    GroupCoordinator::new(Arc::new(SharedLog(log.clone())), Arc::new(TwoTopics), config)
}
