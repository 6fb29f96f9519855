//! The config of the SQLite sink.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::sink::SqliteSink;
use crate::connector::{Sink, SinkContext};
use crate::error::{ConnectorError, FieldError};
use crate::registry::{CheckConfig, SinkConfig};

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
        let mut errors = Vec::new();
        if self.path.as_os_str().is_empty() {
            errors.push(FieldError::new("path", "must not be empty"));
        }
        if self.table.is_empty() || self.table.contains('\0') {
            errors.push(FieldError::new("table", "must be the name of a table"));
        }
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
