//! AddRaftVoter, RemoveRaftVoter and UpdateRaftVoter in the quorum's words (KIP-853), and the voter that says itself where it is.

use std::time::Duration;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k82_update_raft_voter::{CurrentLeader, KRaftVersionFeature, Listener};
use ottla_protocol::messages::{
    AddRaftVoterRequest, ApiVersionsRequest, RemoveRaftVoterRequest, UpdateRaftVoterRequest,
    UpdateRaftVoterResponse,
};
use ottla_protocol::wire::Str;
use tokio::time::timeout;

use super::handle::QuorumHandle;
use super::peers::PeerAddress;
use super::types::{ChangeRefusal, Epoch, ReplicaKey, Voter, VoterChange, VoterEndpoint};
use super::voters_record::KRAFT_VERSION;
use super::wire::{CONTROLLER_LISTENER, is_of_cluster};
use crate::ids::NodeId;

/// How often a voter looks whether it is recorded where it is.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How long a node that shall vote may take to say that it is there, at most.
const PROBE_TIME_MAX: Duration = Duration::from_secs(5);

/// Why voters are not changed, as it is told.
pub(crate) type Refused = (ErrorCode, String);

fn code_of(refusal: ChangeRefusal) -> ErrorCode {
    match refusal {
        ChangeRefusal::NotLeader => ErrorCode::NotLeaderOrFollower,
        ChangeRefusal::Fixed => ErrorCode::UnsupportedVersion,
        // As in Kafka: it can be tried again.
        ChangeRefusal::UnderWay | ChangeRefusal::NotCaughtUp | ChangeRefusal::NoMajority => {
            ErrorCode::RequestTimedOut
        }
        ChangeRefusal::Duplicate => ErrorCode::DuplicateVoter,
        ChangeRefusal::NotFound => ErrorCode::VoterNotFound,
        ChangeRefusal::LastVoter => ErrorCode::InvalidRequest,
    }
}

fn of_cluster(quorum: &QuorumHandle, named: Option<&Str>) -> Result<(), Refused> {
    match is_of_cluster(named, &quorum.membership().cluster_id) {
        true => Ok(()),
        false => {
            let why = format!("this is cluster {}", quorum.membership().cluster_id);
            Err((ErrorCode::InconsistentClusterId, why))
        }
    }
}

async fn change(quorum: &QuorumHandle, change: VoterChange) -> Result<(), Refused> {
    let changed = quorum.change_voters(change).await;
    changed.map_err(|refusal| (code_of(refusal), refusal.message().to_owned()))
}

/// Gives a node a vote, if it is found where the request says that it is.
pub(crate) async fn add(quorum: &QuorumHandle, request: AddRaftVoterRequest) -> Result<(), Refused> {
    of_cluster(quorum, request.cluster_id.as_ref())?;
    let id = NodeId(request.voter_id);
    let endpoint = |(name, host, port): (Str, Str, u16)| VoterEndpoint {
        listener: name.to_string(),
        host: host.to_string(),
        port,
    };
    let listeners = request.listeners.into_iter().map(|at| endpoint((at.name, at.host, at.port)));
    let voter = Voter {
        key: ReplicaKey { id, directory: request.voter_directory_id },
        endpoints: listeners.collect(),
    };
    let Some(first) = voter.endpoints.first() else {
        return Err((ErrorCode::InvalidRequest, "the request names no listener of the node".to_owned()));
    };
    if id.0 < 0 {
        return Err((ErrorCode::InvalidRequest, format!("{id} is no node id")));
    }
    let within = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0)).min(PROBE_TIME_MAX);
    let address = PeerAddress { id, host: first.host.clone(), port: first.port };
    let is_itself = id == quorum.membership().config.me.id;
    if !is_itself && quorum.state().leads_from.is_some() {
        let probe = ApiVersionsRequest::default();
        let connection = quorum.connect(&address);
        let answered = timeout(within, connection.call(&probe, 0, within)).await;
        if !matches!(answered, Ok(Ok(_))) {
            let why = format!("node {id} does not answer at {}:{}", address.host, address.port);
            return Err((ErrorCode::RequestTimedOut, why));
        }
    }
    change(quorum, VoterChange::Add(voter)).await
}

/// Takes a voter's vote.
pub(crate) async fn remove(quorum: &QuorumHandle, request: RemoveRaftVoterRequest) -> Result<(), Refused> {
    of_cluster(quorum, request.cluster_id.as_ref())?;
    let key = ReplicaKey { id: NodeId(request.voter_id), directory: request.voter_directory_id };
    change(quorum, VoterChange::Remove(key)).await
}

/// Notes where a voter says that it is.
pub(super) async fn update(
    quorum: &QuorumHandle,
    request: UpdateRaftVoterRequest,
) -> UpdateRaftVoterResponse {
    let listeners = request.listeners.into_iter().map(|at| VoterEndpoint {
        listener: at.name.to_string(),
        host: at.host.to_string(),
        port: at.port,
    });
    let voter = Voter {
        key: ReplicaKey { id: NodeId(request.voter_id), directory: request.voter_directory_id },
        endpoints: listeners.collect(),
    };
    let state = quorum.state();
    let code = match Epoch(request.current_leader_epoch).cmp(&state.epoch) {
        _ if of_cluster(quorum, request.cluster_id.as_ref()).is_err() => ErrorCode::InconsistentClusterId,
        std::cmp::Ordering::Less => ErrorCode::FencedLeaderEpoch,
        std::cmp::Ordering::Greater => ErrorCode::UnknownLeaderEpoch,
        std::cmp::Ordering::Equal if voter.endpoints.is_empty() => ErrorCode::InvalidRequest,
        std::cmp::Ordering::Equal => {
            let changed = change(quorum, VoterChange::Update(voter)).await;
            changed.err().map_or(ErrorCode::None, |(code, _)| code)
        }
    };
    let leader = state.leader.and_then(|leader| quorum.addresses().of(leader));
    UpdateRaftVoterResponse {
        error_code: code.code(),
        current_leader: CurrentLeader {
            leader_id: state.leader.map_or(-1, |leader| leader.0),
            leader_epoch: state.epoch.0,
            host: leader.as_ref().map(|leader| leader.host.as_str().into()).unwrap_or_default(),
            port: leader.map_or(0, |leader| leader.port.into()),
        },
        ..UpdateRaftVoterResponse::default()
    }
}

/// Has the quorum record where this voter is, when it is started elsewhere than it was.
pub(crate) async fn keep_recorded(quorum: QuorumHandle, own: PeerAddress) {
    let mut ticks = tokio::time::interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(described) = quorum.describe().await else { return };
        let me = quorum.membership().config.me;
        let Some(voter) = described.voters.get(me.id).filter(|voter| voter.key == me) else { continue };
        let recorded = voter.endpoints.first().cloned();
        if recorded.as_ref().is_some_and(|at| at.host == own.host && at.port == own.port) {
            continue;
        }
        let listener = recorded.map_or_else(|| CONTROLLER_LISTENER.to_owned(), |at| at.listener);
        let state = quorum.state();
        // What does not succeed now does next time.
        let told = if state.leads_from.is_some() {
            let endpoints = vec![VoterEndpoint { listener, host: own.host.clone(), port: own.port }];
            quorum.change_voters(VoterChange::Update(Voter { key: me, endpoints })).await.is_ok()
        } else {
            let request = UpdateRaftVoterRequest {
                cluster_id: Some(quorum.membership().cluster_id.as_str().into()),
                current_leader_epoch: state.epoch.0,
                voter_id: me.id.0,
                voter_directory_id: me.directory,
                listeners: vec![Listener {
                    name: listener.into(),
                    host: own.host.as_str().into(),
                    port: own.port,
                }],
                k_raft_version_feature: KRaftVersionFeature {
                    min_supported_version: 0,
                    max_supported_version: KRAFT_VERSION,
                },
            };
            let answer = quorum.ask_leader(&request, 0).await;
            answer.is_some_and(|answer| answer.error_code == ErrorCode::None.code())
        };
        if told {
            tracing::info!(host = own.host, port = own.port, "the quorum knows where this voter is now");
        }
    }
}
