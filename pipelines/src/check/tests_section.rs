//! The `tests:` section: topics and columns that its rows name must exist. Running tests is not here: they
//! are checked for names only.

use crate::check::graph::Graph;
use crate::check::schemas::Schemas;
use crate::check::sql::Plans;
use crate::diagnostic::{Findings, suggestion};
use crate::yaml::Node;

/// Checks names, and says that the tests are not run.
pub fn check(root: &Node, graph: &Graph<'_>, schemas: &Schemas, plans: &Plans, findings: &mut Findings) {
    let Some(section) = root.entry("tests") else { return };
    let topics = graph.topics();
    for test in section.value.items() {
        for side in ["given", "expect"] {
            for rows in test.get(side).map(Node::entries).unwrap_or_default() {
                if !topics.contains(&rows.key.as_str()) {
                    let message = format!("the topic `{}` of this test is none of this pipeline's", rows.key);
                    findings.error_maybe_help(
                        rows.key_at,
                        message,
                        suggestion(&rows.key, topics.iter().copied()),
                    );
                    continue;
                }
                let Some(columns) = columns_of(&rows.key, root, graph, schemas, plans) else { continue };
                for column in rows.value.items().iter().flat_map(Node::entries) {
                    if !columns.contains(&column.key) {
                        let message = format!("the topic `{}` has no column `{}`", rows.key, column.key);
                        let help = suggestion(&column.key, columns.iter().map(String::as_str));
                        findings.error_maybe_help(column.key_at, message, help);
                    }
                }
            }
        }
    }
    if !section.value.items().is_empty() {
        findings.warning(
            section.key_at,
            "the tests were checked for names but not run: this version of Ottla cannot run them yet",
        );
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
    let schema = match writer {
        Some(stage) if stage.node.get("sql").is_some() => &plans.get(&stage.name.name)?.output_schema,
        Some(stage) => schemas.get(stage.node.get("to")?.get("schema")?.text()?)?,
        None => schemas.get(root.get("topics")?.get(topic)?.get("schema")?.text()?)?,
    };
    Some(schema.fields().iter().map(|field| field.name().clone()).collect())
}
