//! What a plan asks of the cluster, and does to it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ottla_client::{Client, ClientError, ConfigResource, ConfigSource, ErrorCode};

use super::plan::TopicFacts;
use crate::resolve::{ResolvedPipeline, ResolvedStage, Work};

/// How long a deleted topic may take to be gone, and how often that is asked.
const GONE_WITHIN: Duration = Duration::from_secs(30);
const GONE_PAUSE: Duration = Duration::from_millis(20);

/// Those of the topics that are there.
pub(super) async fn facts<'a>(
    client: &Client,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<BTreeMap<String, TopicFacts>, ClientError> {
    let admin = client.admin();
    let wanted: BTreeSet<&str> = names.into_iter().collect();
    let mut facts = BTreeMap::new();
    for topic in admin.list_topics().await? {
        if !wanted.contains(topic.name.as_str()) {
            continue;
        }
        let configs = admin.describe_configs(&ConfigResource::Topic(topic.name.clone())).await?;
        let set = configs.into_iter().filter(|config| config.source == ConfigSource::Topic);
        let configs = set.filter_map(|config| Some((config.name, config.value?))).collect();
        facts.insert(topic.name.clone(), TopicFacts { partitions: topic.partition_count(), configs });
    }
    Ok(facts)
}

/// Gives the topics the configs that the pipeline says, and those that it said before back to their defaults.
pub(super) async fn set_configs(
    client: &Client,
    pipeline: &ResolvedPipeline,
    applied: Option<&ResolvedPipeline>,
) -> Result<(), ClientError> {
    let facts = facts(client, pipeline.topics.iter().map(|topic| topic.name.as_str())).await?;
    for topic in &pipeline.topics {
        let Some(found) = facts.get(&topic.name) else { continue };
        let changed = topic.configs.iter().filter(|(name, value)| found.configs.get(*name) != Some(value));
        let mut edits: Vec<(String, Option<String>)> =
            changed.map(|(name, value)| (name.clone(), Some(value.clone()))).collect();
        let before = applied.and_then(|applied| applied.topics.iter().find(|other| other.name == topic.name));
        let before = before.into_iter().flat_map(|before| before.configs.keys());
        let dropped =
            before.filter(|name| !topic.configs.contains_key(*name) && found.configs.contains_key(*name));
        edits.extend(dropped.map(|name| (name.clone(), None)));
        if !edits.is_empty() {
            client.admin().alter_configs(&ConfigResource::Topic(topic.name.clone()), &edits).await?;
        }
    }
    Ok(())
}

/// Deletes what a transform has made: its output and its state. What is gone already is no error.
pub(super) async fn delete_work_of(client: &Client, stage: &ResolvedStage) -> Result<(), ClientError> {
    match &stage.work {
        Work::Query { .. } => delete_topic(client, &format!("{}-changelog", stage.id)).await?,
        Work::Plugin { .. } => match client.admin().delete_groups(&[&stage.id]).await {
            Err(error) if error.code() != Some(ErrorCode::GroupIdNotFound) => return Err(error),
            _ => {}
        },
        // A topic may have several sources.
        Work::Source { .. } | Work::Sink { .. } => return Ok(()),
    }
    match &stage.output {
        Some(topic) => delete_topic(client, topic).await,
        None => Ok(()),
    }
}

/// Deletes a topic and waits until it is gone, so that one made under its name is another.
pub(super) async fn delete_topic(client: &Client, topic: &str) -> Result<(), ClientError> {
    match client.admin().delete_topics(&[topic]).await {
        Err(error) if error.code() != Some(ErrorCode::UnknownTopicOrPartition) => return Err(error),
        _ => {}
    }
    let asked_at = Instant::now();
    while client.admin().topic_exists(topic).await? && asked_at.elapsed() < GONE_WITHIN {
        tokio::time::sleep(GONE_PAUSE).await;
    }
    Ok(())
}
