//! What others know of the quorum and ask of it: the handle to its runtime, and the words that both use.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ottla_client::NodeConnection;
use ottla_protocol::wire::Request as WireRequest;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::addresses::AddressBook;
use super::machine::Config;
use super::peers::{NodeTransport, PeerAddress};
use super::types::{ChangeRefusal, Epoch, LogEnd, ReplicaKey, Request, Response, VoterChange, Voters};
use super::voter_history::VoterHistory;
use super::wire::FetchTerms;
use crate::ids::{NodeId, Offset};
use crate::log::{LogError, LogReader};

/// Why a record was not appended.
#[derive(Debug, Error)]
pub enum ProposeError {
    /// Another node leads, or nobody.
    #[error("this node does not lead the metadata quorum")]
    NotLeader,
    /// The log refused it.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The node stops.
    #[error("the quorum has stopped")]
    Stopped,
}

/// What everybody may know of the quorum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuorumState {
    /// The newest epoch heard of.
    pub epoch: Epoch,
    /// Its leader, if known.
    pub leader: Option<NodeId>,
    /// Set while this node leads: where its epoch begins in the log.
    pub leads_from: Option<Offset>,
    /// What is below is committed, and will not be taken back.
    pub high_watermark: Offset,
}

/// An answer to a member, with the records of [`Answer::Records`].
#[derive(Debug)]
pub struct Answered {
    /// The answer.
    pub response: Response,
    /// Whole batches.
    pub records: Bytes,
}

/// How the quorum is, as its leader sees it.
#[derive(Debug, Clone)]
pub struct Description {
    /// The leader.
    pub leader: Option<NodeId>,
    /// Its epoch.
    pub epoch: Epoch,
    /// What is committed.
    pub high_watermark: Offset,
    /// How far each replica is, as far as that is known here; this node among them.
    pub replicas: BTreeMap<ReplicaKey, ReplicaProgress>,
    /// Who votes.
    pub voters: Voters,
}

/// How far a replica is.
#[derive(Debug, Clone, Copy)]
pub struct ReplicaProgress {
    /// Where its log ends.
    pub log_end: Offset,
    /// How long ago it asked for more.
    pub heard_ago: Duration,
    /// How long ago it had all of the log.
    pub caught_up_ago: Option<Duration>,
}

/// What happens to the runtime.
pub(super) enum Input {
    /// The controller wants its records in the log, as long as this node leads in this epoch.
    Append { epoch: Epoch, batch: Bytes, reply: oneshot::Sender<Result<Offset, ProposeError>> },
    /// Another member asks.
    Asked { request: Request, terms: FetchTerms, reply: oneshot::Sender<Answered> },
    /// Another member has answered.
    Answered { from: NodeId, request: Request, response: Response, records: Bytes },
    /// Another member will not; whether nobody listens there.
    Failed { to: NodeId, request: Request, is_refused: bool },
    /// The log is durable up to here, unless it was cut since.
    Flushed { end: Offset, generation: u64 },
    /// A snapshot of the leader's is in this file.
    SnapshotFetched { end: LogEnd, file: PathBuf },
    /// A snapshot of our own makes the log before this superfluous.
    Trimmed { start: LogEnd },
    /// Somebody wants other voters.
    ChangeVoters { change: VoterChange, reply: oneshot::Sender<Result<(), ChangeRefusal>> },
    /// Somebody wants to know who votes by the log below an offset; nothing where that is recorded nowhere.
    VotersBelow { end: Offset, reply: oneshot::Sender<Option<Voters>> },
    /// Somebody wants to know.
    Describe { reply: oneshot::Sender<Description> },
    /// The node stops.
    Close { reply: oneshot::Sender<Result<(), LogError>> },
}

/// The runtime's inbox as its helpers see it: it ends although they go on.
#[derive(Clone)]
pub(super) struct Inputs(pub mpsc::WeakUnboundedSender<Input>);

impl Inputs {
    /// Gives the runtime something, if it is still there.
    pub fn put(&self, input: Input) {
        if let Some(inputs) = self.0.upgrade() {
            let _ = inputs.send(input);
        }
    }
}

/// How long members wait for each other (`controller.quorum.*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuorumTimeouts {
    /// `election.timeout.ms`.
    pub election: Duration,
    /// `fetch.timeout.ms`.
    pub fetch: Duration,
    /// `election.backoff.max.ms`.
    pub election_backoff_max: Duration,
    /// `request.timeout.ms`.
    pub request: Duration,
    /// `retry.backoff.ms`.
    pub retry_backoff: Duration,
}

impl Default for QuorumTimeouts {
    fn default() -> QuorumTimeouts {
        QuorumTimeouts {
            election: Duration::from_secs(1),
            fetch: Duration::from_secs(2),
            election_backoff_max: Duration::from_secs(1),
            request: Duration::from_secs(2),
            retry_backoff: Duration::from_millis(20),
        }
    }
}

impl QuorumTimeouts {
    /// Of a member, whose chance begins with a seed.
    pub fn config(self, me: ReplicaKey, seed: u64) -> Config {
        Config {
            me,
            election_timeout: self.election,
            fetch_timeout: self.fetch,
            election_backoff_max: self.election_backoff_max,
            request_timeout: self.request,
            retry_backoff: self.retry_backoff,
            seed,
            bootstrap: Vec::new(),
        }
    }
}

/// Who a member is, and how it reaches the others.
#[derive(Debug, Clone)]
pub struct Membership {
    /// Timeouts, and who it is.
    pub config: Config,
    /// Who votes, as far as that is known without the log.
    pub formed: VoterHistory,
    /// Of the cluster.
    pub cluster_id: String,
    /// Where the controllers listen that the node was told of, itself among them if it is one.
    pub addresses: Vec<PeerAddress>,
    /// How they are reached.
    pub transport: NodeTransport,
}

/// A handle to the quorum; cheap to clone.
#[derive(Clone)]
pub struct QuorumHandle {
    inputs: mpsc::UnboundedSender<Input>,
    state: watch::Receiver<QuorumState>,
    reader: LogReader,
    membership: Arc<Membership>,
    addresses: Arc<AddressBook>,
    dir: Arc<PathBuf>,
    /// Kept for what is asked of the leader now and then.
    to_leader: Arc<Mutex<Option<(PeerAddress, NodeConnection)>>>,
}

impl QuorumHandle {
    pub(super) fn new(
        inputs: mpsc::UnboundedSender<Input>,
        state: watch::Receiver<QuorumState>,
        reader: LogReader,
        membership: Membership,
        addresses: Arc<AddressBook>,
        dir: PathBuf,
    ) -> QuorumHandle {
        let (membership, dir) = (Arc::new(membership), Arc::new(dir));
        QuorumHandle { inputs, state, reader, membership, addresses, dir, to_leader: Arc::default() }
    }

    /// How it is now.
    pub fn state(&self) -> QuorumState {
        *self.state.borrow()
    }

    /// How it is, and how that changes. The sender goes when the quorum stops.
    pub fn watch(&self) -> watch::Receiver<QuorumState> {
        self.state.clone()
    }

    /// What is below is committed.
    pub fn high_watermark(&self) -> Offset {
        self.state.borrow().high_watermark
    }

    /// The metadata log. What is at or past the high watermark may still be taken back.
    pub fn log(&self) -> &LogReader {
        &self.reader
    }

    /// The folder of the log and its snapshots.
    pub fn dir(&self) -> &PathBuf {
        &self.dir
    }

    /// Who this node is, and who the others are.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// Where the controllers are.
    pub(crate) fn addresses(&self) -> &AddressBook {
        &self.addresses
    }

    /// A connection of its own to a controller.
    pub fn connect(&self, to: &PeerAddress) -> NodeConnection {
        self.membership.transport.connect(to)
    }

    /// Whether this node is the whole cluster: it was told of no controllers, and nobody of it.
    pub fn is_alone(&self) -> bool {
        self.membership.addresses.is_empty()
    }

    /// Appends the leader's records; gives where the log ends then. They are committed when the high watermark is there and this
    /// node still leads in that epoch.
    pub async fn append(&self, epoch: Epoch, batch: Bytes) -> Result<Offset, ProposeError> {
        let (reply, answer) = oneshot::channel();
        let _ = self.inputs.send(Input::Append { epoch, batch, reply });
        answer.await.unwrap_or(Err(ProposeError::Stopped))
    }

    /// What another member asks; `None` when the quorum stops.
    pub(super) async fn ask(&self, request: Request, terms: FetchTerms) -> Option<Answered> {
        let (reply, answer) = oneshot::channel();
        let _ = self.inputs.send(Input::Asked { request, terms, reply });
        answer.await.ok()
    }

    /// What the leader, where that is another node, answers to a request; `None` where none is known or it does not answer.
    pub(crate) async fn ask_leader<R: WireRequest>(&self, request: &R, version: i16) -> Option<R::Response> {
        let config = &self.membership.config;
        let leader = self.state().leader.filter(|leader| *leader != config.me.id)?;
        let address = self.addresses.of(leader)?;
        let connection = {
            let mut to_leader = self.to_leader.lock().unwrap_or_else(PoisonError::into_inner);
            match &*to_leader {
                Some((known, connection)) if *known == address => connection.clone(),
                _ => to_leader.insert((address.clone(), self.connect(&address))).1.clone(),
            }
        };
        let within = config.request_timeout;
        timeout(within, connection.call(request, version, within)).await.ok()?.ok()
    }

    /// Records before the end of a snapshot are not needed any more.
    pub fn trim(&self, start: LogEnd) {
        let _ = self.inputs.send(Input::Trimmed { start });
    }

    /// Has other voters, if this node leads and may; done when it is committed.
    ///
    /// # Errors
    /// Why not.
    pub async fn change_voters(&self, change: VoterChange) -> Result<(), ChangeRefusal> {
        let (reply, answer) = oneshot::channel();
        let _ = self.inputs.send(Input::ChangeVoters { change, reply });
        answer.await.unwrap_or(Err(ChangeRefusal::NotLeader))
    }

    /// Who votes by the log below an offset that is committed; `None` where no log has it.
    pub(crate) async fn voters_below(&self, end: Offset) -> Option<Voters> {
        let (reply, answer) = oneshot::channel();
        let _ = self.inputs.send(Input::VotersBelow { end, reply });
        answer.await.ok().flatten()
    }

    /// Who is how far; `None` when the quorum stops.
    pub async fn describe(&self) -> Option<Description> {
        let (reply, answer) = oneshot::channel();
        let _ = self.inputs.send(Input::Describe { reply });
        answer.await.ok()
    }

    /// Steps down where this node leads, makes everything durable and ends.
    pub async fn close(&self) -> Result<(), LogError> {
        let (reply, answer) = oneshot::channel();
        let _ = self.inputs.send(Input::Close { reply });
        answer.await.unwrap_or(Err(LogError::Abandoned))
    }
}
