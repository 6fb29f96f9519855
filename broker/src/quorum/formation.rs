//! How a new cluster comes to be, and how a node finds out that it is not part of the one it was told of.
//!
//! Each node chooses the id of its directory, durably, before it tells anybody. The controller with the lowest id makes the
//! cluster once all others have answered that they too are new: it gives it an id, and writes down who votes with which
//! directory. The others take both from whoever has them. So there is one cluster, whoever is killed meanwhile.
//!
//! Who is none of the voters joins what is there, and follows without a vote until it is given one (KIP-853): a new controller, a broker
//! that is none, and a voter that comes back without its disk, which is not taken for the one that it was. Where somebody is still
//! heard of under that id, the node is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ottla_protocol::messages::k55_describe_quorum::{Listener, PartitionData, TopicData};
use ottla_protocol::messages::{DescribeClusterRequest, DescribeQuorumRequest};
use thiserror::Error;
use uuid::Uuid;

use super::listener::{Face, QuorumListener};
use super::peers::{NodeTransport, PeerAddress, PeerConnection, PeerError};
use super::types::{ReplicaKey, Voter, VoterEndpoint, Voters};
use super::voter_history::VoterHistory;
use super::voters_file::{self, Begin, VotersFileError};
use super::wire::CONTROLLER_LISTENER;
use crate::controller::METADATA_TOPIC;
use crate::ids::NodeId;
use crate::log::{LogError, create_dir_durably, write_file_durably};
use crate::partition::{Identity, LogDirError, kafka_uuid, now_ms, parse_kafka_uuid};

/// Holds the id of the directory until the cluster has one too.
const DIRECTORY_ID: &str = "directory.id";
/// How often those are asked again that have not answered.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// How long an answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);
/// After so long a silence, by its leader's clock, a voter counts as gone. One that is there asks every half second.
const SILENCE: Duration = Duration::from_secs(4);
/// One that was never silent for that long in this time is there.
const HEARD_FOR: Duration = Duration::from_secs(6);
/// A leader under this node's id for so long is another node that is there: one that has died is missed sooner.
const LEADS_FOR: Duration = Duration::from_secs(8);

/// Why a node is no part of the cluster that it was told of.
#[derive(Debug, Error)]
pub enum FormationError {
    /// Another cluster is where it was told to go.
    #[error(
        "{dir} belongs to cluster {own}, but the controller {id} at {host}:{port} to cluster {other}; start the node with the \
         --controllers of its own cluster, or give it an empty --data-dir"
    )]
    OtherCluster {
        /// Its data directory.
        dir: PathBuf,
        /// The cluster that this belongs to.
        own: String,
        /// Who belongs to another.
        id: NodeId,
        /// Where.
        host: String,
        /// Where.
        port: u16,
        /// Which.
        other: String,
    },
    /// Another node has the id, and is at work.
    #[error(
        "node {id} of cluster {cluster_id} is there already, and votes with the directory {known}, which {dir} is not: the id is taken; \
         start with another --node-id"
    )]
    NodeIdTaken {
        /// Whose.
        id: NodeId,
        /// In which.
        cluster_id: String,
        /// Its data directory.
        dir: PathBuf,
        /// The one that votes.
        known: String,
    },
    /// One that was alone is to be one of several, or the other way round.
    #[error(
        "the controllers of {dir} are {known}, and --controllers names {named}: start it with --controllers that has the former"
    )]
    OtherControllers {
        /// Its data directory, or where the others are.
        dir: PathBuf,
        /// Those of the cluster.
        known: String,
        /// Those it was started with.
        named: String,
    },
    /// Its data directory cannot be used.
    #[error(transparent)]
    LogDir(#[from] LogDirError),
    /// Its data directory cannot be used.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The voters cannot be written down.
    #[error(transparent)]
    Voters(#[from] VotersFileError),
}

/// What another controller is.
enum Seen {
    /// New.
    New(ReplicaKey),
    /// Part of a cluster.
    Member(Member),
}

/// What a member of a cluster says of it.
struct Member {
    cluster_id: String,
    voters: Voters,
    leader: Option<NodeId>,
    /// When a leader last heard of each voter, by its own clock, and of itself now.
    heard_at_ms: BTreeMap<NodeId, i64>,
}

fn ids(ids: impl Iterator<Item = NodeId>) -> String {
    ids.map(|id| id.to_string()).collect::<Vec<_>>().join(",")
}

/// Has the folder of a node be part of a cluster with these controllers, which may take until the others are there; gives who
/// votes, as far as that is known without the log. `listener` is this node's, if it is a controller.
pub(crate) async fn join(
    dir: &Path,
    me: NodeId,
    controllers: &[PeerAddress],
    listener: Option<&QuorumListener>,
    transport: &NodeTransport,
) -> Result<VoterHistory, FormationError> {
    let metadata = dir.join(format!("{METADATA_TOPIC}-0"));
    let others: Vec<&PeerAddress> = controllers.iter().filter(|controller| controller.id != me).collect();
    if Identity::exists(dir) {
        let Identity { cluster_id, directory_id } = Identity::of(dir, me, None)?;
        let formed = match voters_file::load(&metadata)? {
            Begin::Formed(voters) => voters,
            Begin::Joined => Voters::default(),
            Begin::Alone if sorted(controllers) == [me] => {
                // It was alone, and is a quorum of one from now on, which others can join.
                let voters = named([ReplicaKey { id: me, directory: directory_id }], controllers);
                voters_file::save(&metadata, Some(&voters), now_ms())?;
                voters
            }
            Begin::Alone => {
                let named = ids(controllers.iter().map(|controller| controller.id));
                return Err(FormationError::OtherControllers {
                    dir: dir.to_owned(),
                    known: me.to_string(),
                    named,
                });
            }
        };
        check_cluster(dir, &cluster_id, transport, &others).await?;
        return Ok(VoterHistory::formed(formed));
    }
    create_dir_durably(dir).map_err(LogError::io("create", dir))?;
    Identity::refuse_partitions_without(dir)?;
    let key = ReplicaKey { id: me, directory: directory_id(dir)? };
    let forming = form(dir, key, controllers, &others, transport);
    let (cluster_id, voters) = match listener {
        Some(listener) => tokio::select! {
            formed = forming => formed?,
            never = listener.serve(Face::New(key)) => never,
        },
        None => forming.await?,
    };
    let has_vote = voters.contains(key);
    let formed = if has_vote { voters } else { Voters::default() };
    // The voters first: who has an identity has them.
    voters_file::save(&metadata, has_vote.then_some(&formed), now_ms())?;
    Identity { cluster_id: cluster_id.clone(), directory_id: key.directory }.save(dir, me)?;
    let _ = fs::remove_file(dir.join(DIRECTORY_ID));
    tracing::info!(cluster_id, has_vote, "joined a cluster");
    Ok(VoterHistory::formed(formed))
}

/// The voters of a node that was told of no controllers: itself, or the data directory is refused.
pub(crate) fn voters_alone(
    dir: &Path,
    metadata: &Path,
    me: ReplicaKey,
) -> Result<VoterHistory, FormationError> {
    let refused = |known: String| FormationError::OtherControllers {
        dir: dir.to_owned(),
        known,
        named: "none".to_owned(),
    };
    match voters_file::load(metadata)? {
        Begin::Alone => Ok(VoterHistory::fixed([me].into_iter().collect())),
        Begin::Formed(voters) => Err(refused(ids(voters.iter().map(|voter| voter.id)))),
        Begin::Joined => Err(refused("others".to_owned())),
    }
}

/// Replicas as voters that are where `--controllers` says.
fn named(keys: impl IntoIterator<Item = ReplicaKey>, controllers: &[PeerAddress]) -> Voters {
    let voter = |key: ReplicaKey| {
        let at = controllers.iter().filter(|controller| controller.id == key.id);
        let endpoint = |at: &PeerAddress| VoterEndpoint {
            listener: CONTROLLER_LISTENER.to_owned(),
            host: at.host.clone(),
            port: at.port,
        };
        Voter { key, endpoints: at.map(endpoint).collect() }
    };
    keys.into_iter().map(voter).collect()
}

fn sorted(controllers: &[PeerAddress]) -> Vec<NodeId> {
    let mut ids: Vec<NodeId> = controllers.iter().map(|controller| controller.id).collect();
    ids.sort();
    ids
}

/// The id of a new directory, which stays the same however often the start is interrupted.
fn directory_id(dir: &Path) -> Result<Uuid, LogError> {
    let path = dir.join(DIRECTORY_ID);
    if let Some(id) = fs::read_to_string(&path).ok().and_then(|text| parse_kafka_uuid(text.trim())) {
        return Ok(id);
    }
    let id = Uuid::new_v4();
    write_file_durably(&path, kafka_uuid(id).as_bytes())?;
    Ok(id)
}

/// Waits until there is a cluster, or makes it where that is this node's part.
async fn form(
    dir: &Path,
    me: ReplicaKey,
    controllers: &[PeerAddress],
    others: &[&PeerAddress],
    transport: &NodeTransport,
) -> Result<(String, Voters), FormationError> {
    let makes_it = sorted(controllers).first() == Some(&me.id);
    let connections: Vec<PeerConnection> =
        others.iter().map(|other| PeerConnection::new((*other).clone(), transport)).collect();
    let (mut has_told, mut namesake) = (false, Namesake::default());
    loop {
        let mut new = BTreeMap::new();
        for connection in &connections {
            match look_at(connection).await {
                // One that has just joined itself knows nothing yet.
                Ok(Seen::Member(member)) if member.voters.is_empty() => {}
                Ok(Seen::Member(member)) => match member.voters.get(me.id) {
                    Some(known) if known.key != me => {
                        match namesake.look(me.id, &member, connection.id(), Instant::now()) {
                            None => {}
                            Some(true) => {
                                return Err(FormationError::NodeIdTaken {
                                    id: me.id,
                                    cluster_id: member.cluster_id,
                                    dir: dir.to_owned(),
                                    known: kafka_uuid(known.key.directory),
                                });
                            }
                            Some(false) => {
                                let (lost, own) = (kafka_uuid(known.key.directory), kafka_uuid(me.directory));
                                tracing::warn!(
                                    node_id = %me.id, lost, own,
                                    "this node votes in the quorum with a directory that it has not any more; it follows without a vote \
                                     until the lost directory is removed from the voters and its own is added (kafka-metadata-quorum \
                                     remove-controller, add-controller)"
                                );
                                return Ok((member.cluster_id, member.voters));
                            }
                        }
                    }
                    _ => return Ok((member.cluster_id, member.voters)),
                },
                Ok(Seen::New(other)) => {
                    new.insert(other.id, other);
                }
                Err(error) => tracing::debug!(%error, "a controller does not answer yet"),
            }
        }
        if makes_it && others.iter().all(|other| new.contains_key(&other.id)) {
            let voters = named(new.into_values().chain([me]), controllers);
            return Ok((kafka_uuid(Uuid::new_v4()), voters));
        }
        if !has_told {
            has_told = true;
            let controllers = ids(others.iter().map(|other| other.id));
            tracing::info!(controllers, "waits for the other controllers, to form a cluster or join theirs");
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// Finds out whether the voter that has a node's id with another directory is at work, or its directory is lost.
#[derive(Default)]
struct Namesake {
    /// Since when a leader knows of it, and how old its knowledge was then where it had none.
    known: Option<(Instant, i64)>,
    leads_since: Option<Instant>,
}

impl Namesake {
    /// Whether it is at work, once that is known, by what a member says at a time.
    fn look(&mut self, id: NodeId, member: &Member, from: NodeId, now: Instant) -> Option<bool> {
        if member.leader == Some(id) {
            let since = *self.leads_since.get_or_insert(now);
            return (now - since >= LEADS_FOR).then_some(true);
        }
        self.leads_since = None;
        // Only the leader knows of whom it has heard.
        member.leader.filter(|leader| *leader == from)?;
        let leaders_now_ms = *member.heard_at_ms.get(&from)?;
        let (since, first_ms) = *self.known.get_or_insert((now, leaders_now_ms));
        // Of whom it has not heard at all, it knows since it was first asked that it has not.
        let heard_at_ms = member.heard_at_ms.get(&id).copied().filter(|at| *at >= 0).unwrap_or(first_ms);
        if leaders_now_ms - heard_at_ms >= SILENCE.as_millis() as i64 {
            return Some(false);
        }
        (now - since >= HEARD_FOR).then_some(true)
    }
}

/// Refuses to go on where one of the others is known to belong to another cluster. Those that do not answer now are asked nothing:
/// what they are shows when they are worked with.
async fn check_cluster(
    dir: &Path,
    own: &str,
    transport: &NodeTransport,
    others: &[&PeerAddress],
) -> Result<(), FormationError> {
    let looking = others.iter().map(|other| async move {
        let connection = PeerConnection::new((*other).clone(), transport);
        (*other, look_at(&connection).await)
    });
    for (other, seen) in futures::future::join_all(looking).await {
        if let Ok(Seen::Member(Member { cluster_id, .. })) = seen
            && cluster_id != own
        {
            let (dir, own) = (dir.to_owned(), own.to_owned());
            let PeerAddress { id, host, port } = other.clone();
            return Err(FormationError::OtherCluster { dir, own, id, host, port, other: cluster_id });
        }
    }
    Ok(())
}

async fn look_at(connection: &PeerConnection) -> Result<Seen, PeerError> {
    let request = DescribeClusterRequest { endpoint_type: 2, ..DescribeClusterRequest::default() };
    let cluster = connection.call(&request, 1, ANSWER_TIME_MAX).await?;
    let partitions = vec![PartitionData { partition_index: 0 }];
    let topics = vec![TopicData { topic_name: METADATA_TOPIC.into(), partitions }];
    let quorum = connection.call(&DescribeQuorumRequest { topics }, 2, ANSWER_TIME_MAX).await?;
    let partition = quorum.topics.into_iter().flat_map(|topic| topic.partitions).next().unwrap_or_default();
    let mut heard_at_ms = BTreeMap::new();
    let mut voters = Vec::new();
    for voter in &partition.current_voters {
        let key = ReplicaKey { id: NodeId(voter.replica_id), directory: voter.replica_directory_id };
        heard_at_ms.insert(key.id, voter.last_fetch_timestamp);
        let listeners = quorum.nodes.iter().find(|node| node.node_id == key.id.0).map(|node| &node.listeners);
        let endpoint = |listener: &Listener| VoterEndpoint {
            listener: listener.name.to_string(),
            host: listener.host.to_string(),
            port: listener.port,
        };
        voters.push(Voter { key, endpoints: listeners.into_iter().flatten().map(endpoint).collect() });
    }
    if !cluster.cluster_id.is_empty() {
        let leader = (partition.leader_id >= 0).then_some(NodeId(partition.leader_id));
        let cluster_id = cluster.cluster_id.to_string();
        return Ok(Seen::Member(Member {
            cluster_id,
            voters: voters.into_iter().collect(),
            leader,
            heard_at_ms,
        }));
    }
    let id = connection.id();
    match voters.first() {
        Some(voter) if voter.key.id == id => Ok(Seen::New(voter.key)),
        _ => Err(PeerError::NotUnderstood(format!("it is not node {id}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(leader: i32, heard: &[(i32, i64)]) -> Member {
        Member {
            cluster_id: "c".to_owned(),
            voters: Voters::default(),
            leader: Some(NodeId(leader)),
            heard_at_ms: heard.iter().map(|(id, at)| (NodeId(*id), *at)).collect(),
        }
    }

    #[test]
    fn a_namesake_that_is_heard_of_is_at_work_and_one_that_is_silent_is_not() {
        let (me, leader, begin) = (NodeId(2), NodeId(1), Instant::now());
        let silence_ms = SILENCE.as_millis() as i64;
        let mut at_work = Namesake::default();
        assert_eq!(at_work.look(me, &member(1, &[(1, 100), (2, 90)]), leader, begin), None);
        let later = member(1, &[(1, 100 + 2 * silence_ms), (2, 90 + 2 * silence_ms)]);
        assert_eq!(at_work.look(me, &later, NodeId(3), begin + HEARD_FOR), None, "not the leader's word");
        assert_eq!(at_work.look(me, &later, leader, begin + HEARD_FOR), Some(true));
        let mut leads = Namesake::default();
        assert_eq!(
            leads.look(me, &member(2, &[]), NodeId(3), begin),
            None,
            "the dead leader is not missed yet"
        );
        assert_eq!(leads.look(me, &member(2, &[]), NodeId(3), begin + LEADS_FOR), Some(true));
        let mut gone = Namesake::default();
        assert_eq!(gone.look(me, &member(1, &[(1, 100), (2, -1)]), leader, begin), None, "a new leader");
        assert_eq!(gone.look(me, &member(1, &[(1, 100 + silence_ms), (2, -1)]), leader, begin), Some(false));
        let mut silent = Namesake::default();
        assert_eq!(silent.look(me, &member(1, &[(1, 90 + silence_ms), (2, 90)]), leader, begin), Some(false));
    }
}
