//! AlterPartition (56) between a leader of partitions and the active controller: what is told and answered, in the words of the
//! protocol.

use std::collections::BTreeMap;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k56_alter_partition::{
    AlteredPartition, AlteredTopic, BrokerState, PartitionData, TopicData,
};
use ottla_protocol::messages::{AlterPartitionRequest, AlterPartitionResponse};
use uuid::Uuid;

use super::alter_partitions::{AlterPartitions, IsrAnswers, IsrChange};
use super::image::ClusterImage;
use super::runtime::Controller;
use crate::ids::{LeaderEpoch, NodeId, Offset};

/// The one that tells of the epochs of brokers.
const VERSION: i16 = 3;
/// Partitions in one request: larger changes are told in several.
const CHANGES_MAX: usize = 5_000;

impl Controller {
    /// Has the active controller, on whichever node it is, change who is in sync. One answer per change, in order; `Ok(())` where it
    /// is committed. This node learns of it by its image.
    ///
    /// # Errors
    /// As a whole, where the broker is not the one that is registered (`STALE_BROKER_EPOCH`), or nobody decides (`NOT_CONTROLLER`, after
    /// which the change may have been made or not).
    pub async fn alter_partitions(&self, mut wanted: AlterPartitions) -> Result<IsrAnswers, ErrorCode> {
        if self.log().state().leads_from.is_some() {
            return self.alter_partitions_here(wanted).await;
        }
        let mut answers = Vec::with_capacity(wanted.changes.len());
        while !wanted.changes.is_empty() {
            let later = wanted.changes.split_off(wanted.changes.len().min(CHANGES_MAX));
            let answer = self.log().ask_leader(&request(&wanted), VERSION).await;
            let answer = answer.ok_or(ErrorCode::NotController)?;
            ErrorCode::check(answer.error_code)?;
            answers.extend(read_response(&wanted, &answer));
            wanted.changes = later;
        }
        Ok(answers)
    }
}

fn request(wanted: &AlterPartitions) -> AlterPartitionRequest {
    let mut topics: BTreeMap<Uuid, Vec<PartitionData>> = BTreeMap::new();
    for change in &wanted.changes {
        let states =
            change.isr.iter().map(|(node, epoch)| BrokerState { broker_id: node.0, broker_epoch: epoch.0 });
        topics.entry(change.topic_id).or_default().push(PartitionData {
            partition_index: change.partition,
            leader_epoch: change.leader_epoch.0,
            new_isr_with_epochs: states.collect(),
            partition_epoch: change.partition_epoch,
            ..PartitionData::default()
        });
    }
    let topics = topics.into_iter().map(|(topic_id, partitions)| TopicData { topic_id, partitions });
    AlterPartitionRequest {
        broker_id: wanted.broker.0,
        broker_epoch: wanted.broker_epoch.0,
        topics: topics.collect(),
    }
}

/// What a broker wants, its changes in the order of the request.
pub(crate) fn read(request: &AlterPartitionRequest) -> AlterPartitions {
    let changes = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| IsrChange {
            topic_id: topic.topic_id,
            partition: partition.partition_index,
            leader_epoch: LeaderEpoch(partition.leader_epoch),
            partition_epoch: partition.partition_epoch,
            isr: (partition.new_isr_with_epochs.iter())
                .map(|state| (NodeId(state.broker_id), Offset(state.broker_epoch)))
                .collect(),
        })
    });
    AlterPartitions {
        broker: NodeId(request.broker_id),
        broker_epoch: Offset(request.broker_epoch),
        changes: changes.collect(),
    }
}

/// What is answered, with the partitions as they are then.
pub(crate) fn response(
    request: &AlterPartitionRequest,
    answered: Result<IsrAnswers, ErrorCode>,
    image: Option<&ClusterImage>,
) -> AlterPartitionResponse {
    let answers = match answered {
        Ok(answers) => answers,
        Err(code) => {
            return AlterPartitionResponse { error_code: code.code(), ..AlterPartitionResponse::default() };
        }
    };
    let mut answers = answers.into_iter();
    let topics = request.topics.iter().map(|topic| {
        let found = image.and_then(|image| image.topic_by_id(topic.topic_id));
        let mut answer = |wanted: &PartitionData| {
            let code = answers.next().unwrap_or(Err(ErrorCode::UnknownServerError)).err();
            let mut answer = AlteredPartition {
                partition_index: wanted.partition_index,
                error_code: code.unwrap_or(ErrorCode::None).code(),
                ..AlteredPartition::default()
            };
            let number = usize::try_from(wanted.partition_index).ok().filter(|_| code.is_none());
            if let Some(now) = number.and_then(|number| found?.partitions.get(number)) {
                answer.leader_id = now.leader.map_or(-1, |leader| leader.0);
                answer.leader_epoch = now.leader_epoch.0;
                answer.isr = now.isr.iter().map(|node| node.0).collect();
                answer.partition_epoch = now.partition_epoch;
            }
            answer
        };
        AlteredTopic {
            topic_id: topic.topic_id,
            partitions: topic.partitions.iter().map(&mut answer).collect(),
        }
    });
    AlterPartitionResponse { topics: topics.collect(), ..AlterPartitionResponse::default() }
}

/// The answers in the order of what was wanted; what is not answered is unknown.
fn read_response(wanted: &AlterPartitions, answer: &AlterPartitionResponse) -> Vec<Result<(), ErrorCode>> {
    let answered: BTreeMap<(Uuid, i32), i16> = (answer.topics.iter())
        .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.topic_id, partition)))
        .map(|(topic_id, partition)| ((topic_id, partition.partition_index), partition.error_code))
        .collect();
    let of = |change: &IsrChange| answered.get(&(change.topic_id, change.partition)).copied();
    let code = |change| ErrorCode::check(of(change).unwrap_or(ErrorCode::UnknownServerError.code()));
    wanted.changes.iter().map(code).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_asked_and_answered_comes_over_the_wire(
            changes in proptest::collection::btree_map(
                (0u128..4, 0i32..6),
                (0i32..9, 0i32..9, proptest::collection::vec((0i32..5, 0i64..99), 0..4), 0usize..4),
                0..12,
            ),
        ) {
            let codes = [None, Some(ErrorCode::FencedLeaderEpoch), Some(ErrorCode::IneligibleReplica), Some(ErrorCode::UnknownTopicId)];
            let answers: BTreeMap<(Uuid, i32), Result<(), ErrorCode>> = changes
                .iter()
                .map(|((topic, partition), (.., code))| {
                    ((Uuid::from_u128(*topic), *partition), codes[*code].map_or(Ok(()), Err))
                })
                .collect();
            let mut wanted = AlterPartitions {
                broker: NodeId(2),
                broker_epoch: Offset(77),
                changes: changes
                    .into_iter()
                    .map(|((topic, partition), (leader_epoch, partition_epoch, isr, _))| IsrChange {
                        topic_id: Uuid::from_u128(topic),
                        partition,
                        leader_epoch: LeaderEpoch(leader_epoch),
                        partition_epoch,
                        isr: isr.into_iter().map(|(node, epoch)| (NodeId(node), Offset(epoch))).collect(),
                    })
                    .collect(),
            };
            prop_assert_eq!(&read(&request(&wanted)), &wanted);
            // Whatever order they are asked in, the answers are in it.
            wanted.changes.reverse();
            let asked = request(&wanted);
            let given = |change: &IsrChange| answers[&(change.topic_id, change.partition)];
            let told = response(&asked, Ok(read(&asked).changes.iter().map(given).collect()), None);
            let expected: Vec<_> = wanted.changes.iter().map(given).collect();
            prop_assert_eq!(read_response(&wanted, &told), expected);
        }
    }
}
