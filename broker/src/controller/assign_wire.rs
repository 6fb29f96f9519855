//! AssignReplicasToDirs (73) between a broker and the active controller: in which of its log dirs replicas are (KIP-858).

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k73_assign_replicas_to_dirs::{
    AssignedDirectory, AssignedPartition, AssignedTopic, DirectoryData, PartitionData, TopicData,
};
use ottla_protocol::messages::{AssignReplicasToDirsRequest, AssignReplicasToDirsResponse};
use tokio::sync::oneshot;

use super::error::ControllerError;
use super::runtime::{Command, Controller};
use crate::ids::{NodeId, Offset};
use crate::partition::Assignment;

const VERSION: i16 = 0;

impl Controller {
    /// Has the active controller, on whichever node it is, record in which log dir a partition of this node is.
    ///
    /// # Errors
    /// [`ControllerError::NotController`] where nobody decides, or the node is not registered: it may be tried again.
    pub async fn assign(&self, assignment: Assignment) -> Result<(), ControllerError> {
        let node_id = self.log().membership().config.me.id;
        if self.log().state().leads_from.is_some() || self.log().is_alone() {
            return self.assign_here(node_id, assignment).await;
        }
        let image = self.image();
        let broker = image.brokers().get(&node_id).ok_or(ControllerError::NotController)?;
        let asked = request(node_id, broker.epoch, assignment);
        let answer = self.log().ask_leader(&asked, VERSION).await;
        let answer = answer.ok_or(ControllerError::NotController)?;
        let partition = |partition: &AssignedPartition| ErrorCode::check(partition.error_code).is_ok();
        let topics = answer.directories.iter().flat_map(|directory| &directory.topics);
        let are_recorded = topics.flat_map(|topic| &topic.partitions).all(partition);
        match ErrorCode::check(answer.error_code).is_ok() && are_recorded {
            true => Ok(()),
            false => Err(ControllerError::NotController),
        }
    }

    async fn assign_here(&self, node_id: NodeId, assignment: Assignment) -> Result<(), ControllerError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Assign { node_id, assignment, reply };
        self.commands.send(command).await.map_err(|_| ControllerError::Stopped)?;
        let assigned = answer.await.map_err(|_| ControllerError::Stopped)?;
        self.settle().await;
        assigned
    }

    /// What another node asks of this one.
    pub(crate) async fn assign_of_others(
        &self,
        request: AssignReplicasToDirsRequest,
    ) -> AssignReplicasToDirsResponse {
        let node_id = NodeId(request.broker_id);
        let image: Arc<_> = self.decided();
        let registered = image.brokers().get(&node_id).map(|broker| broker.epoch);
        if registered != Some(Offset(request.broker_epoch)) {
            let error_code = ErrorCode::StaleBrokerEpoch.code();
            return AssignReplicasToDirsResponse { error_code, ..AssignReplicasToDirsResponse::default() };
        }
        let mut directories = Vec::with_capacity(request.directories.len());
        for DirectoryData { id, topics } in request.directories {
            let mut assigned = Vec::with_capacity(topics.len());
            for TopicData { topic_id, partitions } in topics {
                let mut answers = Vec::with_capacity(partitions.len());
                for PartitionData { partition_index } in partitions {
                    let wanted = Assignment { topic_id, partition: partition_index, directory_id: id };
                    let code = match self.assign_here(node_id, wanted).await {
                        Ok(()) => ErrorCode::None,
                        Err(_) => ErrorCode::NotController,
                    };
                    answers.push(AssignedPartition { partition_index, error_code: code.code() });
                }
                assigned.push(AssignedTopic { topic_id, partitions: answers });
            }
            directories.push(AssignedDirectory { id, topics: assigned });
        }
        AssignReplicasToDirsResponse { directories, ..AssignReplicasToDirsResponse::default() }
    }
}

fn request(node_id: NodeId, epoch: Offset, assignment: Assignment) -> AssignReplicasToDirsRequest {
    let Assignment { topic_id, partition, directory_id } = assignment;
    let partitions = vec![PartitionData { partition_index: partition }];
    AssignReplicasToDirsRequest {
        broker_id: node_id.0,
        broker_epoch: epoch.0,
        directories: vec![DirectoryData {
            id: directory_id,
            topics: vec![TopicData { topic_id, partitions }],
        }],
    }
}
