//! What is wrong with how things are named and joined: names taken twice, topics that nothing writes,
//! references to nothing, and cycles.

use std::collections::BTreeMap;

use crate::check::graph::{Graph, Stage, StageKind};
use crate::check::schemas::Schemas;
use crate::diagnostic::{Findings, suggestion};
use crate::yaml::{Node, Value};

/// Checks everything about names that needs no type.
pub fn check(root: &Node, graph: &Graph<'_>, schemas: &Schemas, findings: &mut Findings) {
    check_pipeline_name(root, findings);
    check_names_are_in_the_file(root, graph, findings);
    check_names_are_taken_once(graph, findings);
    check_renames(graph, findings);
    check_topic_names(graph, findings);
    check_reads(graph, findings);
    check_writers(graph, findings);
    check_cycles(graph, findings);
    check_stages(root, graph, schemas, findings);
    check_topic_schemas(root, schemas, findings);
}

/// Kafka's rule for topic names.
fn topic_name_fault(name: &str) -> Option<&'static str> {
    let legal = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    match name {
        "" => Some("a topic needs a name"),
        "." | ".." => Some("a topic cannot be called `.` or `..`"),
        _ if name.len() > 249 => Some("a topic's name has at most 249 characters"),
        _ if !name.chars().all(legal) => {
            Some("a topic's name has only ASCII letters, digits, `.`, `_` and `-`")
        }
        _ => None,
    }
}

fn check_pipeline_name(root: &Node, findings: &mut Findings) {
    let Some(node) = root.get("name") else { return };
    if let Some(fault) = node.text().and_then(topic_name_fault) {
        findings.error(node.at, fault.replace("a topic", "a pipeline"));
    }
}

/// The graph knows the words of the file alone: a name from outside would join nothing, and a former name would be none.
fn check_names_are_in_the_file(root: &Node, graph: &Graph<'_>, findings: &mut Findings) {
    let functions = root.get("functions").map(Node::entries).unwrap_or_default();
    let of_functions =
        functions.iter().flat_map(|entry| [entry.value.get("plugin"), entry.value.get("function")]);
    let names = graph.stages.iter().flat_map(joining_names).chain(of_functions.flatten());
    for name in names.chain(dead_letters_node(root)).filter(|name| name.tag.is_some()) {
        let message = "a name that joins parts of the file is written in it, and cannot come from outside";
        findings.error(name.at, message);
    }
}

/// What a stage says of topics, of a plugin and of its own past.
fn joining_names<'a>(stage: &Stage<'a>) -> Vec<&'a Node> {
    let node = stage.node;
    let (to, from) = (node.get("to"), node.get("from"));
    let topic = to.and_then(|to| to.get("topic"));
    let plugin = node.get("wasm").and_then(|wasm| wasm.get("plugin"));
    let words = [node.get("renamed_from"), to, topic, from, plugin, dead_letters_node(node)];
    words.into_iter().flatten().chain(from.map(Node::items).unwrap_or_default()).collect()
}

fn dead_letters_node(node: &Node) -> Option<&Node> {
    node.get("on_error")?.get("to")
}

/// Within a section the shape tells; across sections a name would mean two stages.
fn check_names_are_taken_once(graph: &Graph<'_>, findings: &mut Findings) {
    let mut taken: BTreeMap<&str, &Stage<'_>> = BTreeMap::new();
    for stage in &graph.stages {
        if let Some(fault) = topic_name_fault(&stage.name.name) {
            findings.error(stage.name.at, fault.replace("a topic", &format!("a {}", stage.kind.word())));
        }
        match taken.get(stage.name.name.as_str()) {
            Some(first) if first.kind != stage.kind => {
                let message = format!("the name `{}` is taken twice", stage.name.name);
                let help = format!("line {} has a {} of that name", first.name.at.line, first.kind.word());
                findings.error_with_help(stage.name.at, message, help);
            }
            Some(_) => {}
            None => {
                taken.insert(&stage.name.name, stage);
            }
        }
    }
}

/// Of two stages with one place, each would go on where the other was.
fn check_renames(graph: &Graph<'_>, findings: &mut Findings) {
    for (index, stage) in graph.stages.iter().enumerate() {
        let Some(before) = stage.renamed_from() else { continue };
        let (kind, name) = (stage.kind.word(), &stage.name.name);
        if let Some(fault) = topic_name_fault(&before.name) {
            findings.error(before.at, fault.replace("a topic", &format!("a {kind}")));
        } else if before.name == *name {
            findings.error_with_help(
                before.at,
                format!("the {kind} `{name}` is called so now"),
                "remove `renamed_from`, or say what it was called before",
            );
        }
        let mut others = graph.stages.iter().enumerate().filter(|(other, _)| *other != index);
        if let Some((_, other)) = others.find(|(_, other)| other.kept_as() == before.name) {
            let message = format!("two stages would go on where `{}` was", before.name);
            let help =
                format!("line {} has the {} `{}`", other.name.at.line, other.kind.word(), other.name.name);
            findings.error_with_help(before.at, message, help);
        }
        if stage.kind == StageKind::Transform && stage.node.get("to").is_none() {
            let message = format!(
                "the transform `{name}` would write another topic than before, without what is in that"
            );
            let help = format!("say `to: {}`, or whatever topic it has written", before.name);
            findings.error_with_help(before.at, message, help);
        }
    }
}

fn check_topic_names(graph: &Graph<'_>, findings: &mut Findings) {
    let touched = graph.stages.iter().flat_map(|stage| [&stage.writes, &stage.dead_letters]).flatten();
    for topic in graph.declared.iter().chain(touched) {
        if let Some(fault) = topic_name_fault(&topic.name) {
            findings.error(topic.at, fault);
        }
    }
}

fn check_reads(graph: &Graph<'_>, findings: &mut Findings) {
    let topics = graph.topics();
    for stage in &graph.stages {
        // The planner tells what a query reads that is not there, at the word itself.
        if stage.node.get("sql").is_some() {
            continue;
        }
        for read in &stage.reads {
            if !topics.contains(&read.name.as_str()) {
                let message =
                    format!("the topic `{}` is read here, but nothing writes or declares it", read.name);
                findings.error_maybe_help(read.at, message, suggestion(&read.name, topics.iter().copied()));
            }
        }
        let mut seen = Vec::new();
        for read in &stage.reads {
            if seen.contains(&read.name.as_str()) {
                findings.error(read.at, format!("the topic `{}` is read twice here", read.name));
            }
            seen.push(&read.name);
        }
    }
}

/// A topic of a transform holds its output alone: a second writer would mix two kinds of rows. Sources may
/// share one.
fn check_writers(graph: &Graph<'_>, findings: &mut Findings) {
    let mut writers: BTreeMap<&str, &Stage<'_>> = BTreeMap::new();
    for stage in &graph.stages {
        let Some(topic) = &stage.writes else { continue };
        match writers.get(topic.name.as_str()) {
            Some(first) if first.kind != StageKind::Source || stage.kind != StageKind::Source => {
                let message = format!("the topic `{}` is written twice", topic.name);
                let help = format!("the {} `{}` writes it too", first.kind.word(), first.name.name);
                findings.error_with_help(topic.at, message, help);
            }
            Some(_) => {}
            None => {
                writers.insert(&topic.name, stage);
            }
        }
    }
    for stage in &graph.stages {
        let Some(dead_letters) = &stage.dead_letters else { continue };
        if writers.contains_key(dead_letters.name.as_str()) {
            let message = format!(
                "the topic `{}` cannot take dead letters, because a stage writes its output there",
                dead_letters.name
            );
            findings.error(dead_letters.at, message);
        }
    }
}

fn check_cycles(graph: &Graph<'_>, findings: &mut Findings) {
    let Err(cycle) = graph.order() else { return };
    let names: Vec<String> = cycle
        .iter()
        .chain(cycle.first())
        .map(|&stage| format!("`{}`", graph.stages[stage].name.name))
        .collect();
    let Some(&first) = cycle.first() else { return };
    let stage = &graph.stages[first];
    if cycle.len() == 1 {
        let message = format!("{} reads what it writes itself", names[0]);
        let help = "a stage that reads dead letters needs an `on_error` of its own".to_owned();
        findings.error_with_help(stage.name.at, message, help);
    } else {
        findings.error(
            stage.name.at,
            format!(
                "the stages {} read each other in a circle, so none could ever finish",
                names.join(" → ")
            ),
        );
    }
}

fn check_stages(root: &Node, graph: &Graph<'_>, schemas: &Schemas, findings: &mut Findings) {
    for stage in &graph.stages {
        match stage.kind {
            StageKind::Source => check_source(root, stage, schemas, findings),
            StageKind::Transform => check_transform(root, stage, findings),
            StageKind::Sink => {
                if let Some(from) = stage
                    .node
                    .get("from")
                    .filter(|from| matches!(&from.value, Value::List(items) if items.is_empty()))
                {
                    findings.error(from.at, format!("the sink `{}` reads nothing", stage.name.name));
                }
            }
        }
    }
}

fn check_source(root: &Node, stage: &Stage<'_>, schemas: &Schemas, findings: &mut Findings) {
    let Some(to) = stage.node.get("to") else { return };
    check_format(to, findings);
    let Some(schema) = to.get("schema") else { return };
    let Some(name) = schema.text() else { return };
    check_reference(root, "schemas", name, schema, findings);
    let (Some(schema), Some(key)) = (schemas.get(name), to.get("key")) else { return };
    let Some(column) = key.text() else { return };
    if schema.field_with_name(column).is_err() {
        let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let message = format!("the key `{column}` is not a column of schema `{name}`");
        findings.error_maybe_help(key.at, message, suggestion(column, columns));
    }
}

fn check_transform(root: &Node, stage: &Stage<'_>, findings: &mut Findings) {
    let (sql, wasm) = (stage.node.get("sql"), stage.node.get("wasm"));
    let name = &stage.name.name;
    match (sql, wasm) {
        (None, None) => {
            findings.error(stage.name.at, format!("the transform `{name}` has neither `sql` nor `wasm`"))
        }
        (Some(_), Some(wasm)) => {
            findings.error(wasm.at, format!("the transform `{name}` has both `sql` and `wasm`"))
        }
        (Some(_), None) => {
            if let Some(from) = stage.node.entry("from") {
                findings.error_with_help(
                    from.key_at,
                    "a query names the topics it reads itself",
                    "remove `from`",
                );
            }
        }
        (None, Some(wasm)) => {
            if stage.reads.is_empty() {
                findings.error(
                    stage.name.at,
                    format!("`from` is missing in the transform `{name}`: which topics does it read?"),
                );
            }
            let Some(plugin) = wasm.get("plugin") else { return };
            if let Some(plugin_name) = plugin.text() {
                check_reference(root, "plugins", plugin_name, plugin, findings);
            }
        }
    }
}

fn check_topic_schemas(root: &Node, schemas: &Schemas, findings: &mut Findings) {
    for topic in root.get("topics").map(Node::entries).unwrap_or_default() {
        check_format(&topic.value, findings);
        if let Some(schema) = topic.value.get("schema")
            && let Some(name) = schema.text().filter(|name| !schemas.contains_key(*name))
        {
            check_reference(root, "schemas", name, schema, findings);
        }
    }
}

fn check_format(node: &Node, findings: &mut Findings) {
    let Some(format) = node.get("format") else { return };
    let Some(word) = format.text() else { return };
    if !ottla_formats::FORMAT_NAMES.contains(&word) {
        let help = suggestion(word, ottla_formats::FORMAT_NAMES.iter().copied());
        findings.error_maybe_help(format.at, format!("there is no format `{word}`"), help);
    }
}

/// A name that must be declared in another section.
pub fn check_reference(root: &Node, section: &str, name: &str, at: &Node, findings: &mut Findings) {
    let declared = root.get(section);
    if declared.is_some_and(|section| section.get(name).is_some()) {
        return;
    }
    let names = declared.map(Node::entries).unwrap_or_default();
    let help = suggestion(name, names.iter().map(|entry| entry.key.as_str()));
    let message = format!("`{name}` is not declared under `{section}:`");
    findings.error_maybe_help(at.at, message, help);
}
