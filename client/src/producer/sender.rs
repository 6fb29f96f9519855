//! The sender task: the one owner of a producer's connections, requests and identity. Takes batches out of the
//! accumulator, sends them, and gives each its outcome.
//!
//! One closed event enum, one `select!`; everything else is synchronous. Requests to one broker are submitted in the
//! order they are planned, over one connection, so batches of a partition arrive in order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use ottla_protocol::messages::k00_produce::{
    PartitionProduceData, PartitionProduceResponse, TopicProduceData,
};
use ottla_protocol::messages::{InitProducerIdRequest, ProduceRequest, ProduceResponse};
use ottla_protocol::{ErrorCode, Message, Str};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::accumulator::{Leaders, Plan, Taken};
use super::batch::{Batch, ProducerIdentity};
use super::config::Acks;
use super::delivery::Acknowledged;
use super::transaction::{Enlisting, TransactionVersion};
use super::{Shared, coordinating};
use crate::backoff::Backoff;
use crate::connection::Connection;
use crate::error::ClientError;
use crate::metadata::Metadata;
use crate::pool::Lane;

/// Produce from version 13 on names topics by id alone; up to 12 by name, which is what a producer is given.
const PRODUCE_VERSION_MAX: i16 = 12;
/// From version 12 on the broker itself tells the coordinator which partitions a transaction writes to (KIP-890).
const PRODUCE_VERSION_MAX_TRANSACTIONS_1: i16 = 11;

/// Everything that can happen to the sender.
enum Event {
    /// There may be something new in the accumulator, or the producer closes.
    Woken,
    /// It is time to look again.
    TimerExpired,
    /// A connection to the broker was opened, or not.
    Connected { broker: i32, result: Result<Connection, ClientError> },
    /// A produce request was answered, or lost.
    Answered { broker: i32, batches: Vec<Taken>, result: Result<ProduceResponse, ClientError> },
    /// Metadata was asked for; the cache has what came.
    MetadataRefreshed { result: Result<(), ClientError> },
    /// The broker gave this producer an identity, or not.
    Identified { result: Result<ProducerIdentity, ClientError> },
    /// The coordinator of the transaction knows these partitions, or not.
    Enlisted { enlisting: Enlisting, result: Result<(), ClientError> },
}

/// The way to one broker.
#[derive(Default)]
struct Link {
    connection: Option<Connection>,
    is_connecting: bool,
    in_flight: usize,
}

pub(super) struct Sender {
    shared: Arc<Shared>,
    owner: u64,
    links: HashMap<i32, Link>,
    work: FuturesUnordered<BoxFuture<'static, Event>>,
    identity: Option<ProducerIdentity>,
    is_identifying: bool,
    is_refreshing: bool,
    /// Refreshing again before then would ask a broker that just had no better answer.
    refresh_not_before: Option<Instant>,
    refresh_backoff: Backoff,
    stale_topics: BTreeSet<Arc<str>>,
    wakeup: Option<Instant>,
}

impl Leaders for Metadata {
    fn leader(&self, topic: &str, partition: i32) -> Option<i32> {
        Metadata::leader(self, topic, partition).map(|(leader, _)| leader)
    }
}

/// What a broker's answer for a batch means.
#[derive(Debug, PartialEq)]
enum Verdict {
    Acknowledged(Acknowledged),
    Retry,
    RetryWithNewIdentity,
    Fail(ErrorCode),
}

fn verdict(answer: &PartitionProduceResponse, is_idempotent: bool, is_recovering: bool) -> Verdict {
    match ErrorCode::from_code(answer.error_code) {
        // The broker already has the batch: an earlier answer was lost (KIP-98).
        ErrorCode::None | ErrorCode::DuplicateSequenceNumber => Verdict::Acknowledged(Acknowledged {
            base_offset: answer.base_offset,
            log_append_time_ms: answer.log_append_time_ms,
        }),
        // Records before this batch failed and will go first; then this one fits.
        ErrorCode::OutOfOrderSequenceNumber if is_recovering => Verdict::Retry,
        ErrorCode::OutOfOrderSequenceNumber
        | ErrorCode::UnknownProducerId
        | ErrorCode::InvalidProducerEpoch
            if is_idempotent =>
        {
            Verdict::RetryWithNewIdentity
        }
        code if code.is_retriable() => Verdict::Retry,
        code => Verdict::Fail(code),
    }
}

/// What a verdict becomes in a transaction: with a new identity the records before would be in another one, so it fails as a
/// whole; and when it is given up anyway, nothing is tried again.
fn within_transaction(verdict: Verdict, answer: &PartitionProduceResponse, is_given_up: bool) -> Verdict {
    let is_retry = matches!(verdict, Verdict::Retry);
    match verdict {
        Verdict::Retry | Verdict::RetryWithNewIdentity if is_given_up || !is_retry => {
            Verdict::Fail(ErrorCode::from_code(answer.error_code))
        }
        verdict => verdict,
    }
}

impl Sender {
    pub(super) fn new(shared: Arc<Shared>) -> Sender {
        let cluster = &shared.cluster;
        Sender {
            owner: cluster.new_owner(),
            links: HashMap::new(),
            work: FuturesUnordered::new(),
            identity: None,
            is_identifying: false,
            is_refreshing: false,
            refresh_not_before: None,
            refresh_backoff: cluster.backoff(),
            stale_topics: BTreeSet::new(),
            wakeup: None,
            shared,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            self.advance();
            if self.shared.is_closed.load(Ordering::Acquire) && self.shared.accumulator().is_empty() {
                return;
            }
            let wakeup = self.wakeup;
            let event = tokio::select! {
                Some(event) = self.work.next() => event,
                () = self.shared.wake.notified() => Event::Woken,
                () = tokio::time::sleep_until(wakeup.unwrap_or_else(Instant::now)), if wakeup.is_some() => {
                    Event::TimerExpired
                }
            };
            self.on_event(event);
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Woken | Event::TimerExpired => {}
            Event::Connected { broker, result } => self.on_connected(broker, result),
            Event::Answered { broker, batches, result } => self.on_answered(broker, batches, result),
            Event::MetadataRefreshed { result } => self.on_metadata_refreshed(result),
            Event::Identified { result } => self.on_identified(result),
            Event::Enlisted { enlisting, result } => {
                if let Some(mut transaction) = self.shared.transaction() {
                    transaction.on_enlisted(enlisting, result);
                }
                self.shared.enlisting_done.notify_waiters();
            }
        }
    }

    /// Does everything that can be done now.
    fn advance(&mut self) {
        let now = Instant::now();
        self.fail_expired(now);
        self.follow_transaction();
        if self.shared.coordinator.is_none()
            && self.shared.config.enable_idempotence
            && self.identity.is_none()
        {
            // Only a producer that has something to send needs to be known.
            if !self.shared.accumulator().is_empty() {
                self.identify();
            }
            self.wakeup = Some(now + Duration::from_secs(1));
            return;
        }
        let metadata = self.shared.cluster.metadata();
        let plan = {
            let links = &self.links;
            let room = |broker: i32| match links.get(&broker) {
                Some(Link { connection: Some(connection), in_flight, .. }) if !connection.is_closed() => {
                    self.shared.config.max_in_flight.saturating_sub(*in_flight)
                }
                _ => 0,
            };
            let request_size_max = self.shared.config.max_request_size;
            let mut accumulator = self.shared.accumulator();
            let mut transaction = self.shared.transaction();
            let admits = |topic: &Arc<str>, partition: i32| match &mut transaction {
                Some(transaction) => transaction.admits(topic, partition),
                None => true,
            };
            accumulator.plan(now, &*metadata, self.identity, room, request_size_max, admits)
        };
        let Plan { requests, wanted_brokers, leaderless, needs_identity, wakeup } = plan;
        self.wakeup = wakeup;
        for (broker, requests) in requests {
            for request in requests {
                self.send(broker, request.batches);
            }
        }
        for broker in wanted_brokers {
            self.connect(broker);
        }
        // A transactional producer gets another one when the transaction is aborted, which that partition's failure leads to.
        if needs_identity && self.shared.coordinator.is_none() {
            self.identity = None;
            self.identify();
        }
        self.enlist();
        self.stale_topics.extend(leaderless);
        self.refresh_stale(now);
    }

    /// Takes over what the transaction has become: its identity, and whether what waits is given up.
    fn follow_transaction(&mut self) {
        let (identity, gives_up) = match self.shared.transaction() {
            Some(transaction) => (transaction.identity(), transaction.gives_up()),
            None => return,
        };
        self.identity = identity;
        if let Some(error) = gives_up {
            self.fail_waiting(&error);
        }
    }

    /// Tells the coordinator of partitions that the transaction is about to write to.
    fn enlist(&mut self) {
        let wanted = self.shared.transaction().and_then(|mut transaction| transaction.take_wanted());
        let Some(enlisting) = wanted else { return };
        let shared = self.shared.clone();
        self.work.push(Box::pin(async move {
            let result = match &shared.coordinator {
                Some(coordinator) => coordinating::add_partitions(coordinator, &enlisting).await,
                None => Ok(()),
            };
            Event::Enlisted { enlisting, result }
        }));
    }

    fn send(&mut self, broker: i32, mut batches: Vec<Taken>) {
        let compression = self.shared.config.compression;
        let transactional_id = self.shared.config.transactional_id.as_deref();
        let mut topics: BTreeMap<Arc<str>, Vec<PartitionProduceData>> = BTreeMap::new();
        for taken in &mut batches {
            let data = PartitionProduceData {
                index: taken.partition,
                records: Some(taken.batch.seal(compression, transactional_id.is_some())),
            };
            topics.entry(taken.topic.clone()).or_default().push(data);
        }
        let request = ProduceRequest {
            transactional_id: transactional_id.map(Str::from),
            acks: self.shared.config.acks.code(),
            timeout_ms: self.shared.cluster.config.request_timeout.as_millis().min(i32::MAX as u128) as i32,
            topic_data: topics
                .into_iter()
                .map(|(topic, partition_data)| TopicProduceData {
                    name: Str::from(&*topic),
                    partition_data,
                    ..TopicProduceData::default()
                })
                .collect(),
        };
        let submitted = match self.links.get(&broker).and_then(|link| link.connection.as_ref()) {
            Some(connection) => self.submit(connection, &request),
            None => Err(ClientError::Disconnected {
                address: format!("broker {broker}"),
                reason: "it was closed",
            }),
        };
        match submitted {
            Ok(Some(answer)) => {
                if let Some(link) = self.links.get_mut(&broker) {
                    link.in_flight += 1;
                }
                self.work
                    .push(Box::pin(async move { Event::Answered { broker, batches, result: answer.await } }));
            }
            Ok(None) => self.on_sent_unanswered(batches),
            Err(error) => self.on_lost(batches, &error),
        }
    }

    fn submit(
        &self,
        connection: &Connection,
        request: &ProduceRequest,
    ) -> Result<Option<crate::connection::Pending<ProduceRequest>>, ClientError> {
        let version_max = match self.shared.transaction().map(|transaction| transaction.version()) {
            Some(TransactionVersion::One) => PRODUCE_VERSION_MAX_TRANSACTIONS_1,
            Some(TransactionVersion::Two) | None => PRODUCE_VERSION_MAX,
        };
        let version = connection.version_of::<ProduceRequest>(version_max)?;
        debug_assert!(version >= ProduceRequest::VERSIONS.0);
        if self.shared.config.acks == Acks::None {
            connection.submit_unanswered(request, version)?;
            return Ok(None);
        }
        connection.submit(request, version, self.shared.cluster.config.request_timeout).map(Some)
    }

    fn connect(&mut self, broker: i32) {
        let link = self.links.entry(broker).or_default();
        let is_open = link.connection.as_ref().is_some_and(|connection| !connection.is_closed());
        if link.is_connecting || is_open {
            return;
        }
        link.is_connecting = true;
        link.connection = None;
        let (cluster, lane) = (self.shared.cluster.clone(), Lane::Produce(self.owner));
        self.work.push(Box::pin(async move {
            Event::Connected { broker, result: cluster.broker(broker, lane).await }
        }));
    }

    fn on_connected(&mut self, broker: i32, result: Result<Connection, ClientError>) {
        let link = self.links.entry(broker).or_default();
        link.is_connecting = false;
        match result {
            Ok(connection) => link.connection = Some(connection),
            // Trying again would not change it, and whoever waits for what was sent should know.
            Err(error) if error.is_refusal() => self.fail_waiting(&error),
            Err(error) => {
                // The pool pauses before it tries again. Meanwhile the partitions may have found other leaders.
                debug!(broker, %error, "no connection to produce over");
                let topics: Vec<Arc<str>> = self.shared.accumulator().topics().cloned().collect();
                self.stale_topics.extend(topics);
            }
        }
    }

    fn on_answered(
        &mut self,
        broker: i32,
        batches: Vec<Taken>,
        result: Result<ProduceResponse, ClientError>,
    ) {
        if let Some(link) = self.links.get_mut(&broker) {
            link.in_flight = link.in_flight.saturating_sub(1);
        }
        let response = match result {
            Ok(response) => response,
            Err(error) => return self.on_lost(batches, &error),
        };
        let answers: HashMap<(&str, i32), &PartitionProduceResponse> = response
            .responses
            .iter()
            .flat_map(|topic| {
                topic.partition_responses.iter().map(|answer| ((topic.name.as_str(), answer.index), answer))
            })
            .collect();
        for taken in batches {
            let answer = answers.get(&(&*taken.topic, taken.partition)).copied();
            match answer {
                Some(answer) => self.on_partition_answered(taken, answer),
                None => {
                    let error = missing_answer(&taken);
                    self.fail(taken, error);
                }
            }
        }
    }

    fn on_partition_answered(&mut self, taken: Taken, answer: &PartitionProduceResponse) {
        let shared = self.shared.clone();
        let mut accumulator = shared.accumulator();
        let Some((queue, limits)) = accumulator.queue(&taken.topic, taken.partition) else { return };
        let is_idempotent = shared.config.enable_idempotence;
        let mut verdict = verdict(answer, is_idempotent, queue.is_recovering());
        if let Some(transaction) = shared.transaction() {
            verdict = within_transaction(verdict, answer, transaction.gives_up().is_some());
        }
        if let Verdict::Retry | Verdict::RetryWithNewIdentity = verdict {
            let code = ErrorCode::from_code(answer.error_code);
            debug!(
                topic = &*taken.topic,
                partition = taken.partition,
                error = code.name(),
                "retrying a batch"
            );
            self.stale_topics.insert(taken.topic.clone());
        }
        match verdict {
            Verdict::Acknowledged(acknowledged) => {
                queue.on_acknowledged(&taken.batch);
                drop(accumulator);
                self.complete(taken.batch, Ok(acknowledged));
            }
            Verdict::Retry => queue.on_retriable(taken.batch, limits, Instant::now()),
            Verdict::RetryWithNewIdentity => {
                warn!(
                    topic = &*taken.topic,
                    partition = taken.partition,
                    "the broker does not know what this producer wrote before; going on under a new producer id"
                );
                queue.on_identity_rejected(taken.batch, limits, Instant::now());
            }
            Verdict::Fail(code) => {
                drop(accumulator);
                let error = ClientError::Broker {
                    what: format!("writing to {}-{}", taken.topic, taken.partition),
                    code,
                    message: answer.error_message.as_ref().map(|message| message.to_string()),
                };
                self.fail(taken, error);
            }
        }
    }

    /// No answer came: the batches may have been written or not.
    fn on_lost(&mut self, batches: Vec<Taken>, error: &ClientError) {
        debug!(%error, batches = batches.len(), "a produce request was lost");
        for taken in batches {
            if !error.is_connection() {
                self.fail(taken, error.clone());
                continue;
            }
            self.stale_topics.insert(taken.topic.clone());
            if let Some(reason) = self.gives_up() {
                self.fail(taken, reason);
                continue;
            }
            let mut accumulator = self.shared.accumulator();
            if let Some((queue, limits)) = accumulator.queue(&taken.topic, taken.partition) {
                queue.on_retriable(taken.batch, limits, Instant::now());
            }
        }
    }

    /// With acks 0, sent is all that will ever be known.
    fn on_sent_unanswered(&mut self, batches: Vec<Taken>) {
        for taken in batches {
            if let Some((queue, _)) = self.shared.accumulator().queue(&taken.topic, taken.partition) {
                queue.on_acknowledged(&taken.batch);
            }
            self.complete(taken.batch, Ok(Acknowledged { base_offset: -1, log_append_time_ms: -1 }));
        }
    }

    fn fail_expired(&mut self, now: Instant) {
        let expired = self.shared.accumulator().expired(now);
        for taken in expired {
            let topic_partition = crate::TopicPartition::new(&*taken.topic, taken.partition);
            let last = match self.shared.cluster.metadata().leader(&taken.topic, taken.partition) {
                Some(_) => ClientError::broker("waiting for the broker", ErrorCode::RequestTimedOut),
                None => ClientError::NoLeader { topic_partition: topic_partition.clone() },
            };
            let error = ClientError::Timeout {
                what: format!("writing to {topic_partition}"),
                waited: now.saturating_duration_since(taken.batch.created_at),
                last: Arc::new(last),
            };
            self.fail_transaction(&error);
            self.complete(taken.batch, Err(error));
        }
    }

    /// Gives up a batch that was under way.
    fn fail(&mut self, taken: Taken, error: ClientError) {
        if let Some((queue, _)) = self.shared.accumulator().queue(&taken.topic, taken.partition) {
            queue.on_failed(&taken.batch);
        }
        self.fail_transaction(&error);
        self.complete(taken.batch, Err(error));
    }

    /// A transaction that lacks a record must not be committed.
    fn fail_transaction(&self, error: &ClientError) {
        if let Some(mut transaction) = self.shared.transaction() {
            transaction.on_batch_failed(error);
        }
    }

    /// Why what is not acknowledged is not tried again.
    fn gives_up(&self) -> Option<ClientError> {
        self.shared.transaction().and_then(|transaction| transaction.gives_up())
    }

    fn complete(&self, batch: Batch, outcome: Result<Acknowledged, ClientError>) {
        let memory = batch.complete(outcome);
        self.shared.memory.add_permits(memory);
    }

    fn identify(&mut self) {
        if self.is_identifying {
            return;
        }
        self.is_identifying = true;
        let cluster = self.shared.cluster.clone();
        self.work.push(Box::pin(async move {
            let request = InitProducerIdRequest { transaction_timeout_ms: i32::MAX, ..Default::default() };
            let attempt = async || {
                let connection = cluster.any().await?;
                let response = connection.send(&request, cluster.config.request_timeout).await?;
                crate::error::check(response.error_code, || "asking for a producer id".to_owned())?;
                Ok(ProducerIdentity {
                    producer_id: response.producer_id,
                    producer_epoch: response.producer_epoch,
                })
            };
            Event::Identified {
                result: cluster.retry(|| "asking for a producer id".to_owned(), attempt).await,
            }
        }));
    }

    fn on_identified(&mut self, result: Result<ProducerIdentity, ClientError>) {
        self.is_identifying = false;
        match result {
            Ok(identity) => {
                info!(
                    producer_id = identity.producer_id,
                    epoch = identity.producer_epoch,
                    "producer id given"
                );
                self.identity = Some(identity);
            }
            // Batches expire one by one while the cluster cannot be reached.
            Err(error) if error.is_retriable() => debug!(%error, "no producer id yet"),
            Err(error) => self.on_fatal(&error),
        }
    }

    /// Nothing can be written any more: what waits fails, and what is sent later too.
    fn on_fatal(&mut self, error: &ClientError) {
        let _ = self.shared.fatal.set(error.clone());
        self.fail_waiting(error);
    }

    /// Gives up everything that is not under way.
    fn fail_waiting(&mut self, error: &ClientError) {
        let waiting = self.shared.accumulator().drain();
        if !waiting.is_empty() {
            self.fail_transaction(error);
        }
        for taken in waiting {
            self.complete(taken.batch, Err(error.clone()));
        }
    }

    fn refresh_stale(&mut self, now: Instant) {
        let cluster = &self.shared.cluster;
        let age_max = cluster.config.metadata_max_age;
        {
            let metadata = cluster.metadata();
            let accumulator = self.shared.accumulator();
            // Idle producers leave their topics alone.
            if !accumulator.is_empty() {
                let old = accumulator.topics().filter(|topic| metadata.topic(topic, now, age_max).is_none());
                self.stale_topics.extend(old.cloned());
            }
        }
        if self.is_refreshing || self.stale_topics.is_empty() {
            return;
        }
        if let Some(not_before) = self.refresh_not_before.filter(|not_before| *not_before > now) {
            self.wakeup = Some(self.wakeup.map_or(not_before, |wakeup| wakeup.min(not_before)));
            return;
        }
        self.is_refreshing = true;
        let (cluster, topics) = (cluster.clone(), std::mem::take(&mut self.stale_topics));
        self.work.push(Box::pin(async move {
            let names: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
            let create = cluster.config.allow_auto_create_topics;
            let result = cluster.refresh(Some(&names), create).await.map(|_| ());
            Event::MetadataRefreshed { result }
        }));
    }

    fn on_metadata_refreshed(&mut self, result: Result<(), ClientError>) {
        self.is_refreshing = false;
        self.refresh_not_before = Some(Instant::now() + self.refresh_backoff.next());
        match result {
            Ok(()) => {
                self.refresh_backoff.reset();
                let metadata = self.shared.cluster.metadata();
                let mut accumulator = self.shared.accumulator();
                let topics: Vec<Arc<str>> = accumulator.topics().cloned().collect();
                for topic in topics {
                    if let Some(found) = metadata.topic_of_any_age(&topic) {
                        accumulator.set_partitions(&topic, found.partition_count());
                    }
                }
            }
            Err(error) => debug!(%error, "metadata was not refreshed"),
        }
    }
}

fn missing_answer(taken: &Taken) -> ClientError {
    let what = format!("writing to {}-{}: the broker's answer leaves it out", taken.topic, taken.partition);
    ClientError::broker(what, ErrorCode::UnknownServerError)
}

impl Drop for Sender {
    /// Nobody waits for ever: not after a panic here, and not when the runtime ends first.
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::Release);
        self.shared.memory.close();
        if let Some(mut transaction) = self.shared.transaction() {
            transaction.on_sender_gone();
        }
        self.shared.enlisting_done.notify_waiters();
        for completion in self.shared.accumulator().completions() {
            completion.complete(Err(ClientError::Closed("producer")));
        }
        self.shared.cluster.pool.release(self.owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: ErrorCode) -> PartitionProduceResponse {
        PartitionProduceResponse { error_code: code.code(), base_offset: 9, ..Default::default() }
    }

    #[test]
    fn a_duplicate_is_an_acknowledgement() {
        let acknowledged = Acknowledged { base_offset: 9, log_append_time_ms: -1 };
        let verdict = verdict(&answer(ErrorCode::DuplicateSequenceNumber), true, false);
        assert_eq!(verdict, Verdict::Acknowledged(acknowledged));
    }

    #[test]
    fn a_gap_is_only_believed_when_no_failure_before_it_explains_it() {
        let gap = answer(ErrorCode::OutOfOrderSequenceNumber);
        assert_eq!(verdict(&gap, true, true), Verdict::Retry);
        assert_eq!(verdict(&gap, true, false), Verdict::RetryWithNewIdentity);
        assert_eq!(verdict(&gap, false, false), Verdict::Fail(ErrorCode::OutOfOrderSequenceNumber));
    }

    #[test]
    fn a_transaction_never_goes_on_under_another_identity_and_retries_nothing_when_given_up() {
        let unknown = answer(ErrorCode::UnknownProducerId);
        let elsewhere = answer(ErrorCode::NotLeaderOrFollower);
        for (answer, verdict, is_given_up, expected) in [
            (&unknown, Verdict::RetryWithNewIdentity, false, Verdict::Fail(ErrorCode::UnknownProducerId)),
            (&elsewhere, Verdict::Retry, true, Verdict::Fail(ErrorCode::NotLeaderOrFollower)),
            (&elsewhere, Verdict::Retry, false, Verdict::Retry),
        ] {
            assert_eq!(within_transaction(verdict, answer, is_given_up), expected);
        }
    }

    #[test]
    fn what_waiting_does_not_cure_fails() {
        let code = ErrorCode::MessageTooLarge;
        assert_eq!(verdict(&answer(code), true, true), Verdict::Fail(code));
        assert_eq!(verdict(&answer(ErrorCode::NotLeaderOrFollower), true, false), Verdict::Retry);
    }
}
