//! Where a broker keeps its replicas, and how large they are.

use std::collections::BTreeMap;

use ottla_protocol::messages::k34_alter_replica_log_dirs::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use ottla_protocol::messages::k35_describe_log_dirs::DescribableLogDirTopic;
use ottla_protocol::messages::{AlterReplicaLogDirsRequest, DescribeLogDirsRequest};
use ottla_protocol::{ErrorCode, Str};

use super::Admin;
use crate::TopicPartition;
use crate::error::{ClientError, check};

/// A replica in a log dir.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaDescription {
    /// Of its segments.
    pub size_bytes: i64,
    /// How far it is behind the high watermark.
    pub offset_lag: i64,
    /// It moves here and will replace the one in another log dir.
    pub is_future: bool,
}

/// A log dir of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDirDescription {
    pub path: String,
    /// Not `None` when the broker cannot use it.
    pub error: ErrorCode,
    /// Of the file system; `None` when the broker does not tell.
    pub total_bytes: Option<i64>,
    /// Of the file system; `None` when the broker does not tell.
    pub usable_bytes: Option<i64>,
    pub replicas: BTreeMap<TopicPartition, ReplicaDescription>,
}

impl Admin {
    /// The log dirs of a broker, with all replicas in them or with those of one topic.
    ///
    /// # Errors
    /// What the broker answers.
    pub async fn describe_log_dirs(
        &self,
        broker_id: i32,
        topic: Option<(&str, &[i32])>,
    ) -> Result<Vec<LogDirDescription>, ClientError> {
        let topics = topic.map(|(topic, partitions)| {
            vec![DescribableLogDirTopic { topic: Str::from(topic), partitions: partitions.to_vec() }]
        });
        let response = self.cluster.send_broker(broker_id, &DescribeLogDirsRequest { topics }).await?;
        check(response.error_code, || format!("describing the log dirs of broker {broker_id}"))?;
        let described = response.results.into_iter().map(|dir| LogDirDescription {
            path: dir.log_dir.to_string(),
            error: ErrorCode::from_code(dir.error_code),
            total_bytes: Some(dir.total_bytes).filter(|bytes| *bytes >= 0),
            usable_bytes: Some(dir.usable_bytes).filter(|bytes| *bytes >= 0),
            replicas: dir
                .topics
                .iter()
                .flat_map(|topic| topic.partitions.iter().map(move |partition| (topic, partition)))
                .map(|(topic, partition)| {
                    let place = TopicPartition::new(&*topic.name, partition.partition_index);
                    let replica = ReplicaDescription {
                        size_bytes: partition.partition_size,
                        offset_lag: partition.offset_lag,
                        is_future: partition.is_future_key,
                    };
                    (place, replica)
                })
                .collect(),
        });
        Ok(described.collect())
    }

    /// Has a broker begin to move a replica to the log dir of a path, or cancel that where the replica is there.
    ///
    /// # Errors
    /// What the broker answers.
    pub async fn move_replica(
        &self,
        broker_id: i32,
        replica: &TopicPartition,
        path: &str,
    ) -> Result<(), ClientError> {
        let topics = vec![AlterReplicaLogDirTopic {
            name: Str::from(replica.topic.as_str()),
            partitions: vec![replica.partition],
        }];
        let request =
            AlterReplicaLogDirsRequest { dirs: vec![AlterReplicaLogDir { path: Str::from(path), topics }] };
        let response = self.cluster.send_broker(broker_id, &request).await?;
        let mut answers = response.results.iter().flat_map(|topic| &topic.partitions);
        answers.try_for_each(|answer| check(answer.error_code, || format!("moving {replica} to {path}")))
    }
}
