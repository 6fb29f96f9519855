//! The topics of a pipeline: made if they are missing, and never changed if they are there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ottla_client::{Client, ClientError, ErrorCode, NewTopic, TopicDescription};

use crate::resolve::TopicSettings;

/// How long a topic may take to be known to the broker that is asked, and how often it is asked.
const APPEARS_WITHIN: Duration = Duration::from_secs(10);
const APPEARS_PAUSE: Duration = Duration::from_millis(20);

/// Makes what is missing and gives the names of what was made. Idempotent.
///
/// # Errors
/// What the cluster refuses, and a topic that is there with fewer or more partitions than the file declares:
/// keys would go elsewhere.
pub async fn ensure(client: &Client, topics: &[TopicSettings]) -> Result<Vec<String>, String> {
    let admin = client.admin();
    let mut created = Vec::new();
    for topic in topics {
        let mut new_topic = NewTopic::new(topic.name.clone(), topic.partitions);
        if let Some(replication_factor) = topic.replication_factor {
            new_topic.replication_factor = replication_factor;
        }
        new_topic.configs = topic.configs.clone();
        match admin.create_topics(&[new_topic]).await {
            Ok(_) => created.push(topic.name.clone()),
            Err(error) if is_there_already(&error) => {}
            Err(error) => return Err(format!("the topic `{}` cannot be made: {error}", topic.name)),
        }
    }
    // The controller says that a topic is there before each broker has heard of it, and whoever starts next
    // asks any broker.
    for topic in topics {
        let found = visible(client, &topic.name).await;
        let found = found.map_err(|error| format!("the topic `{}` does not appear: {error}", topic.name))?;
        check_partitions(&found, topic)?;
    }
    Ok(created)
}

/// The topic, as soon as the cluster tells of it.
async fn visible(client: &Client, topic: &str) -> Result<Arc<TopicDescription>, ClientError> {
    let asked_at = Instant::now();
    loop {
        match client.admin().describe_topic(topic).await {
            Err(error) if asked_at.elapsed() < APPEARS_WITHIN && may_appear(&error) => {
                tokio::time::sleep(APPEARS_PAUSE).await;
            }
            answer => return answer,
        }
    }
}

fn may_appear(error: &ClientError) -> bool {
    error.is_retriable() || error.code() == Some(ErrorCode::UnknownTopicOrPartition)
}

fn is_there_already(error: &ClientError) -> bool {
    error.code() == Some(ErrorCode::TopicAlreadyExists)
}

fn check_partitions(found: &TopicDescription, topic: &TopicSettings) -> Result<(), String> {
    if !topic.is_declared {
        return Ok(());
    }
    let partitions = found.partition_count();
    if partitions == topic.partitions {
        return Ok(());
    }
    Err(format!(
        "the topic `{}` has {partitions} partitions, but the pipeline declares {}: changing that moves keys, \
         so declare {partitions} or delete the topic",
        topic.name, topic.partitions
    ))
}
