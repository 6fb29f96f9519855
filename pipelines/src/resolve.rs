//! A checked pipeline as what runs: topics with their settings, and stages in the order in which records
//! flow, with every default and value in place. Nothing is decided after this; running only does it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use ottla_plugins::{AnyPlugin, Transform};
use ottla_streams::{ChangelogMode, QueryPlan, UserFunction};

use crate::check::configs::Configs;
use crate::check::graph::{Graph, Stage, StageKind};
use crate::check::plugins::Plugins;
use crate::check::schemas::Schemas;
use crate::check::sql::{OUTPUT_FORMAT, Plans};
use crate::check::values::Secrets;
use crate::spec::Spec;

/// What runs.
#[derive(Clone, Debug)]
pub struct ResolvedPipeline {
    pub name: String,
    /// In the order of names.
    pub topics: Vec<TopicSettings>,
    /// Each after all that it reads from.
    pub stages: Vec<ResolvedStage>,
    /// Of the topics whose rows are known, what they hold.
    pub rows: BTreeMap<String, RowsOfTopic>,
    /// To keep secrets out of what is shown.
    pub secrets: Secrets,
}

impl ResolvedPipeline {
    /// Whether a stage reads a topic that no stage writes.
    pub fn reads_outside(&self, stage: &ResolvedStage) -> bool {
        let is_written = |topic: &String| {
            self.stages.iter().any(|stage| {
                stage.output.as_ref() == Some(topic)
                    || matches!(&stage.on_error, ErrorPolicy::DeadLetter { topic: dead } if dead == topic)
            })
        };
        stage.inputs.iter().any(|topic| !is_written(topic))
    }

    /// The functions of plugins that its queries call, by name.
    pub fn functions(&self) -> BTreeMap<&str, &UserFunction> {
        let plans = self.stages.iter().filter_map(|stage| match &stage.work {
            Work::Query { plan, .. } => Some(plan),
            Work::Source { .. } | Work::Plugin { .. } | Work::Sink { .. } => None,
        });
        plans.flat_map(|plan| &plan.functions).map(|function| (function.name(), function)).collect()
    }
}

/// What a topic holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowsOfTopic {
    pub schema: SchemaRef,
    /// How values are written.
    pub format: String,
    /// The column whose text a source makes the records' key.
    pub key: Option<String>,
    /// A record replaces the one of its key.
    pub is_keyed: bool,
}

/// A topic that must exist before anything starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    pub name: String,
    pub partitions: i32,
    /// None leaves it to the cluster.
    pub replication_factor: Option<i16>,
    pub configs: BTreeMap<String, String>,
    /// Named under `topics:`, and not only written by a stage.
    pub is_declared: bool,
}

/// One stage, as a worker runs it.
#[derive(Clone, Debug)]
pub struct ResolvedStage {
    /// As the file calls it.
    pub name: String,
    /// Unique in the cluster: `<pipeline>.<stage>`, of a renamed stage with its former name. Offsets and state are kept under it.
    pub id: String,
    /// What it was called before, if it says so.
    pub renamed_from: Option<String>,
    /// The topics it reads.
    pub inputs: Vec<String>,
    /// The topic it writes.
    pub output: Option<String>,
    pub on_error: ErrorPolicy,
    /// Indices of the stages that must be done before its input is complete.
    pub upstreams: Vec<usize>,
    pub work: Work,
}

/// What happens to records that a stage cannot handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorPolicy {
    /// They go to this topic, and the stage goes on.
    DeadLetter {
        topic: String,
    },
    Stop,
}

/// What a stage does.
#[derive(Clone)]
pub enum Work {
    Source {
        connector: String,
        config: serde_json::Value,
        key: Option<String>,
        format: String,
        schema: Option<SchemaRef>,
    },
    Query {
        sql: String,
        plan: Arc<QueryPlan>,
    },
    Plugin {
        transform: Transform,
        /// Of the component, in hex.
        sha256: String,
    },
    Sink {
        connector: String,
        config: serde_json::Value,
        /// Of the topics it reads, by topic; without one, records are taken as they are.
        schemas: BTreeMap<String, SchemaRef>,
        /// Of the topics it reads, by topic.
        formats: BTreeMap<String, String>,
    },
}

impl Work {
    /// `source`, `query`, `plugin` or `sink`.
    pub fn word(&self) -> &'static str {
        match self {
            Work::Source { .. } => "source",
            Work::Query { .. } => "query",
            Work::Plugin { .. } => "plugin",
            Work::Sink { .. } => "sink",
        }
    }
}

/// Configs hold secrets' values, so they are not shown.
impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Work::Source { connector, .. } | Work::Sink { connector, .. } => {
                write!(f, "{} {connector}", self.word())
            }
            Work::Query { sql, .. } => write!(f, "query {sql:?}"),
            Work::Plugin { transform, .. } => write!(f, "plugin {}", transform.plugin()),
        }
    }
}

/// What the checks have found, all of it right.
pub(crate) struct Parts<'a> {
    pub spec: &'a Spec,
    pub graph: &'a Graph<'a>,
    pub schemas: &'a Schemas,
    pub configs: Configs,
    pub plugins: Plugins,
    pub plans: Plans,
    pub secrets: Secrets,
}

pub(crate) fn resolve(parts: Parts<'_>) -> ResolvedPipeline {
    // A circle has been refused; if it had not, running in the file's order would only never end.
    let order = parts.graph.order().unwrap_or_else(|_| (0..parts.graph.stages.len()).collect());
    let upstreams = parts.graph.upstreams();
    let place_of = |index: &usize| order.iter().position(|placed| placed == index);
    let stages = order.iter().filter_map(|&index| {
        let stage = parts.graph.stages.get(index)?;
        let upstreams = upstreams.get(index)?.iter().filter_map(place_of).collect();
        Some(ResolvedStage {
            name: stage.name.name.clone(),
            id: format!("{}.{}", parts.spec.name, stage.kept_as()),
            renamed_from: stage.renamed_from().map(|before| before.name),
            inputs: inputs(stage, &parts),
            output: stage.writes.as_ref().map(|topic| topic.name.clone()),
            on_error: match &stage.dead_letters {
                Some(topic) => ErrorPolicy::DeadLetter { topic: topic.name.clone() },
                None => ErrorPolicy::Stop,
            },
            upstreams,
            work: work(stage, &parts)?,
        })
    });
    let stages = stages.collect();
    ResolvedPipeline {
        name: parts.spec.name.clone(),
        topics: topics(&parts),
        stages,
        rows: known_rows(&parts),
        secrets: parts.secrets.clone(),
    }
}

fn inputs(stage: &Stage<'_>, parts: &Parts<'_>) -> Vec<String> {
    match parts.plans.get(&stage.name.name) {
        Some(plan) => plan.sources.iter().map(|source| source.topic.clone()).collect(),
        None => stage.reads.iter().map(|topic| topic.name.clone()).collect(),
    }
}

fn work(stage: &Stage<'_>, parts: &Parts<'_>) -> Option<Work> {
    let name = &stage.name.name;
    match stage.kind {
        StageKind::Source => {
            let spec = parts.spec.sources.get(name)?;
            Some(Work::Source {
                connector: spec.r#type.clone(),
                config: parts.configs.get(name)?.clone(),
                key: spec.to.key.clone(),
                format: spec.to.format.clone().unwrap_or_else(|| DEFAULT_FORMAT.to_owned()),
                schema: spec.to.schema.as_ref().and_then(|schema| parts.schemas.get(schema)).cloned(),
            })
        }
        StageKind::Transform => {
            let spec = parts.spec.transforms.get(name)?;
            match (&spec.sql, &spec.wasm) {
                (Some(sql), _) => {
                    Some(Work::Query { sql: sql.clone(), plan: Arc::new(parts.plans.get(name)?.clone()) })
                }
                (None, Some(wasm)) => {
                    let AnyPlugin::Transform(plugin) = parts.plugins.get(&wasm.plugin)? else { return None };
                    Some(Work::Plugin { transform: plugin.transform(), sha256: plugin.sha256().to_owned() })
                }
                (None, None) => None,
            }
        }
        StageKind::Sink => {
            let spec = parts.spec.sinks.get(name)?;
            let rows = stage
                .reads
                .iter()
                .filter_map(|topic| Some((topic.name.clone(), rows_of(&topic.name, parts)?)));
            let (schemas, formats) =
                rows.map(|(topic, (schema, format))| ((topic.clone(), schema), (topic, format))).unzip();
            Some(Work::Sink {
                connector: spec.r#type.clone(),
                config: parts.configs.get(name)?.clone(),
                schemas,
                formats,
            })
        }
    }
}

const DEFAULT_FORMAT: &str = "json";

/// Columns and format of a topic's rows, if the pipeline knows them.
fn rows_of(topic: &str, parts: &Parts<'_>) -> Option<(SchemaRef, String)> {
    let writer = parts
        .graph
        .stages
        .iter()
        .find(|stage| stage.writes.as_ref().is_some_and(|written| written.name == topic));
    if let Some(plan) = writer.and_then(|stage| parts.plans.get(&stage.name.name)) {
        return Some((plan.output_schema.clone(), OUTPUT_FORMAT.to_owned()));
    }
    let source = writer.and_then(|stage| parts.spec.sources.get(&stage.name.name));
    let of_source = source.and_then(|source| Some((source.to.schema.as_ref()?, source.to.format.as_ref())));
    let declared = parts.spec.topics.get(topic);
    let declared = || declared.and_then(|topic| Some((topic.schema.as_ref()?, topic.format.as_ref())));
    let (schema, format) = of_source.or_else(declared)?;
    let format = format.map_or_else(|| DEFAULT_FORMAT.to_owned(), String::clone);
    Some((parts.schemas.get(schema)?.clone(), format))
}

fn known_rows(parts: &Parts<'_>) -> BTreeMap<String, RowsOfTopic> {
    let topics = parts.graph.topics();
    let rows = topics.into_iter().filter_map(|topic| {
        let (schema, format) = rows_of(topic, parts)?;
        let writer = |stage: &&Stage<'_>| stage.writes.as_ref().is_some_and(|written| written.name == topic);
        let writer = parts.graph.stages.iter().find(writer);
        let source = writer.and_then(|stage| parts.spec.sources.get(&stage.name.name));
        let plan = writer.and_then(|stage| parts.plans.get(&stage.name.name));
        let is_keyed = match plan {
            Some(plan) => plan.mode != ChangelogMode::Append,
            None => parts.spec.topics.get(topic).is_some_and(|topic| topic.primary_key.is_some()),
        };
        let key = source.and_then(|source| source.to.key.clone());
        Some((topic.to_owned(), RowsOfTopic { schema, format, key, is_keyed }))
    });
    rows.collect()
}

fn topics(parts: &Parts<'_>) -> Vec<TopicSettings> {
    let settings = |name: &str| {
        let declared = parts.spec.topics.get(name);
        let configs = declared
            .iter()
            .flat_map(|topic| &topic.config)
            .map(|(key, value)| (key.clone(), value.to_string()));
        TopicSettings {
            name: name.to_owned(),
            partitions: declared.and_then(|topic| topic.partitions).unwrap_or(1),
            replication_factor: declared.and_then(|topic| topic.replication_factor),
            configs: configs.collect(),
            is_declared: declared.is_some(),
        }
    };
    parts.graph.topics().into_iter().map(settings).collect()
}
