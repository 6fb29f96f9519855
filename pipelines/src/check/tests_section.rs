//! The `tests:` section: topics and columns that its rows name must exist. What is right becomes cases to run.

use crate::check::graph::Graph;
use crate::check::schemas::Schemas;
use crate::check::shape::{Substitutes, json_of};
use crate::check::sql::Plans;
use crate::diagnostic::{Findings, suggestion};
use crate::testing::{TestCase, TestRow, TopicRows};
use crate::yaml::{Node, Value};

/// Checks names, and gives the tests in the order of the file.
pub fn check(
    root: &Node,
    graph: &Graph<'_>,
    schemas: &Schemas,
    plans: &Plans,
    substitutes: &Substitutes,
    findings: &mut Findings,
) -> Vec<TestCase> {
    let Some(section) = root.entry("tests") else { return Vec::new() };
    let mut names: Vec<&str> = Vec::new();
    let mut cases = Vec::new();
    for test in section.value.items() {
        // What is missing is told by the shape.
        let Some((name, node)) = test.get("name").and_then(|node| Some((node.text()?, node))) else {
            continue;
        };
        if names.contains(&name) {
            findings.error(node.at, format!("there are two tests called `{name}`"));
        }
        names.push(name);
        let mut side = |word: &str| -> Vec<TopicRows> {
            let topics = test.get(word).map(Node::entries).unwrap_or_default();
            topics
                .iter()
                .map(|topic| {
                    check_topic(topic, root, graph, schemas, plans, findings);
                    let row = |row: &Node| TestRow { at: row.at, value: json_of(row, substitutes) };
                    let rows = topic.value.items().iter().map(row).collect();
                    TopicRows { topic: topic.key.clone(), at: topic.key_at, rows }
                })
                .collect()
        };
        let (given, expect) = (side("given"), side("expect"));
        let ordered = test.get("ordered").is_some_and(|ordered| ordered.value == Value::Bool(true));
        cases.push(TestCase { name: name.to_owned(), at: test.at, given, expect, ordered });
    }
    cases
}

fn check_topic(
    rows: &crate::yaml::Entry,
    root: &Node,
    graph: &Graph<'_>,
    schemas: &Schemas,
    plans: &Plans,
    findings: &mut Findings,
) {
    let topics = graph.topics();
    if !topics.contains(&rows.key.as_str()) {
        let message = format!("the topic `{}` of this test is none of this pipeline's", rows.key);
        findings.error_maybe_help(rows.key_at, message, suggestion(&rows.key, topics.iter().copied()));
        return;
    }
    let Some(columns) = columns_of(&rows.key, root, graph, schemas, plans) else { return };
    for column in rows.value.items().iter().flat_map(Node::entries) {
        if !columns.contains(&column.key) {
            let message = format!("the topic `{}` has no column `{}`", rows.key, column.key);
            let help = suggestion(&column.key, columns.iter().map(String::as_str));
            findings.error_maybe_help(column.key_at, message, help);
        }
    }
}

/// The columns of a topic's rows, as far as they are known.
fn columns_of(
    topic: &str,
    root: &Node,
    graph: &Graph<'_>,
    schemas: &Schemas,
    plans: &Plans,
) -> Option<Vec<String>> {
    let writer =
        graph.stages.iter().find(|stage| stage.writes.as_ref().is_some_and(|written| written.name == topic));
    let of_writer = match writer {
        Some(stage) if stage.node.get("sql").is_some() => {
            plans.get(&stage.name.name).map(|plan| &plan.output_schema)
        }
        Some(stage) => stage
            .node
            .get("to")
            .and_then(|to| to.get("schema"))
            .and_then(Node::text)
            .and_then(|name| schemas.get(name)),
        None => None,
    };
    let declared = || schemas.get(root.get("topics")?.get(topic)?.get("schema")?.text()?);
    let schema = of_writer.or_else(declared)?;
    Some(schema.fields().iter().map(|field| field.name().clone()).collect())
}
