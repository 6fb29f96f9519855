//! The controller listener: where the other members, and tools that ask how the quorum is, come in. Each connection has one
//! request under way at a time. Whoever breaks the protocol, or is too slow about a frame, is closed; memory is bounded by the
//! number of connections and the size of a request.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use ottla_protocol::frame::{RequestHeader, encode_response};
use ottla_protocol::messages::k18_api_versions::ApiVersion;
use ottla_protocol::messages::k59_fetch_snapshot::{
    LeaderIdAndEpoch, PartitionSnapshot, PartitionSnapshotResponse, TopicSnapshotResponse,
};
use ottla_protocol::messages::{
    AllocateProducerIdsRequest, AlterPartitionRequest, ApiVersionsRequest, ApiVersionsResponse,
    AssignReplicasToDirsRequest, AssignReplicasToDirsResponse, BeginQuorumEpochRequest,
    BeginQuorumEpochResponse, BrokerHeartbeatRequest, BrokerRegistrationRequest, DescribeClusterRequest,
    DescribeQuorumRequest, EndQuorumEpochRequest, EndQuorumEpochResponse, EnvelopeRequest, EnvelopeResponse,
    FetchRequest, FetchResponse, FetchSnapshotRequest, FetchSnapshotResponse, SaslAuthenticateRequest,
    SaslHandshakeRequest, UpdateRaftVoterRequest, VoteRequest, VoteResponse,
};
use ottla_protocol::wire::{Reader, Request as WireRequest};
use ottla_protocol::{ApiKey, ErrorCode};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::describe;
use super::from_brokers;
use super::handle::{Answered, QuorumHandle};
use super::peers::PeerAddress;
use super::raft_voters;
use super::types::{Epoch, LogEnd, ReplicaKey, Request};
use super::wire::{self, FetchTerms};
use crate::controller::{ClusterImage, Controller, METADATA_TOPIC, SnapshotId};
use crate::ids::{NodeId, Offset};
use crate::security::Operation;
use crate::server::{Context, Duplex, Endpoint, Entrance, FrameReader, Visitor, forwarding};

/// Connections at a time: every other controller and broker has a few.
const CONNECTIONS_MAX: usize = 1000;
/// Bytes of a request.
const REQUEST_BYTES_MAX: usize = 8 << 20;
/// Bytes of a snapshot in one answer.
const SNAPSHOT_BYTES_MAX: usize = 8 << 20;
/// How long a connection may say nothing.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// How long a frame may take.
const FRAME_TIME_MAX: Duration = Duration::from_secs(30);
/// How long accepting rests after the system refused.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What is served, with first and last version; and what the controller decides ([`forwarding::decided_by_controller`]).
const SERVED: [(ApiKey, i16, i16); 17] = [
    (ApiKey::Fetch, 17, 18),
    (ApiKey::SaslHandshake, 1, 1),
    (ApiKey::ApiVersions, 0, 4),
    (ApiKey::SaslAuthenticate, 0, 2),
    (ApiKey::Vote, 1, 2),
    (ApiKey::BeginQuorumEpoch, 1, 1),
    (ApiKey::EndQuorumEpoch, 1, 1),
    (ApiKey::DescribeQuorum, 0, 2),
    (ApiKey::FetchSnapshot, 1, 1),
    (ApiKey::DescribeCluster, 1, 2),
    // From 3 on it says in which run of their brokers the replicas are (KIP-903).
    (ApiKey::AlterPartition, 3, 3),
    (ApiKey::BrokerRegistration, 2, 4),
    (ApiKey::BrokerHeartbeat, 0, 1),
    (ApiKey::Envelope, 0, 0),
    (ApiKey::AllocateProducerIds, 0, 0),
    (ApiKey::AssignReplicasToDirs, 0, 0),
    (ApiKey::UpdateRaftVoter, 0, 0),
];

fn served() -> impl Iterator<Item = (ApiKey, i16, i16)> {
    let decided = forwarding::decided_by_controller();
    SERVED.into_iter().chain(decided.map(|served| (served.key, served.versions.0, served.versions.1)))
}

/// A bound socket that serves the quorum once it is told to.
pub(crate) struct QuorumListener {
    socket: TcpListener,
    entrance: Entrance,
}

impl QuorumListener {
    /// Binds where the others expect this controller.
    pub async fn of(own: &PeerAddress, entrance: Entrance) -> io::Result<QuorumListener> {
        Ok(QuorumListener { socket: TcpListener::bind((own.host.as_str(), own.port)).await?, entrance })
    }

    /// With the port that was taken.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// What is spoken there.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.entrance.endpoint
    }

    /// Serves for as long as it is polled.
    pub async fn serve(&self, face: Face) -> ! {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.socket.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                    Ok((stream, address)) => {
                        let (face, entrance) = (face.clone(), self.entrance.clone());
                        connections.spawn(async move {
                            if let Err(error) = serve(stream, &face, &entrance).await {
                                tracing::info!(%address, %error, "closed a connection of the controller listener");
                            }
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
            }
        }
    }
}

/// What a controller is to those that come in.
#[derive(Clone)]
pub(crate) enum Face {
    /// New: part of no cluster yet.
    New(ReplicaKey),
    /// A member of the quorum, with what decides once it is there.
    Member(QuorumHandle, Arc<OnceLock<Arc<Context>>>),
}

async fn serve(stream: TcpStream, face: &Face, entrance: &Entrance) -> io::Result<()> {
    let (mut stream, visitor) = entrance.welcome(stream).await?;
    // Who was heard of on the connection, and in which registration.
    let mut heard_of = None;
    let served = serve_visitor(&mut stream, face, &visitor, &mut heard_of).await;
    if let (Some((id, epoch)), Some(controller)) = (heard_of, decides(face)) {
        controller.look_for(id, epoch).await;
    }
    served
}

async fn serve_visitor(
    stream: &mut BufReader<Box<dyn Duplex>>,
    face: &Face,
    visitor: &Visitor,
    heard_of: &mut Option<(NodeId, Offset)>,
) -> io::Result<()> {
    let mut frames = FrameReader::new(REQUEST_BYTES_MAX);
    loop {
        if frames.is_between_frames() {
            timeout(IDLE_MAX, stream.fill_buf()).await??;
        }
        frames.set_bytes_max(visitor.request_bytes_max(REQUEST_BYTES_MAX));
        let Some(frame) = timeout(FRAME_TIME_MAX, frames.next(stream)).await?? else { return Ok(()) };
        let answer = answer(face, visitor, frame, heard_of).await?;
        timeout(FRAME_TIME_MAX, async {
            stream.write_all(&answer).await?;
            stream.flush().await
        })
        .await??;
        if visitor.has_failed() {
            return Err(invalid("authentication failed"));
        }
    }
}

/// Which operations with the cluster allow to ask it; one is enough. What the controller decides asks for itself.
fn operations(key: ApiKey) -> &'static [Operation] {
    match key {
        ApiKey::ApiVersions | ApiKey::SaslHandshake | ApiKey::SaslAuthenticate | ApiKey::DescribeCluster => {
            &[]
        }
        ApiKey::DescribeQuorum => &[Operation::Describe, Operation::ClusterAction],
        _ if SERVED.iter().any(|(served, ..)| *served == key) => &[Operation::ClusterAction],
        _ => &[],
    }
}

fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// A request, with what its header said.
struct Call {
    version: i16,
    correlation_id: i32,
    reader: Reader,
}

impl Call {
    fn read<R: WireRequest>(&mut self) -> io::Result<R> {
        let request = R::decode(&mut self.reader, self.version).map_err(invalid)?;
        match self.reader.remaining() {
            0 => Ok(request),
            _ => Err(invalid("a request is followed by other bytes")),
        }
    }

    fn reply<R: WireRequest>(&self, response: &R::Response) -> io::Result<Bytes> {
        encode_response(R::API_KEY, self.version, self.correlation_id, response).map_err(invalid)
    }
}

async fn answer(
    face: &Face,
    visitor: &Visitor,
    frame: Bytes,
    heard_of: &mut Option<(NodeId, Offset)>,
) -> io::Result<Bytes> {
    let mut reader = Reader::new(frame.clone());
    let header = RequestHeader::decode(&mut reader).map_err(invalid)?;
    let (key, version) = (header.api_key, header.api_version);
    let mut call = Call { version, correlation_id: header.correlation_id, reader };
    let found = served().find(|(served, ..)| *served == key);
    let is_served = found.is_some_and(|(_, first, last)| (first..=last).contains(&version));
    visitor.admits(key).map_err(invalid)?;
    if key == ApiKey::ApiVersions {
        return api_versions(&call, is_served);
    }
    if !is_served {
        return Err(invalid(format!("{key:?} version {version} is not served by controllers")));
    }
    match key {
        ApiKey::SaslHandshake => {
            let request: SaslHandshakeRequest = call.read()?;
            return call.reply::<SaslHandshakeRequest>(&visitor.handshake(version, &request));
        }
        ApiKey::SaslAuthenticate => {
            let request: SaslAuthenticateRequest = call.read()?;
            let answer = visitor.authenticate(&image(face), &request).await;
            return call.reply::<SaslAuthenticateRequest>(&answer);
        }
        _ => {
            let needed = operations(key);
            if !needed.is_empty() && !visitor.may(&image(face), key, needed) {
                let (principal, needed) = (visitor.principal(), needed.first().map_or("", |one| one.name()));
                return Err(invalid(format!(
                    "{principal} may not ask {key:?}: it needs {needed} on the cluster"
                )));
            }
        }
    }
    let quorum = match face {
        Face::Member(quorum, _) => quorum,
        Face::New(me) => return answer_new(*me, key, &mut call),
    };
    let cluster_id = quorum.membership().cluster_id.as_str();
    let inconsistent = ErrorCode::InconsistentClusterId.code();
    match key {
        ApiKey::Vote => {
            let request: VoteRequest = call.read()?;
            if !wire::is_of_cluster(request.cluster_id.as_ref(), cluster_id) {
                let answer = VoteResponse { error_code: inconsistent, ..VoteResponse::default() };
                return call.reply::<VoteRequest>(&answer);
            }
            let Answered { response, .. } = ask(quorum, wire::read_vote(request).map_err(invalid)?).await?;
            call.reply::<VoteRequest>(&wire::vote_response(&response))
        }
        ApiKey::BeginQuorumEpoch => {
            let request: BeginQuorumEpochRequest = call.read()?;
            if !wire::is_of_cluster(request.cluster_id.as_ref(), cluster_id) {
                let error_code = inconsistent;
                let answer = BeginQuorumEpochResponse { error_code, ..BeginQuorumEpochResponse::default() };
                return call.reply::<BeginQuorumEpochRequest>(&answer);
            }
            wire::begin_address(&request).into_iter().for_each(|leader| quorum.addresses().hear(leader));
            let Answered { response, .. } = ask(quorum, wire::read_begin(request).map_err(invalid)?).await?;
            call.reply::<BeginQuorumEpochRequest>(&wire::begin_response(&response))
        }
        ApiKey::EndQuorumEpoch => {
            let request: EndQuorumEpochRequest = call.read()?;
            if !wire::is_of_cluster(request.cluster_id.as_ref(), cluster_id) {
                let answer =
                    EndQuorumEpochResponse { error_code: inconsistent, ..EndQuorumEpochResponse::default() };
                return call.reply::<EndQuorumEpochRequest>(&answer);
            }
            let Answered { response, .. } = ask(quorum, wire::read_end(request).map_err(invalid)?).await?;
            call.reply::<EndQuorumEpochRequest>(&wire::end_response(&response))
        }
        ApiKey::Fetch => {
            let request: FetchRequest = call.read()?;
            if !wire::is_of_cluster(request.cluster_id.as_ref(), cluster_id) {
                let answer = FetchResponse { error_code: inconsistent, ..FetchResponse::default() };
                return call.reply::<FetchRequest>(&answer);
            }
            let (request, terms) = wire::read_fetch(request).map_err(invalid)?;
            let answered = quorum.ask(request, terms).await.ok_or_else(stopped)?;
            let log_start = quorum.log().log_start();
            let leader = answered.response.leader.and_then(|leader| quorum.addresses().of(leader));
            let (response, records) = (&answered.response, answered.records);
            call.reply::<FetchRequest>(&wire::fetch_response(response, leader, log_start, records))
        }
        ApiKey::FetchSnapshot => {
            let request: FetchSnapshotRequest = call.read()?;
            if !wire::is_of_cluster(request.cluster_id.as_ref(), cluster_id) {
                let error_code = inconsistent;
                let answer = FetchSnapshotResponse { error_code, ..FetchSnapshotResponse::default() };
                return call.reply::<FetchSnapshotRequest>(&answer);
            }
            call.reply::<FetchSnapshotRequest>(&snapshot(quorum, request).await?)
        }
        ApiKey::DescribeQuorum => {
            let request: DescribeQuorumRequest = call.read()?;
            call.reply::<DescribeQuorumRequest>(&describe::quorum(quorum, &request, version).await)
        }
        ApiKey::DescribeCluster => {
            let request: DescribeClusterRequest = call.read()?;
            call.reply::<DescribeClusterRequest>(&describe::controllers(quorum, &request).await)
        }
        ApiKey::UpdateRaftVoter => {
            let request: UpdateRaftVoterRequest = call.read()?;
            call.reply::<UpdateRaftVoterRequest>(&raft_voters::update(quorum, request).await)
        }
        ApiKey::BrokerRegistration => {
            let request: BrokerRegistrationRequest = call.read()?;
            let is_of_cluster = wire::is_of_cluster(Some(&request.cluster_id), cluster_id);
            let answer = from_brokers::register(decides(face), request, is_of_cluster).await;
            call.reply::<BrokerRegistrationRequest>(&answer)
        }
        ApiKey::BrokerHeartbeat => {
            let request: BrokerHeartbeatRequest = call.read()?;
            let answer = from_brokers::heartbeat(decides(face), &request).await;
            if answer.error_code == ErrorCode::None.code() {
                *heard_of = Some((NodeId(request.broker_id), Offset(request.broker_epoch)));
            }
            call.reply::<BrokerHeartbeatRequest>(&answer)
        }
        ApiKey::AssignReplicasToDirs => {
            let request: AssignReplicasToDirsRequest = call.read()?;
            let answer = match decides(face) {
                Some(controller) => controller.assign_of_others(request).await,
                None => AssignReplicasToDirsResponse {
                    error_code: ErrorCode::NotController.code(),
                    ..AssignReplicasToDirsResponse::default()
                },
            };
            call.reply::<AssignReplicasToDirsRequest>(&answer)
        }
        ApiKey::AlterPartition => {
            let request: AlterPartitionRequest = call.read()?;
            let answer = from_brokers::alter_partitions(decides(face), &request).await;
            call.reply::<AlterPartitionRequest>(&answer)
        }
        ApiKey::Envelope => {
            let request: EnvelopeRequest = call.read()?;
            let answer = match context(face) {
                Some(context) => forwarding::open(context, request).await,
                None => EnvelopeResponse { response_data: None, error_code: ErrorCode::NotController.code() },
            };
            call.reply::<EnvelopeRequest>(&answer)
        }
        ApiKey::AllocateProducerIds => {
            let request: AllocateProducerIdsRequest = call.read()?;
            let answer = from_brokers::allocate_producer_ids(decides(face), &request).await;
            call.reply::<AllocateProducerIdsRequest>(&answer)
        }
        _ => {
            let context = context(face).ok_or_else(|| invalid("the node is still starting"))?;
            let answer = forwarding::handle(context, visitor.principal(), visitor.host(), frame).await;
            Ok(with_length(&answer.map_err(invalid)?))
        }
    }
}

/// Of a node that is part of no cluster yet: only who it is.
fn answer_new(me: ReplicaKey, key: ApiKey, call: &mut Call) -> io::Result<Bytes> {
    match key {
        ApiKey::DescribeQuorum => {
            let _: DescribeQuorumRequest = call.read()?;
            call.reply::<DescribeQuorumRequest>(&describe::new_node(me, call.version))
        }
        ApiKey::DescribeCluster => {
            let _: DescribeClusterRequest = call.read()?;
            call.reply::<DescribeClusterRequest>(&describe::no_cluster())
        }
        _ => Err(invalid(format!("{key:?} came before this controller is part of a cluster"))),
    }
}

fn context(face: &Face) -> Option<&Arc<Context>> {
    match face {
        Face::Member(_, context) => context.get(),
        Face::New(_) => None,
    }
}

/// The cluster as far as it is known; before the node is part of it, nothing.
fn image(face: &Face) -> Arc<ClusterImage> {
    decides(face).map(Controller::image).unwrap_or_default()
}

fn decides(face: &Face) -> Option<&Controller> {
    context(face).map(|context| &context.controller)
}

/// A frame as it goes over the wire.
fn with_length(frame: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(4 + frame.len());
    bytes.put_u32(u32::try_from(frame.len()).unwrap_or(u32::MAX));
    bytes.extend_from_slice(frame);
    bytes.freeze()
}

fn stopped() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the quorum has stopped")
}

async fn ask(quorum: &QuorumHandle, request: Request) -> io::Result<Answered> {
    let terms = FetchTerms { wait_ms_max: 0, high_watermark: Offset::ZERO };
    quorum.ask(request, terms).await.ok_or_else(stopped)
}

/// A version from the future is answered in version 0, naming what is served (KIP-511).
fn api_versions(call: &Call, is_served: bool) -> io::Result<Bytes> {
    let api_keys = served().map(|(key, min_version, max_version)| ApiVersion {
        api_key: key.code(),
        min_version,
        max_version,
    });
    let code = if is_served { ErrorCode::None } else { ErrorCode::UnsupportedVersion };
    let answer = ApiVersionsResponse {
        error_code: code.code(),
        api_keys: api_keys.collect(),
        ..ApiVersionsResponse::default()
    };
    let version = if is_served { call.version } else { 0 };
    encode_response(ApiVersionsRequest::API_KEY, version, call.correlation_id, &answer).map_err(invalid)
}

/// A piece of a snapshot.
async fn snapshot(quorum: &QuorumHandle, request: FetchSnapshotRequest) -> io::Result<FetchSnapshotResponse> {
    let bytes_max = usize::try_from(request.max_bytes).unwrap_or(0).clamp(1, SNAPSHOT_BYTES_MAX);
    let partition = match request.topics.as_slice() {
        [topic] if *topic.name == *METADATA_TOPIC => topic.partitions.first().cloned(),
        _ => None,
    };
    let partition = partition.ok_or_else(|| invalid("it is not about the metadata log"))?;
    let state = quorum.state();
    let known = LeaderIdAndEpoch {
        leader_id: state.leader.map_or(-1, |leader| leader.0),
        leader_epoch: state.epoch.0,
    };
    let epoch = Epoch(partition.current_leader_epoch);
    let read = match (state.leads_from, epoch.cmp(&state.epoch)) {
        (_, std::cmp::Ordering::Less) => Err(ErrorCode::FencedLeaderEpoch),
        (_, std::cmp::Ordering::Greater) => Err(ErrorCode::UnknownLeaderEpoch),
        (None, _) => Err(ErrorCode::NotLeaderOrFollower),
        (Some(_), _) => {
            let (dir, asked) = (Arc::new(quorum.dir().clone()), partition.clone());
            let reading = move || piece(&dir, &asked, bytes_max);
            tokio::task::spawn_blocking(reading).await.map_err(io::Error::other)?
        }
    };
    let (code, size, bytes) = match read {
        Ok((size, bytes)) => (ErrorCode::None, size, bytes),
        Err(code) => (code, 0, Bytes::new()),
    };
    let answer = PartitionSnapshotResponse {
        index: 0,
        error_code: code.code(),
        snapshot_id: partition.snapshot_id,
        current_leader: known,
        size,
        position: partition.position,
        unaligned_records: bytes,
    };
    Ok(FetchSnapshotResponse {
        topics: vec![TopicSnapshotResponse { name: METADATA_TOPIC.into(), partitions: vec![answer] }],
        ..FetchSnapshotResponse::default()
    })
}

/// The size of a snapshot, and its bytes from a position on.
fn piece(
    dir: &std::path::Path,
    asked: &PartitionSnapshot,
    bytes_max: usize,
) -> Result<(i64, Bytes), ErrorCode> {
    let id = &asked.snapshot_id;
    if id.end_offset < 0 || id.epoch < 0 {
        return Err(ErrorCode::SnapshotNotFound);
    }
    let end = LogEnd { epoch: Epoch(id.epoch), offset: Offset(id.end_offset) };
    let file = File::open(SnapshotId::of(end).file(dir)).map_err(|_| ErrorCode::SnapshotNotFound)?;
    let size = file.metadata().map_err(|_| ErrorCode::KafkaStorageError)?.len();
    let position = u64::try_from(asked.position).map_err(|_| ErrorCode::PositionOutOfRange)?;
    if position >= size {
        return Err(ErrorCode::PositionOutOfRange);
    }
    let length = usize::try_from(size - position).unwrap_or(usize::MAX).min(bytes_max);
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, position).map_err(|_| ErrorCode::KafkaStorageError)?;
    Ok((size as i64, bytes.into()))
}
