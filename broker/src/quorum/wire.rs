//! What members say to each other as Kafka's requests and responses: Vote, BeginQuorumEpoch, EndQuorumEpoch, and Fetch of the
//! metadata log. Pure.

use bytes::Bytes;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k01_fetch::{
    EpochEndOffset, FetchPartition, FetchTopic, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint,
    PartitionData as FetchedPartition, ReplicaState, SnapshotId,
};
use ottla_protocol::messages::{
    BeginQuorumEpochRequest, BeginQuorumEpochResponse, EndQuorumEpochRequest, EndQuorumEpochResponse,
    FetchRequest, FetchResponse, VoteRequest, VoteResponse, k52_vote, k53_begin_quorum_epoch,
    k54_end_quorum_epoch,
};
use ottla_protocol::wire::{Records, Str};
use uuid::Uuid;

use super::peers::PeerAddress;
use super::types::{Answer, Epoch, LogEnd, Refusal, ReplicaKey, Request, Response};
use crate::controller::METADATA_TOPIC;
use crate::ids::{NodeId, Offset};

/// The id of the topic that the metadata log is.
const METADATA_TOPIC_ID: Uuid = Uuid::from_u128(1);
/// The name that controllers' listeners are told under.
pub(super) const CONTROLLER_LISTENER: &str = "CONTROLLER";
/// No leader is known.
const NO_LEADER: i32 = -1;

/// Why a message of another member is not understood.
pub(super) type NotUnderstood = &'static str;

/// How a leader shall answer a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchTerms {
    /// How long the answer may wait for news, milliseconds.
    pub wait_ms_max: i32,
    /// What the follower knows to be committed; another high watermark is news.
    pub high_watermark: Offset,
}

/// Which cluster a message is about; none stands for any.
pub(super) fn is_of_cluster(named: Option<&Str>, cluster_id: &str) -> bool {
    named.is_none_or(|named| **named == *cluster_id)
}

fn code_of(refusal: Refusal) -> ErrorCode {
    match refusal {
        Refusal::FencedEpoch => ErrorCode::FencedLeaderEpoch,
        Refusal::UnknownEpoch => ErrorCode::UnknownLeaderEpoch,
        Refusal::NotLeader => ErrorCode::NotLeaderOrFollower,
        Refusal::InvalidVoterKey => ErrorCode::InvalidVoterKey,
        Refusal::OtherLeader => ErrorCode::InvalidRequest,
    }
}

fn refusal_of(code: i16) -> Option<Refusal> {
    [
        Refusal::FencedEpoch,
        Refusal::UnknownEpoch,
        Refusal::NotLeader,
        Refusal::InvalidVoterKey,
        Refusal::OtherLeader,
    ]
    .into_iter()
    .find(|refusal| code_of(*refusal).code() == code)
}

/// The only element.
fn only<T>(mut items: Vec<T>) -> Result<T, NotUnderstood> {
    match (items.pop(), items.is_empty()) {
        (Some(item), true) => Ok(item),
        _ => Err("it is not about one partition"),
    }
}

fn known(leader_id: i32) -> Option<NodeId> {
    (leader_id >= 0).then_some(NodeId(leader_id))
}

/// An answer that brings no records, from its parts on the wire.
fn response(epoch: i32, leader: i32, code: i16, answer: Answer) -> Result<Response, NotUnderstood> {
    let outcome = match code {
        0 => Ok(answer),
        code => Err(refusal_of(code).ok_or("its error is none of the quorum's")?),
    };
    Ok(Response { epoch: Epoch(epoch), leader: known(leader), outcome })
}

fn parts(response: &Response) -> (i16, i32, i32) {
    let code = response.outcome.as_ref().err().map_or(ErrorCode::None, |refusal| code_of(*refusal));
    (code.code(), response.leader.map_or(NO_LEADER, |leader| leader.0), response.epoch.0)
}

/// Vote.
pub(super) fn vote_request(
    cluster_id: &str,
    epoch: Epoch,
    candidate: ReplicaKey,
    voter: ReplicaKey,
    log_end: LogEnd,
    is_pre_vote: bool,
) -> VoteRequest {
    let partition = k52_vote::PartitionData {
        partition_index: 0,
        replica_epoch: epoch.0,
        replica_id: candidate.id.0,
        replica_directory_id: candidate.directory,
        voter_directory_id: voter.directory,
        last_offset_epoch: log_end.epoch.0,
        last_offset: log_end.offset.0,
        pre_vote: is_pre_vote,
    };
    let topic = k52_vote::TopicData { topic_name: METADATA_TOPIC.into(), partitions: vec![partition] };
    VoteRequest { cluster_id: Some(cluster_id.into()), voter_id: voter.id.0, topics: vec![topic] }
}

/// Reads it.
pub(super) fn read_vote(request: VoteRequest) -> Result<Request, NotUnderstood> {
    let voter_id = NodeId(request.voter_id);
    let partition = only(only(request.topics)?.partitions)?;
    Ok(Request::Vote {
        epoch: Epoch(partition.replica_epoch),
        candidate: ReplicaKey { id: NodeId(partition.replica_id), directory: partition.replica_directory_id },
        voter: ReplicaKey { id: voter_id, directory: partition.voter_directory_id },
        log_end: LogEnd { epoch: Epoch(partition.last_offset_epoch), offset: Offset(partition.last_offset) },
        is_pre_vote: partition.pre_vote,
    })
}

/// The answer to a Vote.
pub(super) fn vote_response(response: &Response) -> VoteResponse {
    let (error_code, leader_id, leader_epoch) = parts(response);
    let vote_granted = matches!(response.outcome, Ok(Answer::Vote { is_granted: true, .. }));
    let partition =
        k52_vote::VotedPartition { partition_index: 0, error_code, leader_id, leader_epoch, vote_granted };
    let topic = k52_vote::VotedTopic { topic_name: METADATA_TOPIC.into(), partitions: vec![partition] };
    VoteResponse { topics: vec![topic], ..VoteResponse::default() }
}

/// Reads it.
pub(super) fn read_vote_response(answer: VoteResponse, is_pre_vote: bool) -> Result<Response, NotUnderstood> {
    let partition = only(only(answer.topics)?.partitions)?;
    let vote = Answer::Vote { is_granted: partition.vote_granted, is_pre_vote };
    response(partition.leader_epoch, partition.leader_id, partition.error_code, vote)
}

/// BeginQuorumEpoch.
pub(super) fn begin_request(
    cluster_id: &str,
    epoch: Epoch,
    leader: NodeId,
    voter: ReplicaKey,
    address: Option<PeerAddress>,
) -> BeginQuorumEpochRequest {
    let endpoint = address.map(|address| k53_begin_quorum_epoch::LeaderEndpoint {
        name: CONTROLLER_LISTENER.into(),
        host: address.host.into(),
        port: address.port,
    });
    let partition = k53_begin_quorum_epoch::PartitionData {
        partition_index: 0,
        voter_directory_id: voter.directory,
        leader_id: leader.0,
        leader_epoch: epoch.0,
    };
    let topic =
        k53_begin_quorum_epoch::TopicData { topic_name: METADATA_TOPIC.into(), partitions: vec![partition] };
    BeginQuorumEpochRequest {
        cluster_id: Some(cluster_id.into()),
        voter_id: voter.id.0,
        topics: vec![topic],
        leader_endpoints: endpoint.into_iter().collect(),
    }
}

/// Reads it.
pub(super) fn read_begin(request: BeginQuorumEpochRequest) -> Result<Request, NotUnderstood> {
    let voter_id = NodeId(request.voter_id);
    let partition = only(only(request.topics)?.partitions)?;
    Ok(Request::BeginEpoch {
        epoch: Epoch(partition.leader_epoch),
        leader: NodeId(partition.leader_id),
        voter: ReplicaKey { id: voter_id, directory: partition.voter_directory_id },
    })
}

/// Where the leader says that it is.
pub(super) fn begin_address(request: &BeginQuorumEpochRequest) -> Option<PeerAddress> {
    let leader = request.topics.first()?.partitions.first()?.leader_id;
    let endpoint = request.leader_endpoints.first()?;
    Some(PeerAddress { id: known(leader)?, host: endpoint.host.to_string(), port: endpoint.port })
}

/// The answer to a BeginQuorumEpoch.
pub(super) fn begin_response(response: &Response) -> BeginQuorumEpochResponse {
    let (error_code, leader_id, leader_epoch) = parts(response);
    let partition =
        k53_begin_quorum_epoch::ToldPartition { partition_index: 0, error_code, leader_id, leader_epoch };
    let topic =
        k53_begin_quorum_epoch::ToldTopic { topic_name: METADATA_TOPIC.into(), partitions: vec![partition] };
    BeginQuorumEpochResponse { topics: vec![topic], ..BeginQuorumEpochResponse::default() }
}

/// Reads it.
pub(super) fn read_begin_response(answer: BeginQuorumEpochResponse) -> Result<Response, NotUnderstood> {
    let partition = only(only(answer.topics)?.partitions)?;
    response(partition.leader_epoch, partition.leader_id, partition.error_code, Answer::BeginEpoch)
}

/// EndQuorumEpoch.
pub(super) fn end_request(
    cluster_id: &str,
    epoch: Epoch,
    leader: NodeId,
    successors: &[ReplicaKey],
) -> EndQuorumEpochRequest {
    let candidates = successors.iter().map(|replica| k54_end_quorum_epoch::ReplicaInfo {
        candidate_id: replica.id.0,
        candidate_directory_id: replica.directory,
    });
    let partition = k54_end_quorum_epoch::PartitionData {
        partition_index: 0,
        leader_id: leader.0,
        leader_epoch: epoch.0,
        preferred_candidates: candidates.collect(),
        ..k54_end_quorum_epoch::PartitionData::default()
    };
    let topic =
        k54_end_quorum_epoch::TopicData { topic_name: METADATA_TOPIC.into(), partitions: vec![partition] };
    EndQuorumEpochRequest {
        cluster_id: Some(cluster_id.into()),
        topics: vec![topic],
        ..EndQuorumEpochRequest::default()
    }
}

/// Reads it.
pub(super) fn read_end(request: EndQuorumEpochRequest) -> Result<Request, NotUnderstood> {
    let partition = only(only(request.topics)?.partitions)?;
    let replica = |candidate: k54_end_quorum_epoch::ReplicaInfo| ReplicaKey {
        id: NodeId(candidate.candidate_id),
        directory: candidate.candidate_directory_id,
    };
    Ok(Request::EndEpoch {
        epoch: Epoch(partition.leader_epoch),
        leader: NodeId(partition.leader_id),
        successors: partition.preferred_candidates.into_iter().map(replica).collect(),
    })
}

/// The answer to an EndQuorumEpoch.
pub(super) fn end_response(response: &Response) -> EndQuorumEpochResponse {
    let (error_code, leader_id, leader_epoch) = parts(response);
    let partition =
        k54_end_quorum_epoch::ToldPartition { partition_index: 0, error_code, leader_id, leader_epoch };
    let topic =
        k54_end_quorum_epoch::ToldTopic { topic_name: METADATA_TOPIC.into(), partitions: vec![partition] };
    EndQuorumEpochResponse { topics: vec![topic], ..EndQuorumEpochResponse::default() }
}

/// Reads it.
pub(super) fn read_end_response(answer: EndQuorumEpochResponse) -> Result<Response, NotUnderstood> {
    let partition = only(only(answer.topics)?.partitions)?;
    response(partition.leader_epoch, partition.leader_id, partition.error_code, Answer::EndEpoch)
}

/// Fetch.
pub(super) fn fetch_request(
    cluster_id: &str,
    epoch: Epoch,
    replica: ReplicaKey,
    log_end: LogEnd,
    terms: FetchTerms,
    bytes_max: i32,
) -> FetchRequest {
    let partition = FetchPartition {
        partition: 0,
        current_leader_epoch: epoch.0,
        fetch_offset: log_end.offset.0,
        last_fetched_epoch: log_end.epoch.0,
        partition_max_bytes: bytes_max,
        replica_directory_id: replica.directory,
        high_watermark: terms.high_watermark.0,
        ..FetchPartition::default()
    };
    FetchRequest {
        cluster_id: Some(cluster_id.into()),
        replica_state: ReplicaState { replica_id: replica.id.0, ..ReplicaState::default() },
        max_wait_ms: terms.wait_ms_max,
        max_bytes: bytes_max,
        topics: vec![FetchTopic {
            topic_id: METADATA_TOPIC_ID,
            partitions: vec![partition],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    }
}

/// Reads it.
pub(super) fn read_fetch(request: FetchRequest) -> Result<(Request, FetchTerms), NotUnderstood> {
    let (replica_id, wait_ms_max) = (request.replica_state.replica_id, request.max_wait_ms);
    let topic = only(request.topics)?;
    if topic.topic_id != METADATA_TOPIC_ID {
        return Err("it is not about the metadata log");
    }
    let partition = only(topic.partitions)?;
    let asked = Request::Fetch {
        epoch: Epoch(partition.current_leader_epoch),
        replica: ReplicaKey { id: NodeId(replica_id), directory: partition.replica_directory_id },
        log_end: LogEnd {
            epoch: Epoch(partition.last_fetched_epoch),
            offset: Offset(partition.fetch_offset),
        },
    };
    Ok((asked, FetchTerms { wait_ms_max, high_watermark: Offset(partition.high_watermark) }))
}

/// The answer to a Fetch, with the records of [`Answer::Records`].
pub(super) fn fetch_response(
    response: &Response,
    leader: Option<PeerAddress>,
    log_start: Offset,
    records: Bytes,
) -> FetchResponse {
    let (error_code, leader_id, leader_epoch) = parts(response);
    let mut partition = FetchedPartition {
        partition_index: 0,
        error_code,
        high_watermark: -1,
        log_start_offset: log_start.0,
        current_leader: LeaderIdAndEpoch { leader_id, leader_epoch },
        records: Some(Records::default()),
        ..FetchedPartition::default()
    };
    match &response.outcome {
        Ok(Answer::Records { high_watermark, .. }) => {
            partition.high_watermark = high_watermark.0;
            partition.records = Some(Records::Held(records));
        }
        Ok(Answer::Diverging(end)) => {
            partition.diverging_epoch = EpochEndOffset { epoch: end.epoch.0, end_offset: end.offset.0 };
        }
        Ok(Answer::Snapshot(end)) => {
            partition.snapshot_id = SnapshotId { end_offset: end.offset.0, epoch: end.epoch.0 };
        }
        Ok(Answer::Vote { .. } | Answer::BeginEpoch | Answer::EndEpoch) | Err(_) => {}
    }
    FetchResponse {
        responses: vec![FetchableTopicResponse {
            topic_id: METADATA_TOPIC_ID,
            partitions: vec![partition],
            ..FetchableTopicResponse::default()
        }],
        node_endpoints: leader.map(endpoint_of).into_iter().collect(),
        ..FetchResponse::default()
    }
}

fn endpoint_of(leader: PeerAddress) -> NodeEndpoint {
    let PeerAddress { id, host, port } = leader;
    NodeEndpoint { node_id: id.0, host: host.into(), port: port.into(), rack: None }
}

/// Where the leader is that an answer to a Fetch names.
pub(super) fn leader_address(answer: &FetchResponse) -> Option<PeerAddress> {
    let leader = answer.responses.first()?.partitions.first()?.current_leader.leader_id;
    let endpoint = answer.node_endpoints.iter().find(|endpoint| endpoint.node_id == leader)?;
    let port = u16::try_from(endpoint.port).ok()?;
    Some(PeerAddress { id: known(leader)?, host: endpoint.host.to_string(), port })
}

/// Reads it; `from` is what was asked for.
pub(super) fn read_fetch_response(
    answer: FetchResponse,
    from: Offset,
) -> Result<(Response, Bytes), NotUnderstood> {
    let partition = only(only(answer.responses)?.partitions)?;
    let end = |epoch, offset| LogEnd { epoch: Epoch(epoch), offset: Offset(offset) };
    let (diverging, snapshot) = (&partition.diverging_epoch, &partition.snapshot_id);
    let answer = if diverging.end_offset >= 0 {
        Answer::Diverging(end(diverging.epoch, diverging.end_offset))
    } else if snapshot.end_offset >= 0 {
        Answer::Snapshot(end(snapshot.epoch, snapshot.end_offset))
    } else {
        Answer::Records { from, high_watermark: Offset(partition.high_watermark) }
    };
    let LeaderIdAndEpoch { leader_id, leader_epoch } = partition.current_leader;
    let records = partition.records.map(Records::into_bytes).unwrap_or_default();
    Ok((response(leader_epoch, leader_id, partition.error_code, answer)?, records))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn replica() -> impl Strategy<Value = ReplicaKey> {
        (0..9i32, any::<u128>())
            .prop_map(|(id, directory)| ReplicaKey { id: NodeId(id), directory: Uuid::from_u128(directory) })
    }

    fn log_end() -> impl Strategy<Value = LogEnd> {
        (0..99i32, 0..999i64)
            .prop_map(|(epoch, offset)| LogEnd { epoch: Epoch(epoch), offset: Offset(offset) })
    }

    fn outcome(answer: Answer) -> impl Strategy<Value = Response> {
        let refusals = [
            Refusal::FencedEpoch,
            Refusal::UnknownEpoch,
            Refusal::NotLeader,
            Refusal::InvalidVoterKey,
            Refusal::OtherLeader,
        ];
        (0..99i32, proptest::option::of(0..9i32), proptest::option::of(0..refusals.len())).prop_map(
            move |(epoch, leader, refusal)| Response {
                epoch: Epoch(epoch),
                leader: leader.map(NodeId),
                outcome: refusal.map_or(Ok(answer.clone()), |at| Err(refusals[at])),
            },
        )
    }

    fn answer_to_fetch(from: Offset) -> impl Strategy<Value = Answer> {
        prop_oneof![
            (0..999i64).prop_map(move |hw| Answer::Records { from, high_watermark: Offset(hw) }),
            log_end().prop_map(Answer::Diverging),
            log_end().prop_map(Answer::Snapshot),
        ]
    }

    proptest! {
        #[test]
        fn requests_round_trip(
            epoch in 0..99i32, one in replica(), other in replica(), log_end in log_end(), is_pre_vote: bool,
            successors in proptest::collection::vec(replica(), 0..4), wait_ms_max in 0..9999i32,
        ) {
            let (epoch, cluster) = (Epoch(epoch), "cluster");
            let vote = vote_request(cluster, epoch, one, other, log_end, is_pre_vote);
            prop_assert!(is_of_cluster(vote.cluster_id.as_ref(), cluster) && !is_of_cluster(vote.cluster_id.as_ref(), "b"));
            let expected = Request::Vote { epoch, candidate: one, voter: other, log_end, is_pre_vote };
            prop_assert_eq!(read_vote(vote), Ok(expected));
            let expected = Request::BeginEpoch { epoch, leader: one.id, voter: other };
            let leader = PeerAddress { id: one.id, host: "a".to_owned(), port: 7 };
            let begin = begin_request(cluster, epoch, one.id, other, Some(leader.clone()));
            prop_assert_eq!(begin_address(&begin), Some(leader));
            prop_assert_eq!(read_begin(begin), Ok(expected));
            let end = end_request(cluster, epoch, one.id, &successors);
            prop_assert_eq!(read_end(end), Ok(Request::EndEpoch { epoch, leader: one.id, successors }));
            let terms = FetchTerms { wait_ms_max, high_watermark: log_end.offset };
            let fetch = fetch_request(cluster, epoch, one, log_end, terms, 1000);
            prop_assert_eq!(read_fetch(fetch), Ok((Request::Fetch { epoch, replica: one, log_end }, terms)));
        }

        #[test]
        fn answers_to_votes_round_trip(is_granted: bool, is_pre_vote: bool, seed in outcome(Answer::BeginEpoch)) {
            let answer = Answer::Vote { is_granted, is_pre_vote };
            let told = Response { outcome: seed.outcome.clone().map(|_| answer), ..seed.clone() };
            prop_assert_eq!(read_vote_response(vote_response(&told), is_pre_vote), Ok(told));
            prop_assert_eq!(read_begin_response(begin_response(&seed)), Ok(seed.clone()));
            let ended = Response { outcome: seed.outcome.clone().map(|_| Answer::EndEpoch), ..seed };
            prop_assert_eq!(read_end_response(end_response(&ended)), Ok(ended));
        }

        #[test]
        fn answers_to_fetches_round_trip(
            response in answer_to_fetch(Offset(7)).prop_flat_map(outcome),
        ) {
            let bytes = match response.outcome {
                Ok(Answer::Records { .. }) => Bytes::from_static(b"some records"),
                _ => Bytes::new(),
            };
            let leader = response.leader.map(|id| PeerAddress { id, host: "b".to_owned(), port: 65535 });
            let sent = fetch_response(&response, leader.clone(), Offset(3), bytes.clone());
            prop_assert_eq!(leader_address(&sent), leader);
            prop_assert_eq!(read_fetch_response(sent, Offset(7)), Ok((response, bytes)));
        }
    }

    #[test]
    fn what_is_about_other_partitions_is_not_understood() {
        assert!(read_vote(VoteRequest::default()).is_err());
        assert!(read_fetch(FetchRequest::default()).is_err());
        let mut fetch = fetch_request(
            "c",
            Epoch(1),
            ReplicaKey { id: NodeId(1), directory: Uuid::nil() },
            LogEnd::default(),
            FetchTerms { wait_ms_max: 0, high_watermark: Offset(0) },
            1,
        );
        fetch.topics[0].topic_id = Uuid::from_u128(2);
        assert!(read_fetch(fetch).is_err());
    }
}
