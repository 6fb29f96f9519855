//! `ottla topic …`

use std::collections::BTreeMap;

use ottla_client::{
    Client, ClientError, ConfigResource, ConfigSource, NewTopic, OFFSET_EARLIEST, OFFSET_LATEST,
    TopicDescription, TopicPartition,
};
use serde_json::json;

use super::connect;
use crate::cli::{Output, TopicCommand};
use crate::failure::Failure;
use crate::output::{print_json, print_table};

pub async fn run(command: TopicCommand) -> Result<(), Failure> {
    match command {
        TopicCommand::Create { name, partitions, replication_factor, configs, cluster } => {
            let configs = configs.iter().map(|config| parse_config(config)).collect::<Result<_, _>>()?;
            let topic = NewTopic {
                name: name.clone(),
                partitions: partitions.unwrap_or(-1),
                replication_factor: replication_factor.unwrap_or(-1),
                configs,
            };
            let client = connect(&cluster).await?;
            client.admin().create_topics(&[topic]).await.map_err(|error| named(&name, error))?;
            println!("made topic {name}");
            Ok(())
        }
        TopicCommand::List { internal, output, cluster } => {
            let client = connect(&cluster).await?;
            let mut topics = client.admin().list_topics().await?;
            topics.retain(|topic| internal || !topic.is_internal);
            topics.sort_by(|a, b| a.name.cmp(&b.name));
            print_topics(&topics, output)
        }
        TopicCommand::Describe { name, output, cluster } => {
            describe(&connect(&cluster).await?, &name, output).await
        }
        TopicCommand::Alter { name, partitions, cluster } => {
            let client = connect(&cluster).await?;
            client.admin().create_partitions(&name, partitions).await.map_err(|error| named(&name, error))?;
            println!("topic {name} has {partitions} partitions");
            Ok(())
        }
        TopicCommand::Delete { names, cluster } => {
            let client = connect(&cluster).await?;
            for name in names {
                client.admin().delete_topics(&[&name]).await.map_err(|error| named(&name, error))?;
                println!("deleted topic {name}");
            }
            Ok(())
        }
    }
}

fn named(name: &str, error: impl std::fmt::Display) -> Failure {
    Failure::failed(format!("topic {name}: {error}"))
}

pub(super) fn parse_config(text: &str) -> Result<(String, String), Failure> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| Failure::wrong_words(format!("config {text}: should be NAME=VALUE")))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn print_topics(topics: &[TopicDescription], output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        let topics: Vec<_> = topics
            .iter()
            .map(|topic| {
                json!({ "name": topic.name, "topic_id": topic.topic_id.to_string(), "partitions": topic.partitions.len(),
                        "internal": topic.is_internal })
            })
            .collect();
        return Ok(print_json(&json!(topics))?);
    }
    let rows: Vec<Vec<String>> = topics
        .iter()
        .map(|topic| {
            let replicas = topic.partitions.first().map_or(0, |partition| partition.replicas.len());
            vec![topic.name.clone(), topic.partitions.len().to_string(), replicas.to_string()]
        })
        .collect();
    Ok(print_table(&["topic", "partitions", "replicas"], &rows)?)
}

fn is_default(config: &ottla_client::ConfigEntry) -> bool {
    config.source != ConfigSource::Topic
}

/// Offsets of partitions at a special time.
pub(super) async fn offsets_at(
    client: &Client,
    places: &[TopicPartition],
    time: i64,
) -> Result<BTreeMap<TopicPartition, i64>, ClientError> {
    let wanted: Vec<(TopicPartition, i64)> = places.iter().map(|place| (place.clone(), time)).collect();
    let found = client.admin().list_offsets(&wanted).await?;
    Ok(found.into_iter().map(|(place, found)| (place, found.offset)).collect())
}

/// Bytes of each partition's log at its leader. A broker that does not tell (it may not be allowed to) leaves gaps.
async fn sizes(client: &Client, topic: &TopicDescription) -> BTreeMap<TopicPartition, i64> {
    let mut led: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for partition in &topic.partitions {
        if let Some(leader) = partition.leader {
            led.entry(leader).or_default().push(partition.partition);
        }
    }
    let mut sizes = BTreeMap::new();
    for (leader, partitions) in led {
        let dirs = client.admin().describe_log_dirs(leader, Some((&topic.name, &partitions))).await;
        let replicas = dirs.into_iter().flatten().flat_map(|dir| dir.replicas);
        let replicas = replicas.filter(|(_, replica)| !replica.is_future);
        sizes.extend(replicas.map(|(place, replica)| (place, replica.size_bytes)));
    }
    sizes
}

async fn describe(client: &Client, name: &str, output: Output) -> Result<(), Failure> {
    let admin = client.admin();
    let topic = admin.describe_topic(name).await.map_err(|error| named(name, error))?;
    let places: Vec<TopicPartition> =
        (0..topic.partition_count()).map(|partition| TopicPartition::new(name, partition)).collect();
    let starts = offsets_at(client, &places, OFFSET_EARLIEST).await?;
    let ends = offsets_at(client, &places, OFFSET_LATEST).await?;
    let configs = admin.describe_configs(&ConfigResource::Topic(name.to_owned())).await?;
    let sizes = sizes(client, &topic).await;
    let size = |place: &TopicPartition| sizes.get(place).copied();
    let offset = |offsets: &BTreeMap<TopicPartition, i64>, place: &TopicPartition| {
        offsets.get(place).copied().unwrap_or(-1)
    };
    if output == Output::Json {
        let partitions: Vec<_> = topic
            .partitions
            .iter()
            .zip(&places)
            .map(|(partition, place)| {
                json!({ "partition": partition.partition, "leader": partition.leader,
                        "leader_epoch": partition.leader_epoch, "replicas": partition.replicas,
                        "isr": partition.isr, "start": offset(&starts, place), "end": offset(&ends, place),
                        "size_bytes": size(place) })
            })
            .collect();
        let configs: serde_json::Map<String, serde_json::Value> = configs
            .iter()
            .map(|config| {
                (config.name.clone(), json!({ "value": config.value, "default": is_default(config) }))
            })
            .collect();
        return Ok(print_json(&json!({ "name": topic.name, "topic_id": topic.topic_id.to_string(),
                                      "partitions": partitions, "configs": configs }))?);
    }
    println!("topic {}  id {}", topic.name, topic.topic_id);
    for config in configs.iter().filter(|config| !is_default(config)) {
        println!("  {}={}", config.name, config.value.as_deref().unwrap_or_default());
    }
    let list = |ids: &[i32]| ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
    let rows: Vec<Vec<String>> = topic
        .partitions
        .iter()
        .zip(&places)
        .map(|(partition, place)| {
            vec![
                partition.partition.to_string(),
                partition.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string()),
                list(&partition.replicas),
                list(&partition.isr),
                offset(&starts, place).to_string(),
                offset(&ends, place).to_string(),
                size(place).map_or_else(|| "-".to_owned(), |bytes| bytes.to_string()),
            ]
        })
        .collect();
    Ok(print_table(&["partition", "leader", "replicas", "isr", "start", "end", "bytes"], &rows)?)
}
