//! One epoch from record bytes to record bytes: decode, run the chain, encode. Pure and deterministic.
//!
//! The same epoch run again gives the same records.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use ottla_client::Record;
use ottla_formats::Format;

use super::dead_letter::{RejectingStage, dead_letter};
use super::error::QueryError;
use super::input::{EpochInput, InputRecord};
use super::stages::Stage;
use super::table_keys::TableKeys;
use crate::operators::{Dataflow, EpochResult, Rejected, Rows, consolidate, net_changes};
use crate::planner::{ChangelogMode, QueryPlan, SourceNode};
use crate::state::changelog::{Commit, Cut, InputOffsets, InputPartition, Totals};
use crate::state::{OperatorDelta, States};

/// Records decoded at a time: enough for vectorised kernels, few enough for the caches.
const CHUNK_RECORDS: usize = 8_192;

/// Everything about a query that does not change while it runs.
pub struct EpochRunner {
    name: String,
    plan: Arc<QueryPlan>,
    flow: Dataflow,
    /// By source.
    inputs: Vec<Input>,
    /// The format of outputs; without one, a listener is given the changes themselves.
    output: Option<Arc<dyn Format>>,
    /// Where a format that needs it registers the schema of what is written.
    output_topic: String,
}

/// How records of a source are read.
struct Input {
    format: Arc<dyn Format>,
    /// Of a table: the keys of records that delete.
    keys: Option<TableKeys>,
}

/// Which partition of its topic an output goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The one that its key hashes to, as every Kafka client does it.
    Key,
    /// The one with the number of the input's partition, modulo their count, so that order is kept.
    Input(i32),
}

/// A record to be written.
#[derive(Debug, Clone)]
pub struct OutputRecord {
    /// Its place.
    pub target: Target,
    /// The record.
    pub record: Record,
}

impl OutputRecord {
    fn new(target: Target, key: Option<Bytes>, value: Option<Bytes>, timestamp_ms: i64) -> Self {
        let record = Record { key, value, headers: Vec::new(), timestamp_ms: Some(timestamp_ms) };
        OutputRecord { target, record }
    }
}

/// What an epoch writes.
#[derive(Debug, Default)]
pub struct EpochOutputs {
    /// For the output topic.
    pub outputs: Vec<OutputRecord>,
    /// For the listener, of a query that has one: what goes before what comes, summed up over the epoch.
    pub changes: Vec<Rows>,
    /// For the dead-letter topic.
    pub dead_letters: Vec<OutputRecord>,
    /// Changes of state.
    pub deltas: Vec<OperatorDelta>,
    /// The newest event time per input partition.
    pub event_times: InputOffsets,
    /// The watermark after the epoch.
    pub watermark: Option<i64>,
    /// What the epoch adds to the totals.
    pub counts: Totals,
}

/// A record that was rejected, with the stage that rejected it.
struct Letter {
    rejected: Rejected,
    stage: RejectingStage,
}

/// Records as rows.
struct DecodedChunk {
    rows: Rows,
    /// Keys that a table's records without value delete.
    deletes: Option<Rows>,
}

impl EpochRunner {
    /// A runner of `plan`, whose results are written as `output_format`.
    ///
    /// # Errors
    /// When a format's name stands for nothing.
    pub fn new(name: &str, plan: Arc<QueryPlan>, output_format: &str) -> Result<Self, QueryError> {
        EpochRunner::build(name, plan, Some(output_format))
    }

    /// A runner whose results are changes of rows, which may be taken back without anything that tells them apart.
    ///
    /// # Errors
    /// When a format's name stands for nothing.
    pub fn of_changes(name: &str, plan: Arc<QueryPlan>) -> Result<Self, QueryError> {
        EpochRunner::build(name, plan, None)
    }

    fn build(name: &str, plan: Arc<QueryPlan>, output_format: Option<&str>) -> Result<Self, QueryError> {
        let format = |format: &str| {
            ottla_formats::format_named(format).ok_or_else(|| QueryError::Config {
                query: name.to_owned(),
                reason: format!("there is no format `{format}`"),
            })
        };
        let input = |source: &SourceNode| {
            let keys = source.primary_key.as_ref().map(|key| TableKeys::new(&source.schema, key)).transpose();
            let keys = keys
                .map_err(|error| QueryError::Config { query: name.to_owned(), reason: error.to_string() })?;
            Ok(Input { format: format(&source.format)?, keys })
        };
        Ok(EpochRunner {
            name: name.to_owned(),
            flow: Dataflow::new(Arc::clone(&plan)),
            inputs: plan.sources.iter().map(input).collect::<Result<Vec<_>, QueryError>>()?,
            output: output_format.map(format).transpose()?,
            output_topic: name.to_owned(),
            plan,
        })
    }

    /// The topic that results go to; named as the query unless it is said.
    #[must_use]
    pub fn with_output_topic(mut self, topic: &str) -> Self {
        self.output_topic = topic.to_owned();
        self
    }

    /// The plan that is run.
    pub fn plan(&self) -> &QueryPlan {
        &self.plan
    }

    /// Runs one epoch over exactly the input that `cut` says.
    ///
    /// # Errors
    /// Never because of an input record: those become dead letters.
    pub fn run(
        &self,
        commit: &Commit,
        states: &States,
        cut: &Cut,
        input: &EpochInput,
    ) -> Result<EpochOutputs, QueryError> {
        self.run_told(commit, states, cut, input, &mut |_| {})
    }

    /// The same, telling `enter` which stage begins.
    ///
    /// # Errors
    /// As [`EpochRunner::run`].
    pub fn run_told(
        &self,
        commit: &Commit,
        states: &States,
        cut: &Cut,
        input: &EpochInput,
        enter: &mut dyn FnMut(Stage),
    ) -> Result<EpochOutputs, QueryError> {
        let mut epoch = self.flow.begin(commit);
        let mut letters = Vec::new();
        let mut first = 0;
        for (partition, records) in input {
            for chunk in records.chunks(CHUNK_RECORDS) {
                enter(Stage::Decode);
                let decoded = self.decode(*partition, chunk, first, &mut letters)?;
                enter(Stage::Operators);
                epoch.push(*partition, decoded.rows).map_err(|source| self.operator_error(source))?;
                if let Some(deletes) = decoded.deletes {
                    epoch.delete(*partition, deletes);
                }
                first += chunk.len() as u32;
            }
        }
        enter(Stage::Operators);
        let result = epoch.finish(states, cut).map_err(|source| self.operator_error(source))?;
        enter(Stage::Encode);
        self.write(cut, input, result, letters)
    }

    /// Decodes records of one partition, whose origins are counted from `first`.
    fn decode(
        &self,
        partition: InputPartition,
        records: &[InputRecord],
        first: u32,
        letters: &mut Vec<Letter>,
    ) -> Result<DecodedChunk, QueryError> {
        let place = usize::from(partition.source);
        let (Some(source), Some(input)) = (self.plan.sources.get(place), self.inputs.get(place)) else {
            let reason = format!("it has no source {place}");
            return Err(QueryError::Config { query: self.name.clone(), reason });
        };
        let mut payloads: Vec<&[u8]> = Vec::with_capacity(records.len());
        let mut origins: Vec<u32> = Vec::with_capacity(records.len());
        let mut tombstones: Vec<(u32, Option<&Bytes>)> = Vec::new();
        for (origin, record) in (first..).zip(records) {
            match &record.value {
                Some(value) => {
                    payloads.push(value);
                    origins.push(origin);
                }
                None => tombstones.push((origin, record.key.as_ref())),
            }
        }
        let mut reject = |origin: u32, reason: String| {
            let rejected = Rejected { origin, reason, is_late: false };
            letters.push(Letter { rejected, stage: RejectingStage::ValueConverter });
        };
        let failed = |source| QueryError::Format { query: self.name.clone(), source };
        let deletes = match &input.keys {
            Some(keys) if !tombstones.is_empty() => {
                Some(keys.decode(&tombstones, &mut reject).map_err(failed)?)
            }
            Some(_) => None,
            None => {
                for (origin, _) in tombstones {
                    reject(origin, "it has no value (a tombstone), and a stream only grows".to_owned());
                }
                None
            }
        };
        let decoded = input.format.decode(&payloads, &source.schema).map_err(failed)?;
        let origin_of = |index: u32| origins.get(index as usize).copied().unwrap_or(first);
        for bad in decoded.bad {
            reject(origin_of(bad.index), bad.reason);
        }
        let origins = UInt32Array::from_iter_values(decoded.rows.iter().map(|index| origin_of(*index)));
        Ok(DecodedChunk { rows: Rows::from_records(decoded.batch, origins), deletes })
    }

    fn write(
        &self,
        cut: &Cut,
        input: &EpochInput,
        result: EpochResult,
        mut letters: Vec<Letter>,
    ) -> Result<EpochOutputs, QueryError> {
        letters.extend(
            result
                .rejected
                .into_iter()
                .map(|rejected| Letter { rejected, stage: RejectingStage::Transformation }),
        );
        letters.sort_by_key(|letter| letter.rejected.origin);
        let late = letters.iter().filter(|letter| letter.rejected.is_late).count() as u64;
        let records = Records::new(input);
        let dead_letters = self.dead_letters(&records, &letters);
        let mut outputs = Vec::new();
        let mut changes = Vec::new();
        match (self.plan.mode, &self.output) {
            (ChangelogMode::Append, None) => changes = result.rows,
            (ChangelogMode::Upsert | ChangelogMode::Retract, None) => {
                changes = net_changes(&result.rows, &self.plan.output_schema)
                    .map_err(|source| self.operator_error(source))?;
            }
            (ChangelogMode::Append, Some(_)) => {
                for rows in result.rows {
                    self.write_rows(cut, &records, &rows, &mut outputs)?;
                }
            }
            (ChangelogMode::Upsert | ChangelogMode::Retract, Some(_)) => {
                let changes = consolidate(&result.rows, &self.plan.upsert_key, &self.plan.output_schema)
                    .map_err(|source| self.operator_error(source))?;
                self.write_deletes(cut, &changes.deletes, &mut outputs)?;
                self.write_keyed(cut, &changes.upserts, &mut outputs)?;
            }
        }
        Ok(EpochOutputs {
            counts: Totals {
                rows_in: records.count() as u64,
                rows_out: (outputs.len() + changes.iter().map(Rows::len).sum::<usize>()) as u64,
                rows_bad: dead_letters.len() as u64 - late,
                rows_late: late,
            },
            outputs,
            changes,
            dead_letters,
            deltas: result.deltas,
            event_times: result.clock.newest().clone(),
            watermark: result.watermark.0,
        })
    }

    fn dead_letters(&self, records: &Records<'_>, letters: &[Letter]) -> Vec<OutputRecord> {
        let mut written = Vec::with_capacity(letters.len());
        for letter in letters {
            let Some((partition, record)) = records.get(letter.rejected.origin) else { continue };
            let topic =
                self.plan.sources.get(usize::from(partition.source)).map_or("", |source| &source.topic);
            let record =
                dead_letter(&self.name, topic, partition.partition, record, &letter.rejected, letter.stage);
            written.push(OutputRecord { target: Target::Input(partition.partition), record });
        }
        written
    }

    fn write_deletes(
        &self,
        cut: &Cut,
        keys: &RecordBatch,
        outputs: &mut Vec<OutputRecord>,
    ) -> Result<(), QueryError> {
        for key in self.encode_keys(keys)? {
            outputs.push(OutputRecord::new(Target::Key, Some(key), None, cut.now_ms));
        }
        Ok(())
    }

    /// Rows with the key that tells them apart.
    fn write_keyed(
        &self,
        cut: &Cut,
        rows: &RecordBatch,
        outputs: &mut Vec<OutputRecord>,
    ) -> Result<(), QueryError> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let keys = rows.project(&self.plan.upsert_key).map_err(|error| self.operator_error(error.into()))?;
        for (key, value) in self.encode_keys(&keys)?.into_iter().zip(self.encode(rows)?) {
            outputs.push(OutputRecord::new(Target::Key, Some(key), Some(value), cut.now_ms));
        }
        Ok(())
    }

    /// Rows that stand: with the key that tells them apart or, without one, the key of the record they came from.
    fn write_rows(
        &self,
        cut: &Cut,
        records: &Records<'_>,
        rows: &Rows,
        outputs: &mut Vec<OutputRecord>,
    ) -> Result<(), QueryError> {
        if !self.plan.upsert_key.is_empty() {
            return self.write_keyed(cut, &rows.batch, outputs);
        }
        for (row, value) in self.encode(&rows.batch)?.into_iter().enumerate() {
            let origin = rows.origin(row).and_then(|origin| records.get(origin));
            let (target, key, timestamp_ms) = match origin {
                Some((_, record)) if record.key.is_some() => {
                    (Target::Key, record.key.clone(), record.timestamp_ms)
                }
                Some((partition, record)) => (Target::Input(partition.partition), None, record.timestamp_ms),
                None => (Target::Input(0), None, cut.now_ms),
            };
            for _ in 0..rows.weight(row) {
                outputs.push(OutputRecord::new(target, key.clone(), Some(value.clone()), timestamp_ms));
            }
        }
        Ok(())
    }

    fn encode(&self, batch: &RecordBatch) -> Result<Vec<Bytes>, QueryError> {
        let Some(format) = &self.output else { return Ok(Vec::new()) };
        format
            .encode_for(&self.output_topic, batch)
            .map_err(|source| QueryError::Format { query: self.name.clone(), source })
    }

    /// Keys are JSON objects whatever the values are: Kafka compares them byte by byte, and the format writes the same
    /// columns in the same order every time.
    fn encode_keys(&self, keys: &RecordBatch) -> Result<Vec<Bytes>, QueryError> {
        if keys.num_columns() == 0 {
            return Ok(vec![Bytes::from_static(b"{}"); keys.num_rows()]);
        }
        ottla_formats::JsonFormat
            .encode(keys)
            .map_err(|source| QueryError::Format { query: self.name.clone(), source })
    }

    fn operator_error(&self, source: datafusion::common::DataFusionError) -> QueryError {
        QueryError::Operator { query: self.name.clone(), source }
    }

    /// The columns of the output.
    pub fn output_schema(&self) -> &SchemaRef {
        &self.plan.output_schema
    }
}

/// The records of an epoch by origin: their place in the input, partition after partition.
struct Records<'a> {
    /// The partition, the origin of its first record, and its records.
    partitions: Vec<(InputPartition, u32, &'a [InputRecord])>,
}

impl<'a> Records<'a> {
    fn new(input: &'a EpochInput) -> Self {
        let mut first = 0;
        let mut partitions = Vec::with_capacity(input.len());
        for (partition, records) in input {
            partitions.push((*partition, first, records.as_slice()));
            first += records.len() as u32;
        }
        Records { partitions }
    }

    fn count(&self) -> usize {
        self.partitions.iter().map(|(_, _, records)| records.len()).sum()
    }

    fn get(&self, origin: u32) -> Option<(InputPartition, &'a InputRecord)> {
        let after = self.partitions.partition_point(|(_, first, _)| *first <= origin);
        let (partition, first, records) = self.partitions.get(after.checked_sub(1)?)?;
        records.get((origin - first) as usize).map(|record| (*partition, record))
    }
}
