//! The configs of the PostgreSQL source and the PostgreSQL sink.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use tokio_postgres::config::SslMode;

use super::sink::PostgresSink;
use super::source::PostgresSource;
use crate::connector::{Sink, SinkContext, Source, SourceContext, SourcePartition};
use crate::error::{ConnectorError, FieldError};
use crate::registry::{CheckConfig, SinkConfig, SourceConfig};
use crate::secret::Secret;

/// Rows of one batch of a source, at most.
const BATCH_SIZE_MAX: usize = 100_000;

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

/// A database and a table in it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) url: String,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) table: String,
    pub(super) table_schema: Option<String>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) timeout_ms: u32,
}

impl Place {
    /// How to connect.
    ///
    /// # Errors
    /// What is wrong with the URL, without the URL.
    pub(super) fn connection(&self) -> Result<tokio_postgres::Config, String> {
        let mut config: tokio_postgres::Config =
            self.url.parse().map_err(|error: tokio_postgres::Error| {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                format!("is no PostgreSQL URL and no connection string{}", cause.unwrap_or_default())
            })?;
        if config.get_password().is_some() {
            return Err("must hold no password; set `password`".to_owned());
        }
        if config.get_hosts().is_empty() {
            return Err("must name a host: postgres://HOST:PORT/DATABASE".to_owned());
        }
        if config.get_ssl_mode() != SslMode::Require {
            if self.ca_file.is_some() {
                return Err(
                    "has no sslmode=require, without which there is nobody to trust by `ca_file`".to_owned()
                );
            }
            config.ssl_mode(SslMode::Disable);
        }
        if let Some(username) = &self.username {
            config.user(username);
        }
        if let Some(password) = &self.password {
            config.password(password.expose());
        }
        config.connect_timeout(std::time::Duration::from_millis(self.timeout_ms.into()));
        Ok(config)
    }

    /// The database, for messages: host, port and name.
    pub(super) fn database(&self) -> String {
        let Ok(config) = self.connection() else { return "the database".to_owned() };
        let host = match config.get_hosts().first() {
            Some(tokio_postgres::config::Host::Tcp(host)) => host.clone(),
            Some(tokio_postgres::config::Host::Unix(path)) => path.display().to_string(),
            None => String::new(),
        };
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let name = config.get_dbname().or(config.get_user()).unwrap_or_default();
        format!("{host}:{port}/{name}")
    }

    fn check(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let Err(reason) = self.connection() {
            errors.push(FieldError::new("url", reason));
        }
        let names = [("table", Some(&self.table)), ("table_schema", self.table_schema.as_ref())];
        for (field, name) in names {
            if name.is_some_and(|name| name.is_empty() || name.contains('\0')) {
                errors.push(FieldError::new(field, "must be a name"));
            }
        }
        if self.timeout_ms == 0 {
            errors.push(FieldError::new("timeout_ms", "must be at least 1"));
        }
        errors
    }
}

fn default_timeout_ms() -> u32 {
    60_000
}

/// Reads the rows of a table in the order of a column that only grows.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PostgresSourceConfig {
    /// The database: postgres://HOST:PORT/NAME, or a connection string of libpq, without a password. With `sslmode=require` the
    /// connection speaks TLS and the server's certificate must be for HOST, of someone who is trusted.
    pub(crate) url: String,
    /// The user.
    #[serde(default)]
    pub(crate) username: Option<String>,
    /// The user's password.
    #[serde(default)]
    pub(crate) password: Option<Secret>,
    /// The table or view.
    pub(crate) table: String,
    /// The table's schema; the first of the user's search path that has it unless set.
    #[serde(default)]
    pub(crate) table_schema: Option<String>,
    /// The column of unique integers by which rows are read: from 1 on it grows with every row, or with `timestamp_column` it
    /// only tells apart what has the same time.
    #[serde(default = "default_column")]
    pub(crate) column: String,
    /// The column of the time when a row was last changed: rows that change are read again.
    #[serde(default)]
    pub(crate) timestamp_column: Option<String>,
    /// With `timestamp_column`, how old a row must be before it is read, in milliseconds: a transaction that takes longer from its
    /// begin to its end may write rows that are never read.
    #[serde(default = "default_delay_ms")]
    pub(crate) delay_ms: u32,
    /// How often to look for new rows, in milliseconds; without it the source ends after the last row.
    #[serde(default)]
    pub(crate) poll_interval_ms: Option<u32>,
    /// Rows in one batch.
    #[serde(default = "default_batch_size")]
    pub(crate) batch_size: usize,
    /// A file of certificates (PEM) of whom to trust besides those whom the system trusts.
    #[serde(default)]
    pub(crate) ca_file: Option<PathBuf>,
    /// How long to wait for a connection and for each answer, in milliseconds.
    #[serde(default = "default_timeout_ms")]
    pub(crate) timeout_ms: u32,
}

fn default_column() -> String {
    "id".to_owned()
}

fn default_delay_ms() -> u32 {
    5_000
}

fn default_batch_size() -> usize {
    2_000
}

impl PostgresSourceConfig {
    pub(super) fn place(&self) -> Place {
        Place {
            url: self.url.clone(),
            username: self.username.clone(),
            password: self.password.clone(),
            table: self.table.clone(),
            table_schema: self.table_schema.clone(),
            ca_file: self.ca_file.clone(),
            timeout_ms: self.timeout_ms,
        }
    }
}

impl CheckConfig for PostgresSourceConfig {
    fn check(&self) -> Vec<FieldError> {
        let mut errors = self.place().check();
        let columns = [("column", Some(&self.column)), ("timestamp_column", self.timestamp_column.as_ref())];
        for (field, column) in columns {
            if column.is_some_and(|column| column.is_empty() || column.contains('\0')) {
                errors.push(FieldError::new(field, "must be the name of a column"));
            }
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

impl SourceConfig for PostgresSourceConfig {
    fn partition(&self) -> SourcePartition {
        let place = self.place();
        let mut partition =
            BTreeMap::from([("database".to_owned(), place.database()), ("table".to_owned(), place.table)]);
        partition.extend(place.table_schema.map(|schema| ("schema".to_owned(), schema)));
        SourcePartition(partition)
    }

    fn open(&self, context: SourceContext) -> Result<Box<dyn Source>, ConnectorError> {
        Ok(Box::new(PostgresSource::open(self, context)?))
    }
}

/// Writes records to a table of a PostgreSQL database.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PostgresSinkConfig {
    /// The database: postgres://HOST:PORT/NAME, or a connection string of libpq, without a password. With `sslmode=require` the
    /// connection speaks TLS and the server's certificate must be for HOST, of someone who is trusted.
    pub(crate) url: String,
    /// The user.
    #[serde(default)]
    pub(crate) username: Option<String>,
    /// The user's password.
    #[serde(default)]
    pub(crate) password: Option<Secret>,
    /// The table; made from the records' schema when it does not exist.
    pub(crate) table: String,
    /// The table's schema; the first of the user's search path unless set.
    #[serde(default)]
    pub(crate) table_schema: Option<String>,
    /// What to do with a row whose key is there already: upsert or insert.
    #[serde(default)]
    pub(crate) mode: Mode,
    /// The columns that identify a row; needed for upsert.
    #[serde(default)]
    pub(crate) primary_key: Vec<String>,
    /// A file of certificates (PEM) of whom to trust besides those whom the system trusts.
    #[serde(default)]
    pub(crate) ca_file: Option<PathBuf>,
    /// How long to wait for a connection and for each answer, in milliseconds.
    #[serde(default = "default_timeout_ms")]
    pub(crate) timeout_ms: u32,
}

impl PostgresSinkConfig {
    pub(super) fn place(&self) -> Place {
        Place {
            url: self.url.clone(),
            username: self.username.clone(),
            password: self.password.clone(),
            table: self.table.clone(),
            table_schema: self.table_schema.clone(),
            ca_file: self.ca_file.clone(),
            timeout_ms: self.timeout_ms,
        }
    }
}

impl CheckConfig for PostgresSinkConfig {
    fn check(&self) -> Vec<FieldError> {
        let mut errors = self.place().check();
        if self.table.starts_with("_ottla_") || self.table.starts_with("pg_") {
            errors.push(FieldError::new("table", "names that start with _ottla_ or pg_ are taken"));
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

impl SinkConfig for PostgresSinkConfig {
    fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>, ConnectorError> {
        Ok(Box::new(PostgresSink::new(self, context)?))
    }
}
