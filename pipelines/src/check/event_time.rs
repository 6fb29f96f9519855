//! What `topics:` says of a topic's rows beyond their columns: which column is event time, and what tells rows apart.

use arrow::datatypes::{DataType, SchemaRef};
use ottla_streams::Stream;
use ottla_streams::planner::Watermark;

use crate::check::units::parse_duration;
use crate::diagnostic::{Findings, suggestion};
use crate::yaml::Node;

/// The stream with what the section says of its topic. `is_result` says that a query writes it, whose key is known.
pub fn declared(root: &Node, mut stream: Stream, is_result: bool, findings: &mut Findings) -> Stream {
    let Some(topic) = root.get("topics").and_then(|topics| topics.get(&stream.topic)) else { return stream };
    if let Some(node) = topic.get("watermark") {
        stream.watermark = watermark(node, &stream.schema, findings);
    }
    match topic.entry("primary_key") {
        Some(entry) if is_result => {
            let message =
                format!("the topic `{}` is written by a query, which gives it its key", stream.topic);
            findings.error_with_help(entry.key_at, message, "remove `primary_key`");
        }
        Some(entry) => {
            let names: Vec<&Node> = entry.value.items().iter().collect();
            names.iter().for_each(|name| check_column(name, &stream.schema, findings));
            stream.primary_key =
                Some(names.iter().filter_map(|name| name.text()).map(str::to_owned).collect());
        }
        None => {}
    }
    stream
}

fn watermark(node: &Node, schema: &SchemaRef, findings: &mut Findings) -> Option<Watermark> {
    let column = node.get("column")?;
    let name = column.text()?;
    check_column(column, schema, findings);
    let field = schema.field_with_name(name).ok()?;
    if !matches!(field.data_type(), DataType::Timestamp(..)) {
        let word = ottla_formats::type_word(field.data_type(), field.is_nullable());
        let message = format!("event time is a `timestamp`, and the column `{name}` is `{word}`");
        findings.error(column.at, message);
        return None;
    }
    let delay = match node.get("delay") {
        None => Some(0),
        Some(delay) => {
            let read = delay.text().and_then(parse_duration);
            let nanos = read.and_then(|delay| i64::try_from(delay.as_nanos()).ok());
            if nanos.is_none() {
                findings.error_with_help(
                    delay.at,
                    "this is no time",
                    "write it as `500ms`, `30s`, `5m` or `1h`",
                );
            }
            nanos
        }
    };
    Some(Watermark { column: name.to_owned(), delay_nanos: delay? })
}

fn check_column(node: &Node, schema: &SchemaRef, findings: &mut Findings) {
    let Some(name) = node.text() else { return };
    if schema.field_with_name(name).is_err() {
        let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let message = format!("there is no column `{name}`");
        findings.error_maybe_help(node.at, message, suggestion(name, columns));
    }
}
