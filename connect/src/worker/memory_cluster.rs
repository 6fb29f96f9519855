//! A cluster in memory for the tests of tasks: it can die at any chosen call, and it keeps what was appended.
//!
//! Dying is what SIGKILL is to a real process: from that call on nothing ever resolves, and the test drops the runtime with
//! everything in it. Whether the call that dies takes effect is drawn too, since a real cluster may have done it or not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use ottla_client::{ClientError, ConsumerRecord, Header, Record};

use super::cluster::{Acknowledgement, Bounds, Cluster, Fetched, Reader, Topic, Transactions, Writer};

/// By name: how often the topic was made, and its partitions.
type Topics = BTreeMap<String, (u32, Vec<Vec<ConsumerRecord>>)>;

/// By group, topic and partition: the topic's id and the offset.
type Groups = BTreeMap<(String, String, i32), (String, i64)>;

/// Topics and their records; shared by all "processes" that use it one after the other.
#[derive(Clone, Default)]
pub(crate) struct Storage {
    topics: Arc<Mutex<Topics>>,
    groups: Arc<Mutex<Groups>>,
}

impl Storage {
    fn lock(&self) -> MutexGuard<'_, Topics> {
        self.topics.lock().unwrap()
    }

    pub(crate) fn create(&self, name: &str, partitions: usize) {
        let mut topics = self.lock();
        let id = u32::try_from(topics.len()).unwrap();
        topics.entry(name.to_owned()).or_insert_with(|| (id, vec![Vec::new(); partitions]));
    }

    /// Deletes a topic and makes it anew, as a user would.
    pub(crate) fn recreate(&self, name: &str) {
        let mut topics = self.lock();
        let id = 100 + u32::try_from(topics.len()).unwrap();
        if let Some((old, partitions)) = topics.get_mut(name) {
            *old = id;
            partitions.iter_mut().for_each(Vec::clear);
        }
    }

    pub(crate) fn append(&self, topic: &str, partition: i32, record: Record) -> i64 {
        let mut topics = self.lock();
        let records = &mut topics.get_mut(topic).unwrap().1[usize::try_from(partition).unwrap()];
        let offset = i64::try_from(records.len()).unwrap();
        records.push(ConsumerRecord {
            offset,
            timestamp_ms: record.timestamp_ms.unwrap_or(0),
            key: record.key,
            value: record.value,
            headers: record.headers,
            leader_epoch: 0,
        });
        offset
    }

    /// What a group has committed, by topic and partition.
    pub(crate) fn group(&self, group: &str) -> Vec<(String, i32, i64)> {
        let groups = self.groups.lock().unwrap();
        let of_group = groups.iter().filter(|((name, ..), _)| name == group);
        of_group.map(|((_, topic, partition), (_, offset))| (topic.clone(), *partition, *offset)).collect()
    }

    /// Everything in a topic, partition by partition.
    pub(crate) fn records(&self, topic: &str) -> Vec<ConsumerRecord> {
        self.lock().get(topic).map(|(_, partitions)| partitions.concat()).unwrap_or_default()
    }

    /// The values of a topic as text, sorted.
    pub(crate) fn values(&self, topic: &str) -> Vec<String> {
        let text =
            |record: ConsumerRecord| String::from_utf8(record.value.unwrap_or_default().to_vec()).unwrap();
        let mut values: Vec<String> = self.records(topic).into_iter().map(text).collect();
        values.sort();
        values
    }
}

pub(crate) fn header(headers: &[Header], key: &str) -> Option<String> {
    let header = headers.iter().find(|header| header.key == key)?;
    Some(String::from_utf8(header.value.as_ref()?.to_vec()).unwrap())
}

/// The cluster as one process sees it.
pub(crate) struct MemoryCluster {
    storage: Storage,
    fuse: Arc<Fuse>,
}

/// Counts calls; when it is used up, calls hang.
pub(crate) struct Fuse {
    calls_left: Mutex<Option<usize>>,
    dead: tokio::sync::Notify,
}

impl Fuse {
    /// Counts a call; the one that dies never returns.
    async fn burn(&self) {
        if !self.try_burn() {
            self.dead.notify_one();
            std::future::pending::<()>().await;
        }
    }

    fn try_burn(&self) -> bool {
        match &mut *self.calls_left.lock().unwrap() {
            None => true,
            Some(0) => false,
            Some(calls) => {
                *calls -= 1;
                true
            }
        }
    }

    /// Resolves when a call has died.
    pub(crate) async fn died(&self) {
        self.dead.notified().await;
    }
}

impl MemoryCluster {
    /// With `calls`, the cluster dies after so many calls.
    pub(crate) fn new(storage: &Storage, calls: Option<usize>) -> Self {
        let fuse = Arc::new(Fuse { calls_left: Mutex::new(calls), dead: tokio::sync::Notify::new() });
        Self { storage: storage.clone(), fuse }
    }

    pub(crate) fn fuse(&self) -> Arc<Fuse> {
        Arc::clone(&self.fuse)
    }
}

#[async_trait]
impl Cluster for MemoryCluster {
    async fn exists(&self, name: &str) -> Result<bool, ClientError> {
        self.fuse.burn().await;
        Ok(self.storage.lock().contains_key(name))
    }

    async fn topic(&self, name: &str, partitions: i32) -> Result<Topic, ClientError> {
        self.fuse.burn().await;
        self.storage.create(name, usize::try_from(partitions).unwrap_or(2));
        let topics = self.storage.lock();
        let (id, records) = &topics[name];
        let partitions = i32::try_from(records.len()).unwrap();
        Ok(Topic { name: name.to_owned(), id: format!("id-{id}"), partitions })
    }

    async fn bounds(&self, topic: &Topic) -> Result<BTreeMap<i32, Bounds>, ClientError> {
        self.fuse.burn().await;
        let topics = self.storage.lock();
        let ends = topics[&topic.name].1.iter().map(|records| i64::try_from(records.len()).unwrap());
        Ok((0..).zip(ends).map(|(partition, end)| (partition, Bounds { start: 0, end })).collect())
    }

    async fn writer(&self) -> Result<Box<dyn Writer>, ClientError> {
        Ok(Box::new(MemoryWriter { storage: self.storage.clone(), fuse: self.fuse() }))
    }

    async fn transactions(&self, _: &str) -> Result<Box<dyn Transactions>, ClientError> {
        self.fuse.burn().await;
        let (storage, fuse) = (self.storage.clone(), self.fuse());
        Ok(Box::new(MemoryTransactions { storage, fuse, sent: Vec::new() }))
    }

    async fn reader(&self, topic: &Topic, from: &BTreeMap<i32, i64>) -> Result<Box<dyn Reader>, ClientError> {
        self.fuse.burn().await;
        let reader = MemoryReader {
            storage: self.storage.clone(),
            fuse: self.fuse(),
            topic: topic.name.clone(),
            next: from.clone(),
        };
        Ok(Box::new(reader))
    }

    async fn group_offsets(&self, group: &str, topic: &Topic) -> Result<BTreeMap<i32, i64>, ClientError> {
        self.fuse.burn().await;
        let groups = self.storage.groups.lock().unwrap();
        let of_topic = groups
            .iter()
            .filter(|((name, of, _), (id, _))| name == group && *of == topic.name && *id == topic.id);
        Ok(of_topic.map(|((.., partition), (_, offset))| (*partition, *offset)).collect())
    }

    async fn commit_group_offsets(
        &self,
        group: &str,
        topic: &Topic,
        offsets: &BTreeMap<i32, i64>,
    ) -> Result<(), ClientError> {
        self.fuse.burn().await;
        let mut groups = self.storage.groups.lock().unwrap();
        for (partition, offset) in offsets {
            let key = (group.to_owned(), topic.name.clone(), *partition);
            groups.insert(key, (topic.id.clone(), *offset));
        }
        Ok(())
    }

    async fn delete_group(&self, group: &str) -> Result<(), ClientError> {
        self.fuse.burn().await;
        self.storage.groups.lock().unwrap().retain(|(name, ..), _| name != group);
        Ok(())
    }
}

struct MemoryWriter {
    storage: Storage,
    fuse: Arc<Fuse>,
}

#[async_trait]
impl Writer for MemoryWriter {
    async fn send(
        &self,
        topic: &str,
        partition: i32,
        records: Vec<Record>,
    ) -> Result<Acknowledgement, ClientError> {
        // Record by record, so that a batch can be cut in two by dying, as a large one is.
        let mut first = None;
        for record in records {
            self.fuse.burn().await;
            let offset = self.storage.append(topic, partition, record);
            first.get_or_insert(offset);
        }
        let fuse = Arc::clone(&self.fuse);
        Ok(async move {
            fuse.burn().await;
            Ok(first)
        }
        .boxed())
    }

    async fn close(self: Box<Self>) {}
}

struct MemoryTransactions {
    storage: Storage,
    fuse: Arc<Fuse>,
    /// Since the last commit.
    sent: Vec<(String, i32, Record)>,
}

#[async_trait]
impl Transactions for MemoryTransactions {
    async fn send(&mut self, topic: &str, partition: i32, records: Vec<Record>) -> Result<(), ClientError> {
        self.fuse.burn().await;
        self.sent.extend(records.into_iter().map(|record| (topic.to_owned(), partition, record)));
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), ClientError> {
        self.fuse.burn().await;
        for (topic, partition, record) in self.sent.drain(..) {
            self.storage.append(&topic, partition, record);
        }
        // It may be done without anybody being told.
        self.fuse.burn().await;
        Ok(())
    }

    async fn close(self: Box<Self>) {}
}

struct MemoryReader {
    storage: Storage,
    fuse: Arc<Fuse>,
    topic: String,
    next: BTreeMap<i32, i64>,
}

/// Records of one poll and partition: few, so that there is much to interrupt.
const POLL_RECORDS_MAX: usize = 3;

#[async_trait]
impl Reader for MemoryReader {
    async fn poll(&mut self, wait: Duration) -> Result<Vec<Fetched>, ClientError> {
        self.fuse.burn().await;
        let mut fetched = Vec::new();
        {
            let topics = self.storage.lock();
            for (partition, next) in &mut self.next {
                let all = &topics[&self.topic].1[usize::try_from(*partition).unwrap()];
                let from = usize::try_from(*next).unwrap().min(all.len());
                let records: Vec<ConsumerRecord> =
                    all[from..].iter().take(POLL_RECORDS_MAX).cloned().collect();
                if let Some(last) = records.last() {
                    *next = last.offset + 1;
                    let end = i64::try_from(all.len()).unwrap();
                    fetched.push(Fetched { partition: *partition, records, next_offset: *next, end });
                }
            }
        }
        if fetched.is_empty() {
            // A test has nothing to wait for: all that will ever come is there.
            tokio::time::sleep(wait.min(Duration::from_millis(1))).await;
        }
        Ok(fetched)
    }

    async fn close(self: Box<Self>) {}
}
