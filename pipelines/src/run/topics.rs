//! The topics of a pipeline: made if they are missing, and never changed if they are there.

use ottla_client::{Client, ClientError, ErrorCode, NewTopic};

use crate::resolve::TopicSettings;

/// Makes what is missing and gives the names of what was made. Idempotent.
///
/// # Errors
/// What the cluster refuses, and a topic that is there with fewer or more partitions than the file declares: keys would go elsewhere.
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
            Err(error) if is_there_already(&error) => check_partitions(client, topic).await?,
            Err(error) => return Err(format!("the topic `{}` cannot be made: {error}", topic.name)),
        }
    }
    Ok(created)
}

fn is_there_already(error: &ClientError) -> bool {
    error.code() == Some(ErrorCode::TopicAlreadyExists)
}

async fn check_partitions(client: &Client, topic: &TopicSettings) -> Result<(), String> {
    if !topic.is_declared {
        return Ok(());
    }
    let found = client
        .admin()
        .describe_topic(&topic.name)
        .await
        .map_err(|error| format!("the topic `{}`: {error}", topic.name))?;
    let partitions = found.partition_count();
    if partitions == topic.partitions {
        return Ok(());
    }
    Err(format!(
        "the topic `{}` has {partitions} partitions, but the pipeline declares {}: changing that moves keys, so declare {partitions} or delete the topic",
        topic.name, topic.partitions
    ))
}
