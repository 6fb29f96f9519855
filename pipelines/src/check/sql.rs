//! Queries planned against the schemas that they will meet, in the order in which rows flow; errors point
//! into the file's lines.

use std::collections::BTreeMap;

use ottla_streams::sql::{self, Statement};
use ottla_streams::{Catalog, QueryPlan, SqlError, Stream};

use crate::check::event_time;
use crate::check::functions::Functions;
use crate::check::graph::{Graph, Named, StageKind};
use crate::check::schemas::Schemas;
use crate::diagnostic::{Findings, Position};
use crate::yaml::Node;

/// Plans of the queries that have one, by transform.
pub type Plans = BTreeMap<String, QueryPlan>;

/// What SQL knows of a topic while the file is checked.
enum Known {
    Rows(Stream),
    /// Why there is no schema for its rows, so that a query cannot read it.
    Opaque(&'static str),
}

/// The topics that a query reads, each with its place. A text that cannot be parsed reads nothing here;
/// planning tells why.
pub fn topics_read(node: &Node) -> Vec<Named> {
    let statements = node.text().map(sql::parse).and_then(Result::ok).unwrap_or_default();
    let names = statements.iter().flat_map(|statement| match statement {
        Statement::Query(query) => ottla_streams::planner::streams_read(query),
        _ => Vec::new(),
    });
    names.map(|name| Named { name, at: node.at }).collect()
}

/// The functions that a query calls, in lower case; none of a text that cannot be parsed.
fn functions_called(query: &str) -> Vec<String> {
    let statements = sql::parse(query).unwrap_or_default();
    let names = statements.iter().flat_map(|statement| match statement {
        Statement::Query(query) => ottla_streams::planner::functions_called(query),
        _ => Vec::new(),
    });
    names.collect()
}

/// Plans every query. `text` is the whole file, to point into it.
pub fn plan_all(
    root: &Node,
    graph: &Graph<'_>,
    schemas: &Schemas,
    functions: &Functions,
    text: &str,
    findings: &mut Findings,
) -> Plans {
    // In a circle nothing can be planned first; the circle itself has been told.
    let Ok(order) = graph.order() else { return Plans::new() };
    let mut known = known_before_queries(root, graph, schemas, findings);
    let mut plans = Plans::new();
    for stage in order.into_iter().filter_map(|index| graph.stages.get(index)) {
        if stage.kind != StageKind::Transform {
            continue;
        }
        let Some(written) = &stage.writes else { continue };
        let Some(node) = stage.node.get("sql") else {
            known
                .entry(written.name.clone())
                .or_insert(Known::Opaque("a plugin writes it, and nothing says what its rows hold"));
            continue;
        };
        let planned = node
            .text()
            .and_then(|query| plan_one(node, query, &stage.reads, &known, functions, text, findings));
        let after = match &planned {
            Some(plan) => {
                let stream = Stream::of_result(plan, written.name.clone(), OUTPUT_FORMAT);
                Known::Rows(event_time::declared(root, stream, true, findings))
            }
            None => Known::Opaque("the query that writes it has errors"),
        };
        known.insert(written.name.clone(), after);
        plans.extend(planned.map(|plan| (stage.name.name.clone(), plan)));
    }
    plans
}

/// Queries write their rows so.
pub const OUTPUT_FORMAT: &str = "json";

fn known_before_queries(
    root: &Node,
    graph: &Graph<'_>,
    schemas: &Schemas,
    findings: &mut Findings,
) -> BTreeMap<String, Known> {
    let mut known = BTreeMap::new();
    let results: Vec<&str> = graph
        .stages
        .iter()
        .filter(|stage| stage.node.get("sql").is_some())
        .filter_map(|stage| stage.writes.as_ref())
        .map(|topic| topic.name.as_str())
        .collect();
    let mut rows = |topic: &str, declared: &Node| {
        let format = declared.get("format").and_then(Node::text).unwrap_or("json").to_owned();
        match declared.get("schema").and_then(Node::text).map(|name| schemas.get(name)) {
            Some(Some(schema)) => {
                let schema = schema.clone();
                let stream =
                    Stream { topic: topic.to_owned(), format, schema, watermark: None, primary_key: None };
                Known::Rows(event_time::declared(root, stream, false, findings))
            }
            Some(None) => Known::Opaque("its schema has errors"),
            None => Known::Opaque("nothing says what its rows hold: give it a `schema`"),
        }
    };
    for topic in root.get("topics").map(Node::entries).unwrap_or_default() {
        // What a query writes is known when it is planned.
        if !results.contains(&topic.key.as_str()) {
            known.insert(topic.key.clone(), rows(&topic.key, &topic.value));
        }
    }
    for stage in graph.stages.iter().filter(|stage| stage.kind == StageKind::Source) {
        if let (Some(topic), Some(to)) = (&stage.writes, stage.node.get("to"))
            && (to.get("schema").is_some() || !known.contains_key(&topic.name))
        {
            known.insert(topic.name.clone(), rows(&topic.name, to));
        }
    }
    for dead_letters in graph.stages.iter().filter_map(|stage| stage.dead_letters.as_ref()) {
        known.entry(dead_letters.name.clone()).or_insert(Known::Opaque("it takes dead letters"));
    }
    known
}

fn plan_one(
    node: &Node,
    query: &str,
    reads: &[Named],
    known: &BTreeMap<String, Known>,
    functions: &Functions,
    text: &str,
    findings: &mut Findings,
) -> Option<QueryPlan> {
    let mut catalog = functions.loaded.iter().cloned().fold(Catalog::new(), Catalog::with_function);
    for (name, topic) in known {
        if let Known::Rows(stream) = topic {
            catalog.insert(name, stream.clone());
        }
    }
    let planned = ottla_streams::plan(query, &catalog);
    if let Some((topic, reason)) = reads.iter().find_map(|read| opaque(read, known)) {
        // The planner does not know the topic, so it fails at the topic's name or, with a text it cannot read
        // at all, before.
        let at = planned
            .err()
            .map_or(node.at, |error| place(node, query, text, error.position.line, error.position.column));
        findings.error(at, format!("a query cannot read the topic `{topic}`: {reason}"));
        return None;
    }
    match planned {
        Ok(plan) => {
            for warning in plan.warnings() {
                findings.warning(node.at, warning);
            }
            Some(plan)
        }
        // What is wrong with the function has been told.
        Err(_) if functions_called(query).iter().any(|name| functions.broken.contains(name)) => None,
        Err(SqlError { position, message, help }) => {
            findings.error_maybe_help(
                place(node, query, text, position.line, position.column),
                message,
                help,
            );
            None
        }
    }
}

fn opaque<'a>(read: &'a Named, known: &BTreeMap<String, Known>) -> Option<(&'a str, &'static str)> {
    match known.get(&read.name)? {
        Known::Opaque(reason) => Some((&read.name, reason)),
        Known::Rows(_) => None,
    }
}

/// A place in a scalar's text as a place in the file. Exact where the scalar's line stands in the file as it
/// is, as in a literal block or on one line; the scalar's start where YAML has changed it (folding, escapes).
fn place(node: &Node, scalar: &str, file: &str, line: u64, column: u64) -> Position {
    let exact = || -> Option<Position> {
        let blank_lines_before = scalar.bytes().take_while(|byte| *byte == b'\n').count();
        let index = usize::try_from(line).ok()?.checked_sub(1)?;
        let number = (node.at.line as usize + index).checked_sub(blank_lines_before)?;
        let in_file = file.lines().nth(number.checked_sub(1)?)?;
        let in_scalar = scalar.lines().nth(index).unwrap_or_default();
        // Where the scalar starts, or one further if a quote stands there.
        let before = node.at.column.checked_sub(1)? as usize;
        let offset = [before, before + 1].into_iter().find(|&offset| {
            let rest: String = in_file.chars().skip(offset).collect();
            rest.starts_with(in_scalar)
        })?;
        Some(Position {
            line: u32::try_from(number).ok()?,
            column: u32::try_from(column as usize + offset).ok()?,
        })
    };
    exact().unwrap_or(node.at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::parse;

    fn place_of(text: &str, line: u64, column: u64) -> (u32, u32) {
        let root = parse(text).unwrap();
        let node = root.get("sql").unwrap();
        let at = place(node, node.text().unwrap(), text, line, column);
        (at.line, at.column)
    }

    #[test]
    fn a_place_in_a_query_is_a_place_in_the_file() {
        assert_eq!(place_of("a: 1\nsql: |\n  SELECT x\n    FROM t\n", 2, 8), (4, 10));
        assert_eq!(place_of("sql: |\n\n    SELECT x\n", 2, 8), (3, 12), "a blank line before the first");
        assert_eq!(place_of("sql: SELECT x FROM t\n", 1, 8), (1, 13));
        assert_eq!(place_of("sql: \"SELECT x\"\n", 1, 8), (1, 14), "in quotes");
        assert_eq!(place_of("sql: >\n  SELECT x\n  FROM t\n", 1, 17), (2, 3), "folded lines have no places");
    }

    #[test]
    fn a_place_beyond_the_query_is_its_start() {
        assert_eq!(place_of("sql: |\n  SELECT\n", 900, 1), (2, 3));
    }
}
