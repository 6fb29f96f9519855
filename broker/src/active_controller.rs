//! The way to whatever only the active controller decides, from any node: done here where this node is it, and else asked of it on
//! its controller listener, again and with a pause while the quorum looks for a new one. Whoever has its answer finds what was decided
//! in this node's image.
//!
//! Requests of clients go on inside an Envelope (KIP-590, [`ActiveController::forward`]), so that the controller judges the client;
//! what the broker wants itself, topics on first use and producer ids, are requests of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ottla_client::NodeConnection;
use ottla_protocol::messages::k19_create_topics::{CreatableTopic, CreatableTopicConfig};
use ottla_protocol::messages::k55_describe_quorum::{PartitionData, TopicData};
use ottla_protocol::messages::{
    AllocateProducerIdsRequest, CreateTopicsRequest, DescribeQuorumRequest, EnvelopeRequest,
};
use ottla_protocol::wire::{Request as WireRequest, Str};
use ottla_protocol::{ErrorCode, Message};
use tokio::time::{Instant, timeout, timeout_at};

use crate::controller::{Controller, ControllerError, CreateTopic, METADATA_TOPIC, ProducerIdBlock, Refusal};
use crate::ids::{NodeId, Offset};
use crate::quorum::{PeerAddress, QuorumState};

/// The first and the longest pause before it is asked again.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// How long this node's image may take to have what was decided elsewhere.
const CATCH_UP_TIME_MAX: Duration = Duration::from_secs(5);

/// See the module; cheap to clone.
#[derive(Clone)]
pub struct ActiveController {
    controller: Controller,
    connections: Arc<Mutex<BTreeMap<NodeId, (PeerAddress, NodeConnection)>>>,
    answer_time_max: Duration,
}

impl ActiveController {
    /// From this node, whose own controller may be the active one. Where it is another it is looked for and waited for that long.
    pub fn new(controller: Controller, answer_time_max: Duration) -> ActiveController {
        ActiveController { controller, connections: Arc::default(), answer_time_max }
    }

    /// This node's own, with its image.
    pub fn local(&self) -> &Controller {
        &self.controller
    }

    /// Whether what the controller decides is decided here, as far as is known.
    pub fn is_here(&self) -> bool {
        let quorum = self.controller.log();
        quorum.is_alone() || quorum.state().leads_from.is_some()
    }

    /// Has the active controller answer a client's request; gives the frame for the client, or nothing where this node has become
    /// the controller or none was found in time.
    pub async fn forward(&self, envelope: &EnvelopeRequest) -> Option<Bytes> {
        let code =
            |answer: &<EnvelopeRequest as WireRequest>::Response| ErrorCode::from_code(answer.error_code);
        let answer = self.ask(envelope, code).await?;
        if let Err(code) = ErrorCode::check(answer.error_code) {
            tracing::warn!(%code, "the active controller does not take a request that was passed on");
        }
        answer.response_data
    }

    /// Makes topics that the broker itself wants; one answer per topic, in order.
    pub async fn create_topics(&self, topics: Vec<CreateTopic>) -> Vec<Result<(), Refusal>> {
        if !self.is_here() {
            let request = CreateTopicsRequest {
                topics: topics.iter().map(creatable).collect(),
                timeout_ms: i32::try_from(self.answer_time_max.as_millis()).unwrap_or(i32::MAX),
                ..CreateTopicsRequest::default()
            };
            let first = |answer: &<CreateTopicsRequest as WireRequest>::Response| {
                ErrorCode::from_code(answer.topics.first().map_or(0, |topic| topic.error_code))
            };
            if let Some(answer) = self.ask(&request, first).await {
                let of_topic = |wanted: &CreateTopic| {
                    let found = answer.topics.iter().find(|topic| *topic.name == *wanted.name);
                    let code = found.map_or(ErrorCode::UnknownServerError.code(), |topic| topic.error_code);
                    let message = found.and_then(|topic| topic.error_message.as_deref()).unwrap_or_default();
                    ErrorCode::check(code).map_err(|code| Refusal { code, message: message.to_owned() })
                };
                return topics.iter().map(of_topic).collect();
            }
        }
        let made = self.controller.create_topics(topics, false).await;
        made.into_iter().map(|made| made.map(drop)).collect()
    }

    /// A block of producer ids that nobody else gets (KIP-730).
    ///
    /// # Errors
    /// When nobody decides at the moment, or the metadata log cannot be written.
    pub async fn producer_ids(&self) -> Result<ProducerIdBlock, ControllerError> {
        if !self.is_here() {
            let (broker_id, broker_epoch) = self.registration();
            let request = AllocateProducerIdsRequest { broker_id, broker_epoch };
            let code = |answer: &<AllocateProducerIdsRequest as WireRequest>::Response| {
                ErrorCode::from_code(answer.error_code)
            };
            if let Some(answer) = self.ask(&request, code).await {
                ErrorCode::check(answer.error_code).map_err(ControllerError::Refused)?;
                let next = answer.producer_id_start;
                return Ok(ProducerIdBlock { next, end: next.saturating_add(answer.producer_id_len.into()) });
            }
        }
        self.controller.producer_ids(self.node_id()).await
    }

    fn node_id(&self) -> NodeId {
        self.controller.log().membership().config.me.id
    }

    /// This node's id, and the epoch of its registration as a broker.
    fn registration(&self) -> (i32, i64) {
        let id = self.node_id();
        (id.0, self.controller.image().brokers().get(&id).map_or(-1, |broker| broker.epoch.0))
    }

    /// What the active controller answers, where that is another node and answers in time; this node's image has what it decided.
    async fn ask<R: WireRequest>(
        &self,
        request: &R,
        code: impl Fn(&R::Response) -> ErrorCode,
    ) -> Option<R::Response> {
        let deadline = Instant::now() + self.answer_time_max;
        let mut watching = self.controller.log().watch();
        let mut pause = RETRY.0;
        loop {
            let state = *watching.borrow_and_update();
            if state.leads_from.is_some() {
                return None;
            }
            if let Some(connection) = self.connection(&state) {
                let version = R::VERSIONS.1;
                let within = deadline.saturating_duration_since(Instant::now());
                let answered = tokio::select! {
                    answered = connection.call(request, version, within) => Some(answered),
                    // Of who does not lead any more there may be no answer.
                    _ = watching.wait_for(|now| now.epoch != state.epoch) => None,
                };
                match answered {
                    Some(Ok(answer)) if code(&answer) != ErrorCode::NotController => {
                        self.catch_up(&connection).await;
                        return Some(answer);
                    }
                    Some(Err(error)) => {
                        tracing::debug!(api = R::API_KEY.name(), %error, "the active controller does not answer");
                    }
                    Some(Ok(_)) | None => {}
                }
            }
            if Instant::now() >= deadline {
                return None;
            }
            // The next one may be known before the pause is over.
            let is_new = |now: &QuorumState| (now.epoch, now.leader) != (state.epoch, state.leader);
            if let Ok(Err(_)) = timeout(pause, watching.wait_for(is_new)).await {
                return None;
            }
            pause = (pause * 2).min(RETRY.1);
        }
    }

    /// Waits until this node's image has everything that the active controller has committed by now.
    async fn catch_up(&self, connection: &NodeConnection) {
        let partitions = vec![PartitionData { partition_index: 0 }];
        let topics = vec![TopicData { topic_name: METADATA_TOPIC.into(), partitions }];
        let until = Instant::now() + CATCH_UP_TIME_MAX;
        let request = DescribeQuorumRequest { topics };
        let version = <DescribeQuorumRequest as Message>::VERSIONS.1;
        let committed = match connection.call(&request, version, CATCH_UP_TIME_MAX).await {
            Ok(answer) => {
                let partition = answer.topics.first().and_then(|topic| topic.partitions.first());
                Offset(partition.map_or(0, |partition| partition.high_watermark))
            }
            Err(_) => return,
        };
        let _ = timeout_at(until, self.controller.applied_up_to(committed)).await;
    }

    fn connection(&self, state: &QuorumState) -> Option<NodeConnection> {
        let quorum = self.controller.log();
        let leader = state.leader.filter(|leader| *leader != quorum.membership().config.me.id)?;
        let address = quorum.addresses().of(leader)?;
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, connection)) = connections.get(&leader).filter(|(known, _)| *known == address) {
            return Some(connection.clone());
        }
        let connection = quorum.connect(&address);
        connections.insert(leader, (address, connection.clone()));
        Some(connection)
    }
}

fn creatable(topic: &CreateTopic) -> CreatableTopic {
    let configs = topic.configs.iter().map(|(name, value)| CreatableTopicConfig {
        name: name.as_str().into(),
        value: value.as_deref().map(Str::from),
    });
    CreatableTopic {
        name: topic.name.as_str().into(),
        num_partitions: topic.partitions,
        replication_factor: topic.replication_factor,
        assignments: Vec::new(),
        configs: configs.collect(),
    }
}
