//! What SHOW, DESCRIBE and EXPLAIN answer, as rows of text.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;

use super::objects::{Function, Objects};
use super::{EngineError, Outcome};
use ottla_plugins::ValueType;

use crate::history::HistoryError;
use crate::planner::{QueryPlan, UserFunction};
use crate::runtime::{QueryPhase, QueryStatus};
use crate::sql::{Name, ObjectKind, SqlError};

/// The objects of a kind.
pub(super) fn show(
    objects: &Objects,
    kind: ObjectKind,
    status_of: impl Fn(&str) -> Option<QueryStatus>,
) -> Result<Outcome, EngineError> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    if kind == ObjectKind::Query {
        for object in objects.of_kind(kind) {
            let Some((plan, target)) = &object.query else { continue };
            let status = status_of(&object.kept.name).unwrap_or_default();
            rows.push(vec![
                object.kept.name.clone(),
                phase(&status.phase),
                target.topic.clone(),
                plan.mode.to_string(),
                status.totals.rows_in.to_string(),
                status.totals.rows_out.to_string(),
                status.lag().to_string(),
                status.state_rows.to_string(),
                status.state_bytes.to_string(),
            ]);
        }
        let columns =
            ["name", "phase", "topic", "mode", "rows_in", "rows_out", "lag", "state_rows", "state_bytes"];
        return text(&columns, rows);
    }
    if kind == ObjectKind::Function {
        let functions = objects.of_kind(kind).filter_map(|object| object.function.as_ref());
        rows.extend(functions.map(|Function { function, .. }| {
            let signature = function.signature();
            let words: Vec<String> = signature.arguments.iter().map(|kind| sql_word(*kind)).collect();
            let module = function.module_sha256().to_owned();
            vec![
                function.name().to_owned(),
                words.join(", "),
                sql_word(signature.returns),
                "wasm".to_owned(),
                module,
            ]
        }));
        return text(&["name", "arguments", "returns", "language", "module"], rows);
    }
    for object in objects.of_kind(kind) {
        let Some(relation) = &object.relation else { continue };
        let key = relation.primary_key.as_ref().map(|key| key.join(", ")).unwrap_or_default();
        rows.push(vec![object.kept.name.clone(), relation.topic.clone(), relation.format.clone(), key]);
    }
    text(&["name", "topic", "format", "key"], rows)
}

fn phase(phase: &QueryPhase) -> String {
    match phase {
        QueryPhase::Recovering => "recovering".to_owned(),
        QueryPhase::Running => "running".to_owned(),
        QueryPhase::Finished => "finished".to_owned(),
        // Of those that are kept, only who was told to rest does.
        QueryPhase::Stopped => "paused".to_owned(),
        QueryPhase::Failed(reason) => format!("failed: {reason}"),
    }
}

fn sql_word(kind: ValueType) -> String {
    ottla_formats::type_word(&kind.data_type(), false)
}

/// The columns of a relation, or what is known of a function.
pub(super) fn describe(objects: &Objects, name: &Name) -> Result<Outcome, EngineError> {
    // What is called exactly so comes before a function, whose name may be written in any case.
    let named = objects.get(&name.text).or_else(|| objects.get(&name.text.to_ascii_lowercase()));
    if let Some(Function { function, module_bytes }) = named.and_then(|object| object.function.as_ref()) {
        return describe_function(objects, function, *module_bytes);
    }
    let catalog = objects.catalog();
    let Some(relation) = catalog.get(&name.text) else {
        let error = SqlError::new(
            name.position,
            format!("there is no stream, table, view or function `{}`", name.text),
        );
        return Err(error.with_nearest(&name.text, catalog.names()).into());
    };
    let rows = relation.schema.fields().iter().map(|field| {
        let is_key = relation.primary_key.as_ref().is_some_and(|key| key.contains(field.name()));
        let watermark = relation.watermark.as_ref().filter(|watermark| watermark.column == *field.name());
        let note = match (is_key, watermark) {
            (true, _) => "primary key".to_owned(),
            (false, Some(watermark)) => {
                format!("event time, watermark {} ms behind", watermark.delay_nanos / 1_000_000)
            }
            (false, None) => String::new(),
        };
        let word = ottla_formats::type_word(field.data_type(), false);
        let nullable = if field.is_nullable() { "yes" } else { "no" };
        vec![field.name().clone(), word, nullable.to_owned(), note]
    });
    text(&["column", "type", "nullable", "note"], rows.collect())
}

fn describe_function(
    objects: &Objects,
    function: &UserFunction,
    module_bytes: usize,
) -> Result<Outcome, EngineError> {
    let signature = function.signature();
    let words: Vec<String> = signature.arguments.iter().map(|kind| sql_word(*kind)).collect();
    let rows = [
        ("arguments", words.join(", ")),
        ("returns", sql_word(signature.returns)),
        ("language", "wasm".to_owned()),
        ("volatility", "immutable".to_owned()),
        ("function", signature.name.clone()),
        ("module", function.module_sha256().to_owned()),
        ("module bytes", module_bytes.to_string()),
        ("used by", objects.users_of(function.name()).join(", ")),
    ];
    text(&["property", "value"], rows.map(|(property, value)| vec![property.to_owned(), value]).into())
}

/// How a query would run: its operators, each with mode, key and what bounds its state, and what to know before.
pub(super) fn explain(plan: &QueryPlan) -> Result<Outcome, EngineError> {
    let mut rows: Vec<Vec<String>> = plan.to_string().lines().map(|line| vec![line.to_owned()]).collect();
    rows.extend(plan.warnings().into_iter().map(|warning| vec![format!("warning: {warning}")]));
    text(&["plan"], rows)
}

/// How a query runs: its statement, and then as [`explain`].
pub(super) fn explain_query(sql: &str, plan: &QueryPlan) -> Result<Outcome, EngineError> {
    let mut rows: Vec<Vec<String>> = sql.trim().lines().map(|line| vec![line.to_owned()]).collect();
    rows.push(vec![String::new()]);
    rows.extend(plan.to_string().lines().map(|line| vec![line.to_owned()]));
    text(&["plan"], rows)
}

fn text(columns: &[&str], rows: Vec<Vec<String>>) -> Result<Outcome, EngineError> {
    let failed = |error: ArrowError| EngineError::from(HistoryError::Run(error.to_string()));
    let fields: Vec<Field> = columns.iter().map(|name| Field::new(*name, DataType::Utf8, false)).collect();
    let schema = Arc::new(Schema::new(fields));
    let column = |index: usize| -> ArrayRef {
        Arc::new(rows.iter().map(|row| row.get(index).map(String::as_str)).collect::<StringArray>())
    };
    let arrays: Vec<ArrayRef> = (0..columns.len()).map(column).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).map_err(failed)?;
    Ok(Outcome::Rows { schema, batches: vec![batch] })
}
