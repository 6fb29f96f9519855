//! The contract between connectors and the worker.
//!
//! Connectors return positions and take offsets; they never write either to the cluster. Data is Arrow batches or raw
//! bytes, never one boxed value per record.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::{self, BoxFuture};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::ConnectorError;
use crate::fingerprint::fingerprint;

/// Records inside the worker.
#[derive(Debug, Clone)]
pub enum Rows {
    /// One record per row.
    Arrow(RecordBatch),
    /// One record value each, as it is in the topic.
    Raw(Vec<Bytes>),
}

impl Rows {
    /// How many records these are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Arrow(batch) => batch.num_rows(),
            Self::Raw(values) => values.len(),
        }
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a source is split into, as Kafka Connect names it: `{"filename": "/data/flights.csv"}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourcePartition(pub BTreeMap<String, String>);

impl SourcePartition {
    /// A short name that is the same in every run and differs between partitions: it stands in a header of each record.
    #[must_use]
    pub fn id(&self) -> String {
        // Lengths keep ("ab", "c") and ("a", "bc") apart.
        let lengths: Vec<[u8; 8]> = self
            .0
            .iter()
            .flat_map(|(key, value)| [key, value])
            .map(|text| (text.len() as u64).to_le_bytes())
            .collect();
        let texts = self.0.iter().flat_map(|(key, value)| [key.as_bytes(), value.as_bytes()]);
        fingerprint(lengths.iter().zip(texts).flat_map(|(length, text)| [&length[..], text]))
    }
}

/// The place in a source partition from which to read on.
///
/// ```text
///   position:   0        17        41        66
///               | record | record  | record  |          after reading two records: position 41
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceOffset {
    /// Grows with every record of the partition: the place just after the record.
    pub position: u64,
    /// Whatever else the connector needs to go on or to notice that the source has changed.
    #[serde(flatten)]
    pub state: Map<String, Value>,
}

/// A piece of a source that is no record of the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadInput {
    /// The place just after it; no good record has the same.
    pub position: u64,
    /// The line where it starts, counted from 1, if the source has lines.
    pub line: Option<u64>,
    /// Its bytes as they are in the source.
    pub raw: Bytes,
    /// One sentence for a person.
    pub reason: String,
}

/// Some records of a source partition, in its order.
#[derive(Debug, Clone)]
pub struct SourceBatch {
    /// The good records.
    pub rows: Rows,
    /// For each good record the place just after it; strictly growing, also from batch to batch.
    pub positions: Vec<u64>,
    /// What could not be read between them.
    pub bad: Vec<BadInput>,
    /// Where to go on after this batch; its position is not below any in the batch.
    pub resume: SourceOffset,
}

/// How far a bounded source is, in units of its positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceProgress {
    /// Where the last batch ended.
    pub position: u64,
    /// Where the source ends.
    pub total: u64,
}

/// Reads records from a system outside.
#[async_trait]
pub trait Source: Send {
    /// The next batch, or `None` when a bounded source is drained; an unbounded one waits.
    ///
    /// MUST be cancel safe: a call that is dropped before it resolves loses no record. MUST bound a batch in bytes, and
    /// SHOULD do blocking work on a thread of its own.
    ///
    /// # Errors
    /// Retriable ones make the worker open the source again at the last committed offset.
    async fn poll(&mut self) -> Result<Option<SourceBatch>, ConnectorError>;

    /// Hears that everything up to this position is written and acknowledged, bad input too: a source that has to answer
    /// whoever gave it the records does so now. MUST NOT block.
    fn acknowledged(&mut self, _position: u64) {}

    /// How far it is, if it knows its end.
    fn progress(&self) -> Option<SourceProgress> {
        None
    }
}

/// What a source is opened with.
#[derive(Debug, Clone)]
pub struct SourceContext {
    /// The connector's name.
    pub name: String,
    /// The columns that the records shall have; the source decides when it is absent.
    pub schema: Option<SchemaRef>,
    /// Where an earlier run stopped, if there was one.
    pub offset: Option<SourceOffset>,
}

/// Consumed up to here: the next record to read of a topic's partition.
///
/// The topic's id is part of the key, not its name alone: a topic that was deleted and made anew starts at 0 again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConsumedOffset {
    /// The topic's id as text.
    pub topic_id: String,
    /// The topic's name.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset after the last record consumed.
    pub next_offset: i64,
}

/// What to do with a batch's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// The rows are new, or replace those with the same key.
    Write,
    /// The rows hold only [`Sink::key_columns`]; what has these keys is to go.
    Delete,
}

/// Some records of a topic, in the order of their partition.
#[derive(Debug, Clone)]
pub struct SinkBatch {
    /// What to do with them.
    pub operation: Operation,
    /// The records.
    pub rows: Rows,
    /// Their keys, row by row; where there are fewer, the other records have none.
    pub keys: Vec<Option<Bytes>>,
}

impl SinkBatch {
    /// Records without keys.
    #[must_use]
    pub fn new(operation: Operation, rows: Rows) -> Self {
        Self { operation, rows, keys: Vec::new() }
    }
}

/// Resolves when the target has answered for every row of a batch: to those that it refuses, or to an error as of
/// [`Sink::write`].
pub type Answers = BoxFuture<'static, Result<Vec<Rejected>, ConnectorError>>;

/// A record that the target does not take, whatever is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The row in the batch.
    pub row: usize,
    /// One sentence for a person.
    pub reason: String,
}

/// Where it is kept how far a sink has consumed its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetStore {
    /// In the target, written in one transaction with the rows: each record arrives once.
    Target,
    /// In the cluster, as the offsets of the consumer group `connect-NAME`, which Kafka Connect uses too. They are committed
    /// after [`Sink::commit`], so what was delivered just before a crash is delivered again.
    Group,
}

/// Writes records to a system outside.
///
/// ```text
///   Target   write, write, …, commit(offsets)   the writes and the offsets become visible together, or not at all
///   Group    write, write, …, commit            all of it is delivered; then the worker commits the offsets
/// ```
#[async_trait]
pub trait Sink: Send {
    /// The offsets stored by the last commit, in any run, of this connector. Not asked of a type whose offsets are in a group.
    ///
    /// # Errors
    /// When the target cannot be read.
    async fn committed(&mut self) -> Result<Vec<ConsumedOffset>, ConnectorError>;

    /// The columns that identify a row in the target, in order; none if rows are only ever added. With some, a record
    /// without a value deletes.
    fn key_columns(&self) -> &[String] {
        &[]
    }

    /// Takes a batch into the open transaction and says which rows the target refuses; the others are in.
    ///
    /// # Errors
    /// When the target fails as a whole. The worker then drops the sink and opens it anew: what was not committed MUST
    /// be gone then.
    async fn write(&mut self, batch: SinkBatch) -> Result<Vec<Rejected>, ConnectorError>;

    /// The same with the partition that the records are of, for a target that keeps partitions apart.
    ///
    /// # Errors
    /// As [`write`](Sink::write).
    async fn write_partition(
        &mut self,
        partition: i32,
        batch: SinkBatch,
    ) -> Result<Vec<Rejected>, ConnectorError> {
        let _ = partition;
        self.write(batch).await
    }

    /// Takes a batch on and tells later what the target answers. A sink that [takes ahead](Sink::takes_ahead) sends meanwhile
    /// what it has been given; the others write it here.
    ///
    /// # Errors
    /// As [`write`](Sink::write).
    async fn take(&mut self, partition: i32, batch: SinkBatch) -> Result<Answers, ConnectorError> {
        let rejected = self.write_partition(partition, batch).await?;
        Ok(Box::pin(future::ready(Ok(rejected))))
    }

    /// Whether it takes batches while earlier ones are not answered. The worker bounds how much that is, and commits the
    /// offsets of what is answered with all before it, so this is only for [`OffsetStore::Group`].
    fn takes_ahead(&self) -> bool {
        false
    }

    /// Makes everything written since the last commit durable, together with these offsets. Offsets of partitions not
    /// named stay as they are. Idempotent. A sink that keeps its own offsets may wait for more, if rows and offsets become
    /// durable together later: what it had not made durable it is given again after a crash.
    ///
    /// # Errors
    /// When it is not certain that the commit happened; [`Sink::committed`] of the sink opened anew tells.
    async fn commit(&mut self, offsets: &[ConsumedOffset]) -> Result<(), ConnectorError>;

    /// Whether what commits have put off has waited long enough: the worker commits again, also when no records come.
    fn is_due(&self) -> bool {
        false
    }

    /// Makes durable what commits have put off; nothing comes after this.
    ///
    /// # Errors
    /// As [`commit`](Sink::commit).
    async fn flush(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }
}

/// What a sink is opened with.
#[derive(Debug, Clone)]
pub struct SinkContext {
    /// The connector's name; it is the key of its offsets in the target.
    pub name: String,
    /// The columns of the rows; without one the rows are raw.
    pub schema: Option<SchemaRef>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_id_is_stable_and_tells_partitions_apart() {
        let id = |pairs: &[(&str, &str)]| {
            SourcePartition(
                pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            )
            .id()
        };
        assert_eq!(id(&[]), "cbf29ce484222325");
        assert_ne!(id(&[("ab", "c")]), id(&[("a", "bc")]));
        assert_ne!(id(&[("filename", "/a/x.csv")]), id(&[("filename", "/b/x.csv")]));
    }

    #[test]
    fn an_offset_is_one_flat_map_as_in_kafka_connect() {
        let mut state = Map::new();
        state.insert("line".to_owned(), 7.into());
        let offset = SourceOffset { position: 5, state };
        let text = serde_json::to_string(&offset).unwrap();
        assert_eq!(text, r#"{"position":5,"line":7}"#);
        assert_eq!(serde_json::from_str::<SourceOffset>(&text).unwrap(), offset);
    }
}
