//! The queues of all partitions a producer writes to, and the plan of what to send next. Pure: time, leaders and
//! identity come in as arguments; bytes and sockets are the sender's.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokio::time::Instant;

use super::batch::{Batch, ProducerIdentity};
use super::delivery::Completion;
use super::partition_queue::{Appended, Limits, PartitionQueue, RecordRef};
use super::partitioner::{Sticky, partition_of_key};
use crate::error::ClientError;

/// A batch with its partition.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) batch: Batch,
}

/// Batches of different partitions that travel together.
#[derive(Debug, Default)]
pub(crate) struct PlannedRequest {
    pub(crate) batches: Vec<Taken>,
    /// Bytes before compression.
    size: usize,
}

/// What the cluster looks like to the plan.
pub(crate) trait Leaders {
    /// The broker that leads the partition now.
    fn leader(&self, topic: &str, partition: i32) -> Option<i32>;
}

/// What to do now, and when to look again.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Per broker the requests to send, each of batches of different partitions.
    pub(crate) requests: BTreeMap<i32, Vec<PlannedRequest>>,
    /// Brokers that would get more if they had room or a connection.
    pub(crate) wanted_brokers: BTreeSet<i32>,
    /// Topics with records to send for which no leader is known.
    pub(crate) leaderless: BTreeSet<Arc<str>>,
    /// Some partition cannot go on under this identity.
    pub(crate) needs_identity: bool,
    /// When time alone makes something ready.
    pub(crate) wakeup: Option<Instant>,
}

#[derive(Debug)]
struct TopicQueues {
    name: Arc<str>,
    partitions: Vec<PartitionQueue>,
    sticky: Sticky,
}

/// The queues of a producer.
#[derive(Debug)]
pub(crate) struct Accumulator {
    pub(crate) limits: Limits,
    topics: HashMap<Arc<str>, TopicQueues>,
}

/// Which partition a record is to go to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Choice {
    Partition(i32),
    ByKey,
}

/// Why a record was not appended.
#[derive(Debug)]
pub(crate) enum NotAppended {
    /// The transaction takes no more.
    Transaction(ClientError),
    UnknownTopic,
    UnknownPartition {
        partitions: i32,
    },
}

impl Accumulator {
    pub(crate) fn new(limits: Limits) -> Accumulator {
        Accumulator { limits, topics: HashMap::new() }
    }

    /// Makes room for the topic's partitions. Their number never shrinks.
    pub(crate) fn set_partitions(&mut self, topic: &str, partitions: i32) {
        let count = usize::try_from(partitions).unwrap_or(0);
        if !self.topics.contains_key(topic) {
            let name: Arc<str> = topic.into();
            let queues =
                TopicQueues { name: name.clone(), partitions: Vec::new(), sticky: Sticky::default() };
            self.topics.insert(name, queues);
        }
        if let Some(queues) = self.topics.get_mut(topic)
            && queues.partitions.len() < count
        {
            queues.partitions.resize_with(count, PartitionQueue::default);
        }
    }

    /// The partition a record with this key, or none, would go to.
    pub(crate) fn partition_for(&mut self, topic: &str, key: Option<&[u8]>) -> Result<i32, NotAppended> {
        let queues = self.topics.get_mut(topic).ok_or(NotAppended::UnknownTopic)?;
        Ok(queues.partition_for(key))
    }

    /// Adds a record; tells to which partition it went.
    pub(crate) fn append(
        &mut self,
        topic: &str,
        choice: Choice,
        record: RecordRef<'_>,
        now: Instant,
    ) -> Result<(i32, Appended), NotAppended> {
        let queues = self.topics.get_mut(topic).ok_or(NotAppended::UnknownTopic)?;
        let partition = match choice {
            Choice::Partition(partition) => partition,
            Choice::ByKey => queues.partition_for(record.key),
        };
        let partitions = queues.partitions.len() as i32;
        let queue = usize::try_from(partition).ok().and_then(|index| queues.partitions.get_mut(index));
        let queue = queue.ok_or(NotAppended::UnknownPartition { partitions })?;
        if matches!(choice, Choice::ByKey) && record.key.is_none() {
            queues.sticky.add(record.size());
        }
        Ok((partition, queue.append(record, &self.limits, now)))
    }

    /// Takes what can be sent now. `room` says how many more requests a broker may get: none without a connection;
    /// `admits` whether a partition may be written to.
    pub(crate) fn plan(
        &mut self,
        now: Instant,
        leaders: &impl Leaders,
        identity: Option<ProducerIdentity>,
        room: impl Fn(i32) -> usize,
        request_size_max: usize,
        mut admits: impl FnMut(&Arc<str>, i32) -> bool,
    ) -> Plan {
        let mut plan = Plan::default();
        for queues in self.topics.values_mut() {
            for (partition, queue) in (0i32..).zip(&mut queues.partitions) {
                if queue.is_ready(&self.limits, now) && admits(&queues.name, partition) {
                    plan.needs_identity |= queue.wants_new_identity(identity);
                    match leaders.leader(&queues.name, partition) {
                        None => {
                            plan.leaderless.insert(queues.name.clone());
                        }
                        Some(broker) => {
                            let requests = plan.requests.entry(broker).or_default();
                            let target = Target { topic: &queues.name, partition, broker, identity, now };
                            let is_left =
                                queue.fill(requests, &target, &self.limits, room(broker), request_size_max);
                            if is_left {
                                plan.wanted_brokers.insert(broker);
                            }
                        }
                    }
                }
                // What is ready but blocked waits for an event, not for time.
                let wakeup = queue.wakeup(&self.limits, now).filter(|at| *at > now);
                let wakeup = wakeup.into_iter().chain(queue.expires_at(&self.limits)).min();
                plan.wakeup = plan.wakeup.into_iter().chain(wakeup).min();
            }
        }
        plan.requests.retain(|_, requests| !requests.is_empty());
        plan
    }

    /// The queue of a partition that was appended to before.
    pub(crate) fn queue(&mut self, topic: &str, partition: i32) -> Option<(&mut PartitionQueue, &Limits)> {
        let queues = self.topics.get_mut(topic)?;
        let queue = queues.partitions.get_mut(usize::try_from(partition).ok()?)?;
        Some((queue, &self.limits))
    }

    /// Takes out the batches that took too long.
    pub(crate) fn expired(&mut self, now: Instant) -> Vec<Taken> {
        self.take_out(|queue, limits| queue.expired(limits, now))
    }

    /// Takes out everything that is not under way.
    pub(crate) fn drain(&mut self) -> Vec<Taken> {
        self.take_out(|queue, _| queue.drain())
    }

    fn take_out(&mut self, mut take: impl FnMut(&mut PartitionQueue, &Limits) -> Vec<Batch>) -> Vec<Taken> {
        let mut taken = Vec::new();
        for queues in self.topics.values_mut() {
            for (partition, queue) in (0i32..).zip(&mut queues.partitions) {
                let batches = take(queue, &self.limits).into_iter();
                taken.extend(batches.map(|batch| Taken { topic: queues.name.clone(), partition, batch }));
            }
        }
        taken
    }

    /// Ends all open batches.
    pub(crate) fn close_open(&mut self) {
        self.queues_mut().for_each(PartitionQueue::close_open);
    }

    /// Who is to be told about all that is not yet done.
    pub(crate) fn completions(&self) -> Vec<Arc<Completion>> {
        let queues = self.topics.values().flat_map(|queues| &queues.partitions);
        queues.flat_map(PartitionQueue::completions).cloned().collect()
    }

    /// Whether nothing is on its way.
    pub(crate) fn is_empty(&self) -> bool {
        self.topics.values().all(|queues| queues.partitions.iter().all(PartitionQueue::is_empty))
    }

    /// The topics written to so far.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &Arc<str>> {
        self.topics.keys()
    }

    fn queues_mut(&mut self) -> impl Iterator<Item = &mut PartitionQueue> {
        self.topics.values_mut().flat_map(|queues| &mut queues.partitions)
    }
}

impl TopicQueues {
    fn partition_for(&mut self, key: Option<&[u8]>) -> i32 {
        let partitions = self.partitions.len() as i32;
        match key {
            Some(key) => partition_of_key(key, partitions),
            None => self.sticky.partition(partitions, |below| rand::random_range(0..below.max(1))),
        }
    }
}

struct Target<'a> {
    topic: &'a Arc<str>,
    partition: i32,
    broker: i32,
    identity: Option<ProducerIdentity>,
    now: Instant,
}

impl PartitionQueue {
    /// Puts this partition's ready batches into the requests, at most one into each, beginning new requests as far
    /// as there is room. Says whether the room was too small.
    fn fill(
        &mut self,
        requests: &mut Vec<PlannedRequest>,
        target: &Target<'_>,
        limits: &Limits,
        room: usize,
        request_size_max: usize,
    ) -> bool {
        let mut at = 0;
        loop {
            // A request always takes its first batch, however large, since only full ones are passed over.
            let is_full = |request: &PlannedRequest| request.size + limits.batch_size > request_size_max;
            while requests.get(at).is_some_and(is_full) {
                at += 1;
            }
            if at >= room {
                return self.is_ready(limits, target.now);
            }
            let Some(batch) = self.take(limits, target.now, target.broker, target.identity) else {
                return false;
            };
            if at == requests.len() {
                requests.push(PlannedRequest::default());
            }
            let request = &mut requests[at];
            request.size += batch.size();
            let topic = target.topic.clone();
            request.batches.push(Taken { topic, partition: target.partition, batch });
            at += 1;
        }
    }
}
