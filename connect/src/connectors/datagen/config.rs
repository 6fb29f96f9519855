//! The config of the datagen source.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::column::Generator;
use super::source::DatagenSource;
use crate::connector::{Source, SourceContext, SourcePartition};
use crate::error::{ConnectorError, FieldError};
use crate::registry::{CheckConfig, SourceConfig};

/// Rows of one batch, at most.
const BATCH_SIZE_MAX: usize = 100_000;

/// Makes rows that are the same for the same seed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DatagenSourceConfig {
    /// What a column holds: `sequence`, `random(LOW..HIGH)`, `choice(A|B|…)` or `step(START, MILLISECONDS)`, by the column's name.
    /// Columns that are not named get random values of their type.
    #[serde(default)]
    pub(crate) columns: BTreeMap<String, String>,
    /// How many rows; without it they never end.
    #[serde(default)]
    pub(crate) rows: Option<u64>,
    /// Rows a second; without it as many as can be written.
    #[serde(default)]
    pub(crate) rate: Option<u32>,
    /// Another seed makes other rows.
    #[serde(default)]
    pub(crate) seed: u64,
    /// Rows in one batch.
    #[serde(default = "default_batch_size")]
    pub(crate) batch_size: usize,
}

fn default_batch_size() -> usize {
    2_000
}

impl CheckConfig for DatagenSourceConfig {
    fn check(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (name, text) in &self.columns {
            if let Err(reason) = Generator::parse(text) {
                errors.push(FieldError::new("columns", format!("{name}: {reason}")));
            }
        }
        if self.rate == Some(0) {
            errors.push(FieldError::new("rate", "must be at least 1 row a second"));
        }
        if self.batch_size == 0 || self.batch_size > BATCH_SIZE_MAX {
            errors
                .push(FieldError::new("batch_size", format!("must be between 1 and {BATCH_SIZE_MAX} rows")));
        }
        errors
    }
}

impl SourceConfig for DatagenSourceConfig {
    fn partition(&self) -> SourcePartition {
        SourcePartition([("seed".to_owned(), self.seed.to_string())].into())
    }

    fn open(&self, context: SourceContext) -> Result<Box<dyn Source>, ConnectorError> {
        Ok(Box::new(DatagenSource::open(self, context)?))
    }
}
