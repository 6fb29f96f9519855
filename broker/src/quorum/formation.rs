//! How a new cluster comes to be, and how a node finds out that it is not part of the one it was told of.
//!
//! Each node chooses the id of its directory, durably, before it tells anybody. The controller with the lowest id makes the
//! cluster once all others have answered that they too are new: it gives it an id, and writes down who votes with which
//! directory. The others, and brokers that are no controllers, take both from whoever has them, if they are among the voters
//! with their directory, or none of the voters at all. So there is one cluster, whoever is killed meanwhile, and a node that
//! comes back without its disk is not taken for the one that it was (KIP-853).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ottla_protocol::messages::k55_describe_quorum::{PartitionData, TopicData};
use ottla_protocol::messages::{DescribeClusterRequest, DescribeQuorumRequest};
use thiserror::Error;
use uuid::Uuid;

use super::listener::{Face, QuorumListener};
use super::peers::{NodeTransport, PeerAddress, PeerConnection, PeerError};
use super::types::{ReplicaKey, Voters};
use super::voters_file::{self, VotersFileError};
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
    /// The node's id belongs to another disk.
    #[error(
        "node {id} of cluster {cluster_id} votes with the directory {known}, and {dir} is {own}: the id is taken, or the disk was \
         replaced; start with the data directory that the node had, or with another --node-id that is not among --controllers"
    )]
    NodeIdTaken {
        /// Whose.
        id: NodeId,
        /// In which.
        cluster_id: String,
        /// Its data directory.
        dir: PathBuf,
        /// Its id.
        own: String,
        /// The one that votes.
        known: String,
    },
    /// It names other controllers than the cluster has.
    #[error("the controllers of {dir} are {known}, and --controllers names {named}: they must be the same")]
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
    Member { cluster_id: String, voters: Voters },
}

fn ids(ids: impl Iterator<Item = NodeId>) -> String {
    ids.map(|id| id.to_string()).collect::<Vec<_>>().join(",")
}

/// Has the folder of a node be part of a cluster with these controllers, which may take until the others are there; gives who
/// votes. `listener` is this node's, if it is a controller.
pub(crate) async fn join(
    dir: &Path,
    me: NodeId,
    controllers: &[PeerAddress],
    listener: Option<&QuorumListener>,
    transport: &NodeTransport,
) -> Result<Voters, FormationError> {
    let metadata = dir.join(format!("{METADATA_TOPIC}-0"));
    let named = || ids(controllers.iter().map(|controller| controller.id));
    let others: Vec<&PeerAddress> = controllers.iter().filter(|controller| controller.id != me).collect();
    if Identity::exists(dir) {
        let Identity { cluster_id, directory_id } = Identity::of(dir, me, None)?;
        let alone = || [ReplicaKey { id: me, directory: directory_id }].into_iter().collect();
        let voters: Voters = voters_file::load(&metadata)?.unwrap_or_else(alone);
        if !voters.iter().map(|voter| voter.id).eq(sorted(controllers)) {
            let known = ids(voters.iter().map(|voter| voter.id));
            return Err(FormationError::OtherControllers { dir: dir.to_owned(), known, named: named() });
        }
        check_cluster(dir, &cluster_id, transport, &others).await?;
        return Ok(voters);
    }
    create_dir_durably(dir).map_err(LogError::io("create", dir))?;
    let key = ReplicaKey { id: me, directory: directory_id(dir)? };
    let forming = form(key, controllers, &others, transport);
    let (cluster_id, voters) = match listener {
        Some(listener) => tokio::select! {
            formed = forming => formed,
            never = listener.serve(Face::New(key)) => never,
        },
        None => forming.await,
    };
    let of_mine = voters.iter().find(|voter| voter.id == me);
    if let Some(known) = of_mine.filter(|voter| *voter != key) {
        return Err(FormationError::NodeIdTaken {
            id: me,
            cluster_id,
            dir: dir.to_owned(),
            own: kafka_uuid(key.directory),
            known: kafka_uuid(known.directory),
        });
    }
    if !voters.iter().map(|voter| voter.id).eq(sorted(controllers)) {
        let known = ids(voters.iter().map(|voter| voter.id));
        return Err(FormationError::OtherControllers { dir: dir.to_owned(), known, named: named() });
    }
    // The voters first: who has an identity has them.
    voters_file::save(&metadata, &voters, controllers, now_ms())?;
    Identity { cluster_id: cluster_id.clone(), directory_id: key.directory }.save(dir, me)?;
    let _ = fs::remove_file(dir.join(DIRECTORY_ID));
    tracing::info!(cluster_id, controllers = named(), "joined a cluster");
    Ok(voters)
}

/// The voters of a node that was told of no controllers: itself, or the data directory is refused.
pub(crate) fn voters_alone(dir: &Path, metadata: &Path, me: ReplicaKey) -> Result<Voters, FormationError> {
    let alone: Voters = [me].into_iter().collect();
    match voters_file::load(metadata)? {
        Some(voters) if voters != alone => Err(FormationError::OtherControllers {
            dir: dir.to_owned(),
            known: ids(voters.iter().map(|voter| voter.id)),
            named: "none".to_owned(),
        }),
        _ => Ok(alone),
    }
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
    me: ReplicaKey,
    controllers: &[PeerAddress],
    others: &[&PeerAddress],
    transport: &NodeTransport,
) -> (String, Voters) {
    let makes_it = sorted(controllers).first() == Some(&me.id);
    let connections: Vec<PeerConnection> =
        others.iter().map(|other| PeerConnection::new((*other).clone(), transport)).collect();
    let mut has_told = false;
    loop {
        let mut new = BTreeMap::new();
        for connection in &connections {
            match look_at(connection).await {
                Ok(Seen::Member { cluster_id, voters }) => return (cluster_id, voters),
                Ok(Seen::New(other)) => {
                    new.insert(other.id, other);
                }
                Err(error) => tracing::debug!(%error, "a controller does not answer yet"),
            }
        }
        if makes_it && others.iter().all(|other| new.contains_key(&other.id)) {
            let voters = new.into_values().chain([me]).collect();
            return (kafka_uuid(Uuid::new_v4()), voters);
        }
        if !has_told {
            has_told = true;
            let controllers = ids(others.iter().map(|other| other.id));
            tracing::info!(controllers, "waits for the other controllers, to form a cluster or join theirs");
        }
        tokio::time::sleep(ASK_AGAIN).await;
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
        if let Ok(Seen::Member { cluster_id, .. }) = seen
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
    let partition = quorum.topics.into_iter().flat_map(|topic| topic.partitions).next();
    let voters = partition.map(|partition| partition.current_voters).unwrap_or_default();
    let mut voters = voters
        .into_iter()
        .map(|voter| ReplicaKey { id: NodeId(voter.replica_id), directory: voter.replica_directory_id });
    if !cluster.cluster_id.is_empty() {
        return Ok(Seen::Member { cluster_id: cluster.cluster_id.to_string(), voters: voters.collect() });
    }
    let id = connection.id();
    match voters.next() {
        Some(key) if key.id == id => Ok(Seen::New(key)),
        _ => Err(PeerError::NotUnderstood(format!("it is not node {id}"))),
    }
}
