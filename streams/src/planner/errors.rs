//! DataFusion's errors as [`SqlError`]s: the same fact, with its place and the nearest right word.

use datafusion::common::{DataFusionError, SchemaError};

use crate::sql::{Position, SqlError};

/// Wraps an error of ours so that it survives DataFusion's planner.
pub(super) fn through_datafusion(error: SqlError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The error as ours. `statement` is where the statement begins, for errors whose place DataFusion does not know.
pub(crate) fn from_datafusion(error: &DataFusionError, statement: Position) -> SqlError {
    if let Some(ours) = find_ours(error) {
        return ours;
    }
    let diagnostic = error.diagnostic();
    let position = diagnostic
        .and_then(|diagnostic| diagnostic.span)
        .filter(|span| span.start.line > 0)
        .map_or(statement, |span| Position { line: span.start.line, column: span.start.column });
    if let DataFusionError::SchemaError(schema_error, _) = error.find_root() {
        return from_schema_error(schema_error, position);
    }
    let message = match diagnostic {
        Some(diagnostic) => diagnostic.message.clone(),
        None => plain_message(error),
    };
    SqlError::new(position, message)
}

fn from_schema_error(error: &SchemaError, position: Position) -> SqlError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let error = SqlError::new(position, format!("there is no column `{}`", field.flat_name()));
            let mut names: Vec<&str> = valid_fields.iter().map(|column| column.name.as_str()).collect();
            names.dedup();
            let columns = match names.is_empty() {
                true => "nothing here has columns".to_owned(),
                false => format!("the columns are {}", names.join(", ")),
            };
            error.with_help(columns).with_nearest(&field.name, names)
        }
        SchemaError::AmbiguousReference { field } => SqlError::new(
            position,
            format!("the column `{}` could be meant in more than one way", field.name),
        )
        .with_help("put the stream's name before it"),
        other => SqlError::new(position, other.to_string()),
    }
}

fn find_ours(error: &DataFusionError) -> Option<SqlError> {
    match error {
        DataFusionError::External(inner) => inner.downcast_ref::<SqlError>().cloned(),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => find_ours(inner),
        DataFusionError::Shared(inner) => find_ours(inner),
        DataFusionError::Collection(all) => all.iter().find_map(find_ours),
        _ => None,
    }
}

/// The text without DataFusion's prefixes and backtrace, which say nothing to the author of the SQL.
pub(crate) fn plain_message(error: &DataFusionError) -> String {
    let root = error.find_root();
    let text = root.strip_backtrace();
    let text = text.lines().next().unwrap_or_default();
    let mut text = text.trim();
    for prefix in [
        "Error during planning: ",
        "This feature is not implemented: ",
        "Schema error: ",
        "Execution error: ",
        "External error: ",
    ] {
        text = text.strip_prefix(prefix).unwrap_or(text);
    }
    text.trim_end_matches('.').to_owned()
}
