//! What applying a file would change: the file against what was last applied and against the topics that there are. Pure.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::SchemaRef;
use ottla_connect::{ConnectorKind, connector_type};
use serde::{Deserialize, Serialize};

use super::document::Document;
use crate::load::Pipeline;
use crate::resolve::{ErrorPolicy, ResolvedPipeline, ResolvedStage, TopicSettings, Work};

/// What would change, made once and then done exactly so or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The pipeline's name.
    pub pipeline: String,
    /// The revision that it starts from; none for a pipeline that is not there.
    pub base_revision: Option<u64>,
    /// In the order of the file's graph; empty when all is as the file says.
    pub changes: Vec<Change>,
    /// What would be applied.
    pub document: Document,
}

impl Plan {
    /// Whether something in it is refused, so that it cannot be applied.
    pub fn is_refused(&self) -> bool {
        self.changes.iter().any(|change| change.refusal.is_some())
    }
}

/// One thing that would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    pub action: Action,
    /// `topic`, `source`, `query`, `plugin`, `sink` or `pipeline`.
    pub kind: String,
    pub name: String,
    /// What it means for what runs, in words.
    pub details: Vec<String>,
    /// Why it is not done, and what would let it be.
    pub refusal: Option<String>,
    /// The line of the file that names it.
    pub line: Option<u32>,
}

impl Change {
    /// Whether stages stop and start for it.
    pub fn restarts(&self) -> bool {
        self.kind != "topic" && self.action != Action::Update
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is not there.
    Create,
    /// A topic that is there is used as it is.
    Adopt,
    /// Changed while it is in use.
    Update,
    /// Stopped, and started otherwise where it was.
    Restart,
    /// What it has made is deleted, and it begins anew.
    Replace,
    /// It is in the file no more.
    Remove,
}

/// A topic that there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicFacts {
    pub partitions: i32,
    /// Those that are set on the topic itself.
    pub configs: BTreeMap<String, String>,
}

/// What a file is held against.
pub(super) struct Present<'a> {
    /// What was last applied under the name.
    pub applied: Option<&'a ResolvedPipeline>,
    /// The topics of both that are there.
    pub topics: &'a BTreeMap<String, TopicFacts>,
    /// The other pipelines.
    pub others: Vec<&'a ResolvedPipeline>,
    /// Why it does not run, if it failed.
    pub failure: Option<&'a str>,
}

/// What would change.
pub(super) fn changes(pipeline: &Pipeline, present: &Present<'_>) -> Vec<Change> {
    let wanted = pipeline.resolve();
    let lines = Lines::of(&pipeline.text);
    let mut changes = clashes(wanted, &present.others, &lines);
    let applied_topic = |name: &str| present.applied?.topics.iter().find(|topic| topic.name == name);
    for topic in &wanted.topics {
        let found = present.topics.get(&topic.name);
        changes.extend(topic_change(topic, found, applied_topic(&topic.name), &lines));
    }
    changes.extend(stage_changes(pipeline, present, &lines));
    if let Some(applied) = present.applied {
        for stage in applied.stages.iter().filter(|stage| find(wanted, stage).is_none()) {
            let details = match stage.output {
                Some(_) => {
                    "it stops; what it has written and how far it was stays, and it goes on there if it comes back"
                }
                None => "it stops; how far it was stays, and it goes on there if it comes back",
            };
            changes.push(change(Action::Remove, stage.work.word(), &stage.name, [details], None));
        }
        for topic in &applied.topics {
            if wanted.topics.iter().all(|other| other.name != topic.name) {
                changes.push(change(
                    Action::Remove,
                    "topic",
                    &topic.name,
                    ["the topic and its records stay"],
                    None,
                ));
            }
        }
    }
    if let (true, Some(reason)) = (changes.is_empty(), present.failure) {
        changes.push(change(
            Action::Restart,
            "pipeline",
            &wanted.name,
            [format!("it has failed: {reason}")],
            None,
        ));
    }
    changes
}

/// The file says other words, and nothing that runs is changed by them.
pub(super) fn edited(name: &str) -> Change {
    change(
        Action::Update,
        "pipeline",
        name,
        ["the file is kept as it is now; nothing that runs changes"],
        None,
    )
}

fn change<T: Into<String>>(
    action: Action,
    kind: &str,
    name: &str,
    details: impl IntoIterator<Item = T>,
    line: Option<u32>,
) -> Change {
    let details = details.into_iter().map(Into::into).collect();
    Change { action, kind: kind.to_owned(), name: name.to_owned(), details, refusal: None, line }
}

/// Stages that would work against another pipeline's: on the same place, or into the topic of a transform.
fn clashes(wanted: &ResolvedPipeline, others: &[&ResolvedPipeline], lines: &Lines) -> Vec<Change> {
    let mut clashes = Vec::new();
    for stage in &wanted.stages {
        let line = lines.of_entry(section(&stage.work), &stage.name);
        let mut clash = |refusal: String| {
            let told = change::<String>(Action::Create, stage.work.word(), &stage.name, [], line);
            clashes.push(Change { refusal: Some(refusal), ..told });
        };
        for (pipeline, other) in
            others.iter().flat_map(|other| other.stages.iter().map(|stage| (&other.name, stage)))
        {
            let are_sources = [stage, other].iter().all(|stage| matches!(stage.work, Work::Source { .. }));
            if stage.id == other.id {
                clash(format!(
                    "the pipeline `{pipeline}` has a stage `{}`, too, whose place would be shared",
                    stage.id
                ));
            } else if stage.output.is_some() && stage.output == other.output && !are_sources {
                let topic = stage.output.as_deref().unwrap_or_default();
                clash(format!(
                    "the pipeline `{pipeline}` writes the topic `{topic}`, too: name another with `to`"
                ));
            }
        }
    }
    clashes
}

fn topic_change(
    wanted: &TopicSettings,
    found: Option<&TopicFacts>,
    applied: Option<&TopicSettings>,
    lines: &Lines,
) -> Option<Change> {
    let line = lines.of_entry("topics", &wanted.name);
    let Some(found) = found else {
        let partitions = format!("partitions: {}", wanted.partitions);
        let configs = wanted.configs.iter().map(|(name, value)| format!("{name}: {value}"));
        let details = std::iter::once(partitions).chain(configs);
        return Some(change(Action::Create, "topic", &wanted.name, details, line));
    };
    let mut details: Vec<String> = wanted
        .configs
        .iter()
        .filter(|(name, value)| found.configs.get(*name) != Some(value))
        .map(|(name, value)| match found.configs.get(name) {
            Some(old) => format!("{name}: {old} → {value}"),
            None => format!("{name}: {value}"),
        })
        .collect();
    let dropped = applied.iter().flat_map(|applied| applied.configs.keys());
    let dropped =
        dropped.filter(|name| !wanted.configs.contains_key(*name) && found.configs.contains_key(*name));
    details.extend(dropped.map(|name| format!("{name}: back to its default")));
    let is_adopted = applied.is_none();
    let refusal = (wanted.is_declared && wanted.partitions != found.partitions).then(|| {
        details.push(format!("partitions: {} → {}", found.partitions, wanted.partitions));
        format!(
            "keys would move to other partitions: declare {} partitions, or delete the topic and lose its records",
            found.partitions
        )
    });
    if details.is_empty() && !is_adopted {
        return None;
    }
    let action = if details.is_empty() { Action::Adopt } else { Action::Update };
    if is_adopted {
        details.insert(0, "it is there already, and is used with what it holds".to_owned());
    }
    Some(Change { refusal, ..change(action, "topic", &wanted.name, details, line) })
}

/// Stages in the order in which rows flow, so that who reads a topic that is made anew is known to begin anew, too.
fn stage_changes(pipeline: &Pipeline, present: &Present<'_>, lines: &Lines) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut made_anew: BTreeSet<&str> = BTreeSet::new();
    for stage in &pipeline.resolve().stages {
        let line = lines.of_entry(section(&stage.work), &stage.name);
        let (kind, name) = (stage.work.word(), stage.name.as_str());
        let Some(applied) = present.applied.and_then(|applied| find(applied, stage)) else {
            if let Some(refusal) = present.applied.and_then(|applied| other_place(applied, stage)) {
                let told = change::<String>(Action::Create, kind, name, [], line);
                changes.push(Change { refusal: Some(refusal), ..told });
                continue;
            }
            let details = std::iter::once(route(stage)).chain(calls(stage));
            changes.push(change(Action::Create, kind, name, details, line));
            continue;
        };
        if let Some(refusal) =
            present.applied.and_then(|applied| displaced(applied, pipeline.resolve(), stage))
        {
            let told = change::<String>(Action::Restart, kind, name, [], line);
            changes.push(Change { refusal: Some(refusal), ..told });
            continue;
        }
        let mut details = different(applied, stage);
        if applied.name != stage.name {
            details.insert(0, format!("called `{}` before; its place and state stay", applied.name));
        }
        let anew = stage.inputs.iter().find(|input| made_anew.contains(input.as_str()));
        if let Some(topic) = anew {
            details.push(format!("it reads `{topic}`, which is made anew"));
        }
        let is_replaced = match (&applied.work, &stage.work) {
            (Work::Query { plan: old, .. }, Work::Query { plan: new, .. }) => {
                anew.is_some() || old.state_fingerprint() != new.state_fingerprint()
            }
            (Work::Plugin { .. }, Work::Plugin { .. }) => anew.is_some(),
            _ => false,
        };
        if details.is_empty() && !is_replaced {
            continue;
        }
        let mut told =
            change(if is_replaced { Action::Replace } else { Action::Restart }, kind, name, details, line);
        let output = stage.output.as_deref().unwrap_or_default();
        if let (Work::Sink { .. }, Some(_)) = (&stage.work, anew) {
            told.details.push(
                "it begins at the topic's beginning; rows of its target that are not written again stay"
                    .to_owned(),
            );
        } else if is_replaced {
            made_anew.extend(stage.output.as_deref());
            told.details.push(format!(
                "its state and the topic `{output}` are deleted, and it reads its input from the beginning"
            ));
            let may = pipeline.spec.transforms.get(name).is_some_and(|transform| transform.replace);
            // Whoever allowed the first of a chain allowed its readers.
            told.refusal = (!may && anew.is_none()).then(|| {
                format!(
                    "the state that it has was made by another query and cannot be kept: give the new one another name, or set \
                     `replace: true` at transforms.{name} to lose the state and the topic `{output}`"
                )
            });
        } else {
            told.details.extend(consequence(applied, stage));
        }
        changes.push(told);
    }
    changes
}

/// What a stage that goes on otherwise does with what came before.
fn consequence(applied: &ResolvedStage, stage: &ResolvedStage) -> Option<String> {
    match (&applied.work, &stage.work) {
        (
            Work::Source { connector: old, config: old_config, .. },
            Work::Source { connector: new, config: new_config, .. },
        ) => {
            let place = |name: &str, config| connector_type(ConnectorKind::Source, name).ok()?.place(config);
            let is_elsewhere = old != new || place(old, old_config) != place(new, new_config);
            Some(match is_elsewhere {
                true => "it reads its new place from the beginning; what it wrote before stays".to_owned(),
                false => "it goes on where it was".to_owned(),
            })
        }
        (Work::Query { .. }, Work::Query { .. }) | (Work::Plugin { .. }, Work::Plugin { .. }) => {
            Some("rows from now on; what it wrote before stays".to_owned())
        }
        (Work::Sink { .. }, Work::Sink { .. }) => {
            Some("it goes on where it was, or in a new target from the beginning of its topics".to_owned())
        }
        _ => None,
    }
}

/// The stage in that place that does the same kind of work, whatever it is called.
fn find<'a>(pipeline: &'a ResolvedPipeline, stage: &ResolvedStage) -> Option<&'a ResolvedStage> {
    let is_it = |other: &&ResolvedStage| other.id == stage.id && other.work.word() == stage.work.word();
    pipeline.stages.iter().find(is_it)
}

/// Why a stage may not go on in another's place: the one that has its name now would be gone, and its place with it.
fn displaced(applied: &ResolvedPipeline, wanted: &ResolvedPipeline, stage: &ResolvedStage) -> Option<String> {
    let now = find_named(applied, &stage.name, stage)?;
    (now.id != stage.id && find(wanted, now).is_none()).then(|| {
        let name = &stage.name;
        format!("there is another `{name}`, which would lose its place: remove `renamed_from`, or apply without that `{name}` first")
    })
}

/// The stage of that name that does the same kind of work as another.
fn find_named<'a>(
    pipeline: &'a ResolvedPipeline,
    name: &str,
    stage: &ResolvedStage,
) -> Option<&'a ResolvedStage> {
    pipeline.stages.iter().find(|other| other.name == name && other.work.word() == stage.work.word())
}

/// Why a stage that would begin anew may not: what it has, or what it says to have been, is in another place.
fn other_place(applied: &ResolvedPipeline, stage: &ResolvedStage) -> Option<String> {
    let named = |name: &str| find_named(applied, name, stage);
    let name = &stage.name;
    if let Some(now) = named(name).filter(|now| now.id != stage.id) {
        return Some(match &now.renamed_from {
            Some(before) => format!(
                "the place and state of `{name}` are kept under `{before}`, its former name: leave `renamed_from: {before}` there"
            ),
            None => format!(
                "there is a `{name}` already, which would lose its place: remove `renamed_from`, or take another name"
            ),
        });
    }
    let before = stage.renamed_from.as_ref()?;
    let first = named(before)?.renamed_from.as_ref()?;
    Some(format!(
        "`{before}` was itself called `{first}`, and its place is kept under that: say `renamed_from: {first}`"
    ))
}

fn section(work: &Work) -> &'static str {
    match work {
        Work::Source { .. } => "sources",
        Work::Query { .. } | Work::Plugin { .. } => "transforms",
        Work::Sink { .. } => "sinks",
    }
}

fn route(stage: &ResolvedStage) -> String {
    let what = match &stage.work {
        Work::Source { connector, .. } | Work::Sink { connector, .. } => connector.clone(),
        Work::Query { .. } => "sql".to_owned(),
        Work::Plugin { transform, .. } => transform.plugin().to_owned(),
    };
    let ends = [stage.inputs.join(", "), what, stage.output.clone().unwrap_or_default()];
    ends.into_iter().filter(|end| !end.is_empty()).collect::<Vec<_>>().join(" → ")
}

/// The functions of plugins that a query calls, in words.
fn calls(stage: &ResolvedStage) -> Option<String> {
    let Work::Query { plan, .. } = &stage.work else { return None };
    let functions = plan
        .functions
        .iter()
        .map(|function| format!("{} of plugin {}", function.signature(), function.plugin()));
    let functions: Vec<String> = functions.collect();
    (!functions.is_empty()).then(|| format!("calls {}", functions.join(", ")))
}

/// The words under which two stages differ. Values of configs are not told, since secrets may be among them.
fn different(old: &ResolvedStage, new: &ResolvedStage) -> Vec<String> {
    let (old, new) = (facets(old), facets(new));
    let words: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changed: Vec<&str> =
        words.into_iter().filter(|word| old.get(*word) != new.get(*word)).map(String::as_str).collect();
    if changed.is_empty() { Vec::new() } else { vec![format!("changed: {}", changed.join(", "))] }
}

/// All that a stage is, by the file's words.
fn facets(stage: &ResolvedStage) -> BTreeMap<String, String> {
    let mut facets = BTreeMap::new();
    let mut add = |word: &str, value: String| facets.insert(word.to_owned(), value);
    let policy = match &stage.on_error {
        ErrorPolicy::DeadLetter { topic } => topic.clone(),
        ErrorPolicy::Stop => "stop".to_owned(),
    };
    add("on_error", policy);
    add("to", stage.output.clone().unwrap_or_default());
    let (connector, config) = match &stage.work {
        Work::Source { connector, config, key, format, schema } => {
            add("to.key", key.clone().unwrap_or_default());
            add("to.format", format.clone());
            add("to.schema", schema.as_ref().map(columns).unwrap_or_default());
            (connector, config)
        }
        Work::Query { plan, .. } => {
            add("sql", plan.sql.to_string());
            add("columns", columns(&plan.output_schema));
            for function in &plan.functions {
                let all = format!("{} within {:?}", function.fingerprint(), function.limits());
                add(&format!("function {}", function.name()), all);
            }
            return facets;
        }
        Work::Plugin { transform, sha256 } => {
            add("from", stage.inputs.join(", "));
            add("plugin", sha256.clone());
            add("limits", format!("{:?}", transform.limits()));
            return facets;
        }
        Work::Sink { connector, config, schemas, formats } => {
            add("from", stage.inputs.join(", "));
            let columns: Vec<String> =
                schemas.iter().map(|(topic, schema)| format!("{topic}: {}", columns(schema))).collect();
            add("columns", columns.join("; "));
            add("format", format!("{formats:?}"));
            (connector, config)
        }
    };
    add("type", connector.clone());
    for (name, value) in config.as_object().into_iter().flatten() {
        add(&format!("config.{name}"), value.to_string());
    }
    facets
}

fn columns(schema: &SchemaRef) -> String {
    let column = |field: &arrow::datatypes::FieldRef| {
        format!("{} {}", field.name(), ottla_formats::type_word(field.data_type(), field.is_nullable()))
    };
    schema.fields().iter().map(column).collect::<Vec<_>>().join(", ")
}

/// Where a file names what.
struct Lines(Option<crate::yaml::Node>);

impl Lines {
    fn of(text: &str) -> Lines {
        Lines(crate::yaml::parse(text).ok())
    }

    fn of_entry(&self, section: &str, name: &str) -> Option<u32> {
        Some(self.0.as_ref()?.get(section)?.entry(name)?.key_at.line)
    }
}

#[cfg(test)]
mod tests;
