//! The way to the other members, over the client crate's connections: two to each, one for what concerns elections and one for
//! fetching, whose answers may wait for news. Each request is answered in time or counts as failed. [`NodeTransport`] is what
//! everybody else takes who asks a controller something.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use bytes::Bytes;
use ottla_client::security::ClientSecurity;
use ottla_client::{ClientError, NodeConnection, TcpTransport, Transport};
use ottla_protocol::messages::k59_fetch_snapshot::{PartitionSnapshot, SnapshotId, TopicSnapshot};
use ottla_protocol::messages::{
    BeginQuorumEpochRequest, EndQuorumEpochRequest, FetchRequest, FetchSnapshotRequest, VoteRequest,
};
use ottla_protocol::wire::Request as WireRequest;
use ottla_protocol::{ErrorCode, Message};
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::addresses::AddressBook;
use super::handle::{Input, Inputs};
use super::types::{Epoch, LogEnd, ReplicaKey, Request, Response};
use super::wire::{self, FetchTerms};
use crate::controller::METADATA_TOPIC;
use crate::ids::{NodeId, Offset};

/// Requests that may wait for a connection; what comes on top has failed.
const QUEUE_LEN: usize = 8;
/// Bytes of records, or of a snapshot, that are asked for at once.
const FETCH_BYTES: i32 = 8 << 20;
/// Bytes of one answer: a leader sends one batch that is larger than what was asked for.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// How long a leader may wait for news before it answers a fetch.
const FETCH_WAIT: Duration = Duration::from_millis(500);

/// Where another controller listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    /// Its id.
    pub id: NodeId,
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// How a node reaches the controllers: over which transport, and what it calls itself.
#[derive(Clone)]
pub struct NodeTransport {
    transport: Arc<dyn Transport>,
    client_id: String,
}

impl NodeTransport {
    /// Of a node, as safe as is asked for.
    ///
    /// # Errors
    /// When the security settings or their files cannot be used.
    pub fn new(me: NodeId, security: &ClientSecurity) -> Result<NodeTransport, ClientError> {
        let transport = Arc::new(TcpTransport::new(security, ANSWER_BYTES_MAX)?);
        Ok(NodeTransport { transport, client_id: format!("node-{me}") })
    }

    /// By which connections are opened.
    pub fn connections(&self) -> Arc<dyn Transport> {
        self.transport.clone()
    }

    /// A connection of its own.
    pub fn connect(&self, address: &PeerAddress) -> NodeConnection {
        NodeConnection::new(self.transport.clone(), &address.host, address.port, &self.client_id)
    }
}

impl fmt::Debug for NodeTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeTransport").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// Why another member did not answer as it should.
#[derive(Debug, Error)]
pub(crate) enum PeerError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Unreachable(ClientError),
    #[error("it does not answer in time")]
    Late,
    #[error("its answer cannot be read: {0}")]
    NotUnderstood(String),
    #[error("{0}")]
    NotWelcome(ClientError),
    #[error("it refuses: {0}")]
    Refused(ErrorCode),
}

impl From<ErrorCode> for PeerError {
    fn from(code: ErrorCode) -> PeerError {
        PeerError::Refused(code)
    }
}

impl From<ClientError> for PeerError {
    fn from(error: ClientError) -> PeerError {
        match error {
            ClientError::Tls { .. } | ClientError::Authentication { .. } => PeerError::NotWelcome(error),
            ClientError::BadResponse { .. }
            | ClientError::BadRequest { .. }
            | ClientError::UnsupportedVersion { .. }
            | ClientError::UnsupportedApi { .. } => PeerError::NotUnderstood(error.to_string()),
            _ => PeerError::Unreachable(error),
        }
    }
}

impl PeerError {
    /// Whether nobody listens there.
    fn is_refused(&self) -> bool {
        matches!(self, PeerError::Unreachable(ClientError::Connect { reason, .. })
            if reason.kind() == io::ErrorKind::ConnectionRefused)
    }
}

/// One connection to a member, opened when it is used.
pub(crate) struct PeerConnection {
    address: PeerAddress,
    connection: NodeConnection,
}

impl PeerConnection {
    pub fn new(address: PeerAddress, transport: &NodeTransport) -> PeerConnection {
        let connection = transport.connect(&address);
        PeerConnection { address, connection }
    }

    /// Who is at the other end.
    pub fn id(&self) -> NodeId {
        self.address.id
    }

    /// Asks, and waits for the answer; after a failure the connection is opened anew by the next call.
    pub async fn call<R: WireRequest>(
        &self,
        request: &R,
        version: i16,
        within: Duration,
    ) -> Result<R::Response, PeerError> {
        match timeout(within, self.connection.call(request, version, within)).await {
            Ok(answered) => Ok(answered?),
            Err(_) => Err(PeerError::Late),
        }
    }
}

/// What all requests say, and how long their answers may take.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub me: ReplicaKey,
    pub cluster_id: String,
    pub request_timeout: Duration,
    pub transport: NodeTransport,
}

/// A request on its way, with what the follower knows to be committed.
struct Outgoing {
    request: Request,
    high_watermark: Offset,
}

/// The connections to all other members that something was to be sent to.
pub(super) struct Peers {
    lanes: HashMap<NodeId, [mpsc::Sender<Outgoing>; 2]>,
    addresses: Arc<AddressBook>,
    terms: Terms,
    inputs: Inputs,
}

impl Peers {
    /// Answers come as inputs.
    pub fn new(addresses: Arc<AddressBook>, terms: Terms, inputs: &Inputs) -> Peers {
        Peers { lanes: HashMap::new(), addresses, terms, inputs: inputs.clone() }
    }

    /// Sends a request, unless too many wait or nobody knows where to; gives it back then.
    pub fn send(&mut self, to: NodeId, request: Request, high_watermark: Offset) -> Result<(), Request> {
        if to == self.terms.me.id || (!self.lanes.contains_key(&to) && self.addresses.of(to).is_none()) {
            return Err(request);
        }
        let [elections, fetches] = self.lanes.entry(to).or_insert_with(|| {
            let lane = || {
                let (outgoing, inbox) = mpsc::channel(QUEUE_LEN);
                let (terms, inputs, addresses) =
                    (self.terms.clone(), self.inputs.clone(), self.addresses.clone());
                tokio::spawn(run(to, addresses, terms, inbox, inputs));
                outgoing
            };
            [lane(), lane()]
        });
        let lane = if matches!(request, Request::Fetch { .. }) { fetches } else { elections };
        lane.try_send(Outgoing { request, high_watermark }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(outgoing) | mpsc::error::TrySendError::Closed(outgoing) => {
                outgoing.request
            }
        })
    }

    /// Reads a leader's snapshot into a file; what becomes of it comes as an input.
    pub fn fetch_snapshot(&self, from: NodeId, epoch: Epoch, end: LogEnd, to: PathBuf, inputs: &Inputs) {
        let Some(address) = self.addresses.of(from) else { return };
        let (terms, inputs) = (self.terms.clone(), inputs.clone());
        tokio::spawn(async move {
            let connection = PeerConnection::new(address, &terms.transport);
            match download(&connection, &terms, epoch, end, &to).await {
                Ok(()) => inputs.put(Input::SnapshotFetched { end, file: to }),
                // The follower gives its leader up after a while, and asks again.
                Err(error) => {
                    tracing::warn!(leader = %from, snapshot_end = %end.offset, %error, "a snapshot was not fetched");
                }
            }
        });
    }
}

async fn run(
    from: NodeId,
    addresses: Arc<AddressBook>,
    terms: Terms,
    mut inbox: mpsc::Receiver<Outgoing>,
    inputs: Inputs,
) {
    let mut has_warned = false;
    let mut known: Option<PeerConnection> = None;
    while let Some(Outgoing { request, high_watermark }) = inbox.recv().await {
        let Some(address) = addresses.of(from) else {
            inputs.put(Input::Failed { to: from, request, is_refused: false });
            continue;
        };
        let connection = match known.take_if(|known| known.address == address) {
            Some(connection) => connection,
            None => PeerConnection::new(address, &terms.transport),
        };
        let connection = known.insert(connection);
        match ask(connection, &addresses, &terms, &request, high_watermark).await {
            Ok((response, records)) => {
                has_warned = false;
                inputs.put(Input::Answered { from, request, response, records });
            }
            Err(error) => {
                addresses.failed(&connection.address);
                // What does not heal by itself is told once.
                if matches!(
                    error,
                    PeerError::Refused(_) | PeerError::NotUnderstood(_) | PeerError::NotWelcome(_)
                ) && !has_warned
                {
                    has_warned = true;
                    let (host, port) = (&connection.address.host, connection.address.port);
                    tracing::error!(node_id = %from, host, port, %error, "a controller cannot be worked with");
                } else {
                    tracing::debug!(node_id = %from, %error, "a controller does not answer");
                }
                inputs.put(Input::Failed { to: from, request, is_refused: error.is_refused() });
            }
        }
    }
}

async fn ask(
    connection: &PeerConnection,
    addresses: &AddressBook,
    terms: &Terms,
    request: &Request,
    high_watermark: Offset,
) -> Result<(Response, Bytes), PeerError> {
    let (cluster, within) = (terms.cluster_id.as_str(), terms.request_timeout);
    let understood = |response: Result<Response, wire::NotUnderstood>| match response {
        Ok(response) => Ok((response, Bytes::new())),
        Err(why) => Err(PeerError::NotUnderstood(why.to_owned())),
    };
    match request {
        Request::Vote { epoch, candidate, voter, log_end, is_pre_vote } => {
            let request = wire::vote_request(cluster, *epoch, *candidate, *voter, *log_end, *is_pre_vote);
            let version = <VoteRequest as Message>::VERSIONS.1;
            let answer = connection.call(&request, version, within).await?;
            ErrorCode::check(answer.error_code)?;
            understood(wire::read_vote_response(answer, *is_pre_vote))
        }
        Request::BeginEpoch { epoch, leader, voter } => {
            let request = wire::begin_request(cluster, *epoch, *leader, *voter, addresses.of(terms.me.id));
            let version = <BeginQuorumEpochRequest as Message>::VERSIONS.1;
            let answer = connection.call(&request, version, within).await?;
            ErrorCode::check(answer.error_code)?;
            understood(wire::read_begin_response(answer))
        }
        Request::EndEpoch { epoch, leader, successors } => {
            let request = wire::end_request(cluster, *epoch, *leader, successors);
            let version = <EndQuorumEpochRequest as Message>::VERSIONS.1;
            let answer = connection.call(&request, version, within).await?;
            ErrorCode::check(answer.error_code)?;
            understood(wire::read_end_response(answer))
        }
        Request::Fetch { epoch, replica, log_end } => {
            let wait_ms_max = i32::try_from(FETCH_WAIT.as_millis()).unwrap_or(i32::MAX);
            let terms = FetchTerms { wait_ms_max, high_watermark };
            let request = wire::fetch_request(cluster, *epoch, *replica, *log_end, terms, FETCH_BYTES);
            let version = <FetchRequest as Message>::VERSIONS.1;
            let answer = connection.call(&request, version, within + FETCH_WAIT).await?;
            ErrorCode::check(answer.error_code)?;
            wire::leader_address(&answer).into_iter().for_each(|leader| addresses.hear(leader));
            wire::read_fetch_response(answer, log_end.offset)
                .map_err(|why| PeerError::NotUnderstood(why.to_owned()))
        }
    }
}

/// Reads a snapshot piece by piece into a file, which is durable then.
async fn download(
    connection: &PeerConnection,
    terms: &Terms,
    epoch: Epoch,
    end: LogEnd,
    to: &PathBuf,
) -> Result<(), PeerError> {
    let mut file = tokio::fs::File::create(to).await?;
    let mut position = 0i64;
    loop {
        let partition = PartitionSnapshot {
            partition: 0,
            current_leader_epoch: epoch.0,
            snapshot_id: SnapshotId { end_offset: end.offset.0, epoch: end.epoch.0 },
            position,
            replica_directory_id: terms.me.directory,
        };
        let request = FetchSnapshotRequest {
            cluster_id: Some(terms.cluster_id.as_str().into()),
            replica_id: terms.me.id.0,
            max_bytes: FETCH_BYTES,
            topics: vec![TopicSnapshot { name: METADATA_TOPIC.into(), partitions: vec![partition] }],
        };
        let version = <FetchSnapshotRequest as Message>::VERSIONS.1;
        let answer = connection.call(&request, version, terms.request_timeout).await?;
        ErrorCode::check(answer.error_code)?;
        let missing = || PeerError::NotUnderstood("it is not about the snapshot".to_owned());
        let topic = answer.topics.into_iter().next().ok_or_else(missing)?;
        let piece = topic.partitions.into_iter().next().ok_or_else(missing)?;
        ErrorCode::check(piece.error_code)?;
        if piece.position != position || (piece.unaligned_records.is_empty() && position < piece.size) {
            return Err(missing());
        }
        file.write_all(&piece.unaligned_records).await?;
        position += piece.unaligned_records.len() as i64;
        if position >= piece.size {
            file.sync_all().await?;
            return Ok(());
        }
    }
}
