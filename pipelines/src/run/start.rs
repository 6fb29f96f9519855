//! Starting a stage's worker from what was resolved. No choice is made here.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_client::Client;
use ottla_connect::{OnError, SinkTask, SinkTaskConfig, SourceTask, SourceTaskConfig};
use ottla_formats::{Format, format_named};
use ottla_streams::runtime::{Query, QueryConfig};

use super::handle::{RunningQuery, RunningStage, Worker};
use crate::resolve::{ErrorPolicy, ResolvedStage, Work};
use crate::transform_stage::{self, KafkaStageCluster, StageConfig};

/// Starts one stage.
///
/// # Errors
/// Why it cannot start, in words. What happens later is in its state.
pub(super) async fn start(client: &Client, stage: &ResolvedStage) -> Result<RunningStage, String> {
    let worker = match &stage.work {
        Work::Source { connector, config, key, format, schema } => {
            let output = stage.output.as_deref().unwrap_or_default();
            let config = SourceTaskConfig {
                key: key.clone(),
                format: format_of(format)?,
                schema: schema.clone(),
                on_error: connect_policy(&stage.on_error),
                ..SourceTaskConfig::new(&stage.id, connector, config.clone(), output)
            };
            Worker::Connect(vec![
                SourceTask::start(client.clone(), config).map_err(|error| error.to_string())?,
            ])
        }
        Work::Sink { connector, config, schemas, formats } => {
            Worker::Connect(start_sinks(client, stage, connector, config, schemas, formats)?)
        }
        Work::Query { plan, .. } => {
            let mut config = QueryConfig::new(stage.id.clone(), (**plan).clone());
            config.output_topic = stage.output.clone().unwrap_or_else(|| stage.name.clone());
            if let ErrorPolicy::DeadLetter { topic } = &stage.on_error {
                config.dead_letter_topic.clone_from(topic);
            }
            let handle = Query::start(client, config).await.map_err(|error| error.to_string())?;
            Worker::Query(RunningQuery::new(handle, stage.on_error == ErrorPolicy::Stop))
        }
        Work::Plugin { transform, .. } => {
            let config = StageConfig {
                id: stage.id.clone(),
                inputs: stage.inputs.clone(),
                output: stage.output.clone().unwrap_or_else(|| stage.name.clone()),
                on_error: stage.on_error.clone(),
            };
            let cluster =
                KafkaStageCluster::open(client, &stage.id).await.map_err(|error| error.to_string())?;
            Worker::Plugin(transform_stage::start(Arc::new(cluster), Arc::new(transform.clone()), config))
        }
    };
    Ok(RunningStage::new(&stage.name, stage.work.word(), worker))
}

/// A task for each topic that a sink reads. The first keeps the stage's name, so that a second topic added
/// later leaves its offsets alone.
fn start_sinks(
    client: &Client,
    stage: &ResolvedStage,
    connector: &str,
    config: &serde_json::Value,
    schemas: &BTreeMap<String, arrow::datatypes::SchemaRef>,
    formats: &BTreeMap<String, String>,
) -> Result<Vec<ottla_connect::TaskHandle>, String> {
    let mut tasks = Vec::new();
    for (number, topic) in stage.inputs.iter().enumerate() {
        let name = if number == 0 { stage.id.clone() } else { format!("{}.{topic}", stage.id) };
        let config = SinkTaskConfig {
            format: format_of(formats.get(topic).map_or("json", String::as_str))?,
            schema: schemas.get(topic).cloned(),
            on_error: connect_policy(&stage.on_error),
            ..SinkTaskConfig::new(&name, connector, config.clone(), topic)
        };
        tasks.push(SinkTask::start(client.clone(), config).map_err(|error| error.to_string())?);
    }
    Ok(tasks)
}

fn format_of(name: &str) -> Result<Arc<dyn Format>, String> {
    format_named(name).ok_or_else(|| format!("there is no format `{name}`"))
}

fn connect_policy(policy: &ErrorPolicy) -> OnError {
    match policy {
        ErrorPolicy::DeadLetter { topic } => OnError::DeadLetter { topic: topic.clone() },
        ErrorPolicy::Stop => OnError::Stop,
    }
}
