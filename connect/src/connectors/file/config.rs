//! The configs of the file source and the file sink.

use std::path::PathBuf;

use ottla_formats::CsvOptions;
use schemars::JsonSchema;
use serde::Deserialize;

use super::sink::FileSink;
use super::source::FileSource;
use crate::connector::{Sink, SinkContext, Source, SourceContext, SourcePartition};
use crate::error::{ConnectorError, FieldError};
use crate::registry::{CheckConfig, SinkConfig, SourceConfig};

/// Most rows of one batch: keeps a batch of wide rows within some megabytes.
const BATCH_SIZE_MAX: usize = 100_000;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FileFormat {
    /// Comma-separated values.
    Csv,
    /// One JSON object per line.
    Json,
    /// Rows of columns.
    Parquet,
}

/// Reads a file to its end, and on as it grows if it is told to.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileSourceConfig {
    /// The file to read.
    pub(crate) path: PathBuf,
    /// What it holds: csv, json (lines) or parquet.
    pub(crate) format: FileFormat,
    /// CSV: the character between two fields.
    #[serde(default = "default_delimiter")]
    pub(crate) delimiter: String,
    /// CSV: whether the first row names the columns.
    #[serde(default = "default_header")]
    pub(crate) header: bool,
    /// CSV: the texts that mean null, where they stand without quotes.
    #[serde(default = "default_null_values")]
    pub(crate) null_values: Vec<String>,
    /// How often to look for new lines of CSV or JSON, in milliseconds; without it the source ends at the end of the file.
    #[serde(default)]
    pub(crate) poll_interval_ms: Option<u32>,
    /// When the file is rotated: how long lines are still expected in the old one, in milliseconds.
    #[serde(default = "default_rotate_wait_ms")]
    pub(crate) rotate_wait_ms: u32,
    /// Rows in one batch.
    #[serde(default = "default_batch_size")]
    pub(crate) batch_size: usize,
}

fn default_delimiter() -> String {
    ",".to_owned()
}

fn default_header() -> bool {
    true
}

fn default_null_values() -> Vec<String> {
    vec![String::new()]
}

fn default_rotate_wait_ms() -> u32 {
    5_000
}

fn default_batch_size() -> usize {
    2_000
}

impl FileSourceConfig {
    pub(crate) fn csv_options(&self) -> CsvOptions {
        CsvOptions {
            // Checked to be one byte long.
            delimiter: self.delimiter.bytes().next().unwrap_or(b','),
            header: self.header,
            null_values: self.null_values.clone(),
        }
    }
}

impl CheckConfig for FileSourceConfig {
    fn check(&self) -> Vec<FieldError> {
        let mut errors = check_path(&self.path);
        if self.delimiter.len() != 1 || self.csv_options().validate().is_err() {
            let message =
                "must be one ASCII character that is neither a quote nor a line end, e.g. \",\" or \"\\t\"";
            errors.push(FieldError::new("delimiter", message));
        }
        if self.poll_interval_ms == Some(0) {
            errors.push(FieldError::new("poll_interval_ms", "must be at least 1"));
        }
        if self.poll_interval_ms.is_some() && self.format == FileFormat::Parquet {
            errors.push(FieldError::new("poll_interval_ms", "must not be set: a Parquet file does not grow"));
        }
        if self.batch_size == 0 || self.batch_size > BATCH_SIZE_MAX {
            errors
                .push(FieldError::new("batch_size", format!("must be between 1 and {BATCH_SIZE_MAX} rows")));
        }
        errors
    }
}

impl SourceConfig for FileSourceConfig {
    fn partition(&self) -> SourcePartition {
        SourcePartition([("filename".to_owned(), self.path.display().to_string())].into())
    }

    fn open(&self, context: SourceContext) -> Result<Box<dyn Source>, ConnectorError> {
        Ok(Box::new(FileSource::open(self, context)?))
    }
}

/// Appends records to a file of JSON lines.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileSinkConfig {
    /// The file to append to. Beside it stands a small file `<path>.ottla-offsets`, which belongs to it.
    pub(crate) path: PathBuf,
}

impl CheckConfig for FileSinkConfig {
    fn check(&self) -> Vec<FieldError> {
        check_path(&self.path)
    }
}

impl SinkConfig for FileSinkConfig {
    fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>, ConnectorError> {
        Ok(Box::new(FileSink::open(&self.path, &context.name)?))
    }
}

fn check_path(path: &std::path::Path) -> Vec<FieldError> {
    if path.as_os_str().is_empty() { vec![FieldError::new("path", "must not be empty")] } else { Vec::new() }
}
