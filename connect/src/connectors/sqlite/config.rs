//! The configs of the SQLite source and the SQLite sink.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::sink::SqliteSink;
use super::source::SqliteSource;
use crate::connector::{Sink, SinkContext, Source, SourceContext, SourcePartition};
use crate::error::{ConnectorError, FieldError};
use crate::registry::{CheckConfig, SinkConfig, SourceConfig};

/// What to do with a row whose key is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// Replace it; a record without a value deletes it.
    Upsert,
    /// Every record is a new row; one that breaks a constraint is a bad record.
    #[default]
    Insert,
}

/// What both connectors want of a database and its table.
fn check_place(path: &Path, table: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if path.as_os_str().is_empty() {
        errors.push(FieldError::new("path", "must not be empty"));
    }
    if table.is_empty() || table.contains('\0') {
        errors.push(FieldError::new("table", "must be the name of a table"));
    }
    errors
}

/// Rows of one batch of a source, at most.
const BATCH_SIZE_MAX: usize = 100_000;

/// Reads the rows of a table in the order of a column that only grows.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SqliteSourceConfig {
    /// The database file.
    pub(crate) path: PathBuf,
    /// The table or view.
    pub(crate) table: String,
    /// The column of integers from 1 on that grows with every row; SQLite's own row number unless set.
    #[serde(default)]
    pub(crate) column: Option<String>,
    /// How often to look for new rows, in milliseconds; without it the source ends after the last row.
    #[serde(default)]
    pub(crate) poll_interval_ms: Option<u32>,
    /// Rows in one batch.
    #[serde(default = "default_batch_size")]
    pub(crate) batch_size: usize,
    /// How long to wait for another program's lock on the database, in milliseconds.
    #[serde(default = "default_busy_timeout_ms")]
    pub(crate) busy_timeout_ms: u32,
}

fn default_batch_size() -> usize {
    2_000
}

impl CheckConfig for SqliteSourceConfig {
    fn check(&self) -> Vec<FieldError> {
        let mut errors = check_place(&self.path, &self.table);
        if self.column.as_ref().is_some_and(|column| column.is_empty() || column.contains('\0')) {
            errors.push(FieldError::new("column", "must be the name of a column"));
        }
        if self.poll_interval_ms == Some(0) {
            errors.push(FieldError::new("poll_interval_ms", "must be at least 1"));
        }
        if self.batch_size == 0 || self.batch_size > BATCH_SIZE_MAX {
            errors
                .push(FieldError::new("batch_size", format!("must be between 1 and {BATCH_SIZE_MAX} rows")));
        }
        errors
    }
}

impl SourceConfig for SqliteSourceConfig {
    fn partition(&self) -> SourcePartition {
        let database = ("database".to_owned(), self.path.display().to_string());
        SourcePartition([database, ("table".to_owned(), self.table.clone())].into())
    }

    fn open(&self, context: SourceContext) -> Result<Box<dyn Source>, ConnectorError> {
        Ok(Box::new(SqliteSource::open(self, context)?))
    }
}

/// Writes records to a table of an SQLite database.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SqliteSinkConfig {
    /// The database file; made when it does not exist, its folder is not.
    pub(crate) path: PathBuf,
    /// The table; made from the records' schema when it does not exist.
    pub(crate) table: String,
    /// What to do with a row whose key is there already: upsert or insert.
    #[serde(default)]
    pub(crate) mode: Mode,
    /// The columns that identify a row; needed for upsert.
    #[serde(default)]
    pub(crate) primary_key: Vec<String>,
    /// How long to wait for another program's lock on the database, in milliseconds.
    #[serde(default = "default_busy_timeout_ms")]
    pub(crate) busy_timeout_ms: u32,
}

fn default_busy_timeout_ms() -> u32 {
    5_000
}

impl CheckConfig for SqliteSinkConfig {
    fn check(&self) -> Vec<FieldError> {
        let mut errors = check_place(&self.path, &self.table);
        if self.table.starts_with("_ottla_") || self.table.to_ascii_lowercase().starts_with("sqlite_") {
            errors.push(FieldError::new("table", "names that start with _ottla_ or sqlite_ are taken"));
        }
        if self.mode == Mode::Upsert && self.primary_key.is_empty() {
            errors.push(FieldError::new("primary_key", "upsert needs the columns that identify a row"));
        }
        for (index, column) in self.primary_key.iter().enumerate() {
            if self.primary_key.get(..index).is_some_and(|before| before.contains(column)) {
                errors.push(FieldError::new("primary_key", format!("'{column}' is named twice")));
            }
        }
        errors
    }
}

impl SinkConfig for SqliteSinkConfig {
    fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>, ConnectorError> {
        Ok(Box::new(SqliteSink::open(self, context)?))
    }
}
