//! A broker small enough to read, over the frame transport: it keeps partitions in memory, checks sequences as a
//! broker does, and misbehaves as it is told.

mod group;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ottla_client::{FrameConnection, Transport};
use ottla_protocol::messages::k00_produce::{PartitionProduceResponse, TopicProduceResponse};
use ottla_protocol::messages::k01_fetch::{FetchableTopicResponse, PartitionData};
use ottla_protocol::messages::k02_list_offsets::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use ottla_protocol::messages::k03_metadata::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use ottla_protocol::messages::k18_api_versions::ApiVersion;
use ottla_protocol::messages::*;
use ottla_protocol::records::{Batch, Batches, patch_base_offset};
use ottla_protocol::wire::Records;
use ottla_protocol::{APIS, ApiKey, ErrorCode, Reader, Request, RequestHeader, frame};
use tokio::sync::mpsc;

use group::Group;

pub const TOPIC: &str = "t";

/// How a request is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// As it should be.
    None,
    /// Answered with this error for every partition, and not done.
    Error(ErrorCode),
    /// Done, but the connection ends before the answer.
    LoseAnswer,
    /// The connection ends before it is done.
    LoseRequest,
    /// Never answered.
    Silence,
    /// Answered under another correlation id.
    WrongCorrelation,
    /// Done after the producers of all partitions were forgotten.
    ForgetProducers,
}

type Rule = Box<dyn FnMut(ApiKey) -> Fault + Send>;

#[derive(Default)]
struct Partition {
    batches: Vec<Batch>,
    end: i64,
    /// By producer id and epoch.
    producers: BTreeMap<(i64, i16), Sequences>,
}

#[derive(Default)]
struct Sequences {
    next: i32,
    /// Base sequence and offset of the last five batches.
    recent: VecDeque<(i32, i64)>,
}

pub struct State {
    partitions: Vec<Partition>,
    rule: Rule,
    next_producer_id: i64,
    /// Every request, in the order they came.
    pub requests: Vec<RequestHeader>,
    /// The newest ApiVersions this broker knows.
    pub api_versions_max: i16,
    pub leader: i32,
    pub leader_epoch: i32,
    pub group: Group,
}

/// A cluster of two brokers with one state; which one leads is `leader`.
#[derive(Clone)]
pub struct FakeBroker {
    state: Arc<Mutex<State>>,
}

impl FakeBroker {
    pub fn new(partitions: usize) -> FakeBroker {
        let state = State {
            partitions: (0..partitions).map(|_| Partition::default()).collect(),
            rule: Box::new(|_| Fault::None),
            next_producer_id: 1000,
            requests: Vec::new(),
            api_versions_max: 4,
            leader: 1,
            leader_epoch: 0,
            group: Group::default(),
        };
        FakeBroker { state: Arc::new(Mutex::new(state)) }
    }

    /// Decides for each request how it is treated.
    pub fn set_rule(&self, rule: impl FnMut(ApiKey) -> Fault + Send + 'static) {
        self.state().rule = Box::new(rule);
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Everything in the partition: offset and value.
    pub fn log(&self, partition: usize) -> Vec<(i64, String)> {
        let state = self.state();
        let batches = state.partitions[partition].batches.iter();
        let records = batches.flat_map(|batch| batch.records(1 << 24).unwrap()).map(Result::unwrap);
        records
            .map(|record| (record.offset, String::from_utf8(record.value.unwrap().to_vec()).unwrap()))
            .collect()
    }

    pub fn count(&self, api: ApiKey) -> usize {
        self.state().requests.iter().filter(|header| header.api_key == api).count()
    }
}

#[async_trait]
impl Transport for FakeBroker {
    async fn connect(&self, _host: &str, port: u16) -> io::Result<FrameConnection> {
        let (requests, mut inbox) = mpsc::channel::<Bytes>(16);
        let (outbox, responses) = mpsc::channel(16);
        let broker = self.clone();
        tokio::spawn(async move {
            while let Some(frame) = inbox.recv().await {
                match broker.handle(frame, i32::from(port)) {
                    Reply::Frame(frame, wait) => {
                        tokio::time::sleep(wait).await;
                        if outbox.send(frame).await.is_err() {
                            return;
                        }
                    }
                    Reply::Nothing => {}
                    Reply::Close => return,
                }
            }
        });
        Ok(FrameConnection { requests, responses, failure: Arc::default(), sasl: None })
    }
}

enum Reply {
    /// After that time: the long poll of a fetch that finds nothing.
    Frame(Bytes, Duration),
    Nothing,
    Close,
}

impl FakeBroker {
    fn handle(&self, bytes: Bytes, broker: i32) -> Reply {
        let header = RequestHeader::decode(&mut Reader::new(bytes.clone())).unwrap();
        let mut state = self.state();
        state.requests.push(header.clone());
        let fault = (state.rule)(header.api_key);
        match fault {
            Fault::LoseRequest => return Reply::Close,
            Fault::Silence => return Reply::Nothing,
            Fault::ForgetProducers => state.partitions.iter_mut().for_each(|each| each.producers.clear()),
            _ => {}
        }
        let error = match fault {
            Fault::Error(code) => Some(code),
            _ => None,
        };
        let mut wait = Duration::ZERO;
        let mut answer = match header.api_key {
            ApiKey::ApiVersions => state.api_versions(&header),
            ApiKey::Metadata => answer(bytes, |_: MetadataRequest| state.metadata(error)),
            ApiKey::InitProducerId => answer(bytes, |_: InitProducerIdRequest| {
                state.next_producer_id += 1;
                InitProducerIdResponse { producer_id: state.next_producer_id, ..Default::default() }
            }),
            ApiKey::Produce => answer(bytes, |request: ProduceRequest| state.produce(request, broker, error)),
            ApiKey::Fetch => answer(bytes, |request: FetchRequest| {
                let max_wait = Duration::from_millis(request.max_wait_ms as u64);
                let response = state.fetch(request, error);
                let mut partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
                if partitions.all(|partition| partition.error_code == 0 && partition.records.is_none()) {
                    wait = max_wait;
                }
                response
            }),
            ApiKey::ListOffsets => answer(bytes, |request| state.list_offsets(request)),
            ApiKey::FindCoordinator => answer(bytes, |request| state.group.find(&request)),
            ApiKey::JoinGroup => answer(bytes, |request| state.group.join(request, error)),
            ApiKey::SyncGroup => answer(bytes, |request| state.group.sync(request, error)),
            ApiKey::Heartbeat => answer(bytes, |request| state.group.heartbeat(&request, error)),
            ApiKey::LeaveGroup => answer(bytes, |request| state.group.leave(&request)),
            ApiKey::OffsetCommit => answer(bytes, |request| state.group.commit(request, error)),
            ApiKey::OffsetFetch => answer(bytes, |request| state.group.fetch(request, error)),
            other => panic!("{other} is not in the script"),
        };
        match fault {
            Fault::LoseAnswer => Reply::Close,
            Fault::WrongCorrelation => {
                answer[0] ^= 1;
                Reply::Frame(answer.into(), wait)
            }
            _ => Reply::Frame(answer.into(), wait),
        }
    }
}

fn answer<R: Request>(bytes: Bytes, handle: impl FnOnce(R) -> R::Response) -> Vec<u8> {
    let (header, request) = frame::decode_request::<R>(bytes).unwrap();
    let response = handle(request);
    let (key, version) = (header.api_key, header.api_version);
    frame::encode_response(key, version, header.correlation_id, &response).unwrap()[4..].to_vec()
}

impl State {
    fn api_versions(&self, header: &RequestHeader) -> Vec<u8> {
        let is_known = header.api_version <= self.api_versions_max;
        let response = ApiVersionsResponse {
            error_code: if is_known { 0 } else { ErrorCode::UnsupportedVersion.code() },
            api_keys: APIS
                .iter()
                .map(|api| ApiVersion {
                    api_key: api.key.code(),
                    min_version: api.first,
                    max_version: api.last,
                })
                .collect(),
            ..Default::default()
        };
        let version = if is_known { header.api_version } else { 0 };
        frame::encode_response(header.api_key, version, header.correlation_id, &response).unwrap()[4..]
            .to_vec()
    }

    fn metadata(&self, error: Option<ErrorCode>) -> MetadataResponse {
        let partitions = (0..self.partitions.len() as i32).map(|index| MetadataResponsePartition {
            partition_index: index,
            leader_id: self.leader,
            leader_epoch: self.leader_epoch,
            ..Default::default()
        });
        MetadataResponse {
            brokers: (1..=2)
                .map(|node_id| MetadataResponseBroker {
                    node_id,
                    host: "fake".into(),
                    port: node_id,
                    ..Default::default()
                })
                .collect(),
            controller_id: 1,
            topics: vec![MetadataResponseTopic {
                name: Some(TOPIC.into()),
                topic_id: ottla_client::Uuid::from_u128(7),
                error_code: error.map_or(0, ErrorCode::code),
                partitions: partitions.filter(|_| error.is_none()).collect(),
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn produce(&mut self, request: ProduceRequest, broker: i32, error: Option<ErrorCode>) -> ProduceResponse {
        let error = error.or((broker != self.leader).then_some(ErrorCode::NotLeaderOrFollower));
        let responses = request.topic_data.into_iter().map(|topic| TopicProduceResponse {
            name: topic.name,
            partition_responses: topic
                .partition_data
                .into_iter()
                .map(|data| {
                    let appended = match error {
                        Some(code) => Err(code),
                        None => self.partitions[data.index as usize].append(data.records.unwrap()),
                    };
                    PartitionProduceResponse {
                        index: data.index,
                        error_code: appended.err().unwrap_or(ErrorCode::None).code(),
                        base_offset: appended.unwrap_or(-1),
                        ..Default::default()
                    }
                })
                .collect(),
            ..Default::default()
        });
        ProduceResponse { responses: responses.collect(), ..Default::default() }
    }

    /// One batch per partition, if there is one.
    fn fetch(&mut self, request: FetchRequest, error: Option<ErrorCode>) -> FetchResponse {
        let responses = request.topics.into_iter().map(|topic| FetchableTopicResponse {
            topic_id: topic.topic_id,
            partitions: topic
                .partitions
                .into_iter()
                .map(|wanted| {
                    let partition = &self.partitions[wanted.partition as usize];
                    let is_outside = wanted.fetch_offset > partition.end;
                    let code = error.or(is_outside.then_some(ErrorCode::OffsetOutOfRange));
                    let next = partition
                        .batches
                        .iter()
                        .find(|batch| batch.header.next_offset() > wanted.fetch_offset);
                    PartitionData {
                        partition_index: wanted.partition,
                        error_code: code.map_or(0, ErrorCode::code),
                        high_watermark: partition.end,
                        records: next
                            .filter(|_| code.is_none())
                            .map(|batch| Records::Held(batch.bytes.clone())),
                        ..Default::default()
                    }
                })
                .collect(),
            ..Default::default()
        });
        FetchResponse { responses: responses.collect(), ..Default::default() }
    }

    fn list_offsets(&self, request: ListOffsetsRequest) -> ListOffsetsResponse {
        let topics = request.topics.into_iter().map(|topic| ListOffsetsTopicResponse {
            partitions: topic
                .partitions
                .iter()
                .map(|wanted| ListOffsetsPartitionResponse {
                    partition_index: wanted.partition_index,
                    offset: match wanted.timestamp {
                        ottla_client::OFFSET_EARLIEST => 0,
                        _ => self.partitions[wanted.partition_index as usize].end,
                    },
                    ..Default::default()
                })
                .collect(),
            name: topic.name,
        });
        ListOffsetsResponse { topics: topics.collect(), ..Default::default() }
    }
}

impl Partition {
    fn append(&mut self, records: Bytes) -> Result<i64, ErrorCode> {
        let batches: Vec<Batch> = Batches::new(records).map(Result::unwrap).collect();
        assert_eq!(batches.len(), 1, "one batch per partition and request");
        let batch = &batches[0];
        batch.check_crc().unwrap();
        let header = &batch.header;
        let base_offset = self.end;
        if header.has_producer_id() {
            let id = (header.producer_id, header.producer_epoch);
            if !self.producers.contains_key(&id) && header.base_sequence != 0 {
                return Err(ErrorCode::UnknownProducerId);
            }
            let Sequences { next, recent } = self.producers.entry(id).or_default();
            if let Some((_, offset)) = recent.iter().find(|(base, _)| *base == header.base_sequence) {
                return Ok(*offset);
            }
            if header.base_sequence != *next {
                return Err(ErrorCode::OutOfOrderSequenceNumber);
            }
            *next += header.record_count;
            recent.push_back((header.base_sequence, base_offset));
            if recent.len() > 5 {
                recent.pop_front();
            }
        }
        let mut stored = batch.bytes.to_vec();
        patch_base_offset(&mut stored, base_offset);
        self.batches.push(Batch::parse(&stored.into()).unwrap());
        self.end += i64::from(header.record_count);
        Ok(base_offset)
    }
}
