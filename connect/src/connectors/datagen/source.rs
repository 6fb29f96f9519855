//! The datagen source: batches of made rows, at a rate.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use ottla_formats::schema_of;
use serde_json::Map;
use tokio::time::Instant;

use super::column::{Generator, salt};
use super::config::DatagenSourceConfig;
use crate::connector::{Rows, Source, SourceBatch, SourceContext, SourceOffset, SourceProgress};
use crate::error::ConnectorError;

/// The columns where no schema names others.
const COLUMNS: [(&str, &str); 4] =
    [("id", "int"), ("at", "timestamp"), ("name", "string"), ("value", "double")];
/// With a rate, a batch has what is due in this time, so that rows come evenly.
const BATCHES_PER_SECOND: u32 = 20;

/// Rows being made.
pub(crate) struct DatagenSource {
    schema: SchemaRef,
    columns: Vec<(Generator, u64)>,
    /// The number of the next row.
    next: u64,
    rows: Option<u64>,
    batch_size: usize,
    rate: Option<u32>,
    /// With a rate: when the source was opened, and at which row.
    begun: (Instant, u64),
}

impl DatagenSource {
    pub(crate) fn open(config: &DatagenSourceConfig, context: SourceContext) -> Result<Self, ConnectorError> {
        let what = "making rows";
        let default = || schema_of(COLUMNS).unwrap_or_else(|_| Arc::new(Schema::empty()));
        let is_default = context.schema.is_none();
        let schema = context.schema.unwrap_or_else(default);
        if let Some(name) = config.columns.keys().find(|name| schema.index_of(name).is_err()) {
            let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            let reason = format!("there is no column '{name}'; there are: {}", names.join(", "));
            return Err(ConnectorError::fatal(what, reason).remedy("name the columns of the schema"));
        }
        let mut columns = Vec::new();
        for field in schema.fields() {
            let generator = match config.columns.get(field.name()) {
                Some(text) => Generator::parse(text).map_err(|reason| ConnectorError::fatal(what, reason))?,
                None if is_default && field.name() == "id" => Generator::Sequence,
                None => Generator::default_of(field.data_type()),
            };
            let salt = salt(config.seed, field.name());
            // So that a type which cannot hold the values is found before the first row.
            let tried = generator.values(salt, 0, 1, field.data_type());
            tried.map_err(|reason| {
                ConnectorError::fatal(what, format!("column '{}': {reason}", field.name()))
                    .remedy("set `columns` to something that the column's type can hold")
            })?;
            columns.push((generator, salt));
        }
        let next = context.offset.map_or(0, |offset| offset.position);
        let batch_size = match config.rate {
            Some(rate) => config.batch_size.min(rate.div_ceil(BATCHES_PER_SECOND) as usize),
            None => config.batch_size,
        };
        let begun = (Instant::now(), next);
        Ok(Self { schema, columns, next, rows: config.rows, batch_size, rate: config.rate, begun })
    }

    fn batch(&self, count: usize) -> Result<SourceBatch, ConnectorError> {
        let wrong = |reason: String| ConnectorError::fatal("making rows", reason);
        let arrays =
            self.schema.fields().iter().zip(&self.columns).map(|(field, (generator, salt))| {
                generator.values(*salt, self.next, count, field.data_type())
            });
        let arrays = arrays.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        let batch = RecordBatch::try_new(self.schema.clone(), arrays);
        let end = self.next + count as u64;
        Ok(SourceBatch {
            rows: Rows::Arrow(batch.map_err(|error| wrong(error.to_string()))?),
            positions: (self.next + 1..=end).collect(),
            bad: Vec::new(),
            resume: SourceOffset { position: end, state: Map::new() },
        })
    }
}

#[async_trait]
impl Source for DatagenSource {
    async fn poll(&mut self) -> Result<Option<SourceBatch>, ConnectorError> {
        let left = self.rows.map_or(u64::MAX, |rows| rows.saturating_sub(self.next));
        if left == 0 {
            return Ok(None);
        }
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(self.batch_size);
        if let Some(rate) = self.rate {
            let (begun, first) = self.begun;
            let due = (self.next - first) as f64 / f64::from(rate);
            // Nothing is taken before it, so a call that is dropped here loses nothing.
            tokio::time::sleep_until(begun + Duration::from_secs_f64(due)).await;
        }
        let batch = self.batch(count)?;
        self.next = batch.resume.position;
        Ok(Some(batch))
    }

    fn progress(&self) -> Option<SourceProgress> {
        self.rows.map(|total| SourceProgress { position: self.next, total: total.max(self.next) })
    }
}
