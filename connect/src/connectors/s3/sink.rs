//! The S3 sink: rows in memory until there are enough, then one object for each partition, then the offsets.
//!
//! ```text
//!   committed 1000                      crash here: begins at 1000 again and writes the same objects again
//!      │                                      │
//!      ├─ rows of 1000…1999 in memory ─ put …+1000 ─ put offsets (2000) ─┤ committed 2000
//! ```
//!
//! Objects are named after the committed offset that they begin at. So what a crash left half done is replaced, and no
//! record is in two objects, also when the second attempt cuts its objects elsewhere.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::objects::{Compression, Layout, ObjectFormat, encode};
use super::store::Store;
use crate::connector::{ConsumedOffset, Rejected, Rows, Sink, SinkBatch};
use crate::error::ConnectorError;

/// Version of the object of offsets.
const VERSION: u32 = 1;

/// What is enough.
#[derive(Debug, Clone, Copy)]
pub(super) struct FlushAt {
    pub(super) rows: usize,
    pub(super) bytes: usize,
    pub(super) age: Duration,
}

/// The object that says how far the others go.
#[derive(Debug, Serialize, Deserialize)]
struct Offsets {
    version: u32,
    offsets: Vec<ConsumedOffset>,
}

/// A store being written to, for one topic.
pub(crate) struct S3Sink {
    store: Store,
    layout: Layout,
    schema: Option<SchemaRef>,
    compression: Compression,
    flush_at: FlushAt,
    /// By partition, what is in no object yet.
    rows: BTreeMap<i32, Vec<Rows>>,
    row_count: usize,
    bytes: usize,
    /// When the first of the rows came.
    since: Option<Instant>,
    /// What the object of offsets says.
    committed: Vec<ConsumedOffset>,
    /// What it is to say next.
    consumed: Vec<ConsumedOffset>,
}

impl S3Sink {
    pub(super) fn new(
        store: Store,
        layout: Layout,
        schema: Option<SchemaRef>,
        compression: Compression,
        flush_at: FlushAt,
    ) -> Self {
        Self {
            store,
            layout,
            schema,
            compression,
            flush_at,
            rows: BTreeMap::new(),
            row_count: 0,
            bytes: 0,
            since: None,
            committed: Vec::new(),
            consumed: Vec::new(),
        }
    }

    fn is_enough(&self) -> bool {
        self.row_count >= self.flush_at.rows
            || self.bytes >= self.flush_at.bytes
            || self.since.is_some_and(|since| since.elapsed() >= self.flush_at.age)
    }

    /// The committed offset of a partition: where its next object begins.
    fn start_of(&self, partition: i32) -> i64 {
        let is_it =
            |offset: &&ConsumedOffset| offset.topic == self.layout.topic && offset.partition == partition;
        self.committed.iter().find(is_it).map_or(0, |offset| offset.next_offset)
    }

    async fn put_all(&mut self) -> Result<(), ConnectorError> {
        for (partition, rows) in std::mem::take(&mut self.rows) {
            let key = self.layout.data(partition, self.start_of(partition));
            let (format, compression, schema) = (self.layout.format, self.compression, self.schema.clone());
            // Some megabytes take some milliseconds: too long for a thread that serves connections.
            let encoded =
                tokio::task::spawn_blocking(move || encode(format, compression, schema.as_ref(), rows)).await;
            let what = || format!("making {key}");
            let encoded = encoded.map_err(|lost| ConnectorError::fatal(what(), lost))?;
            let bytes = encoded.map_err(|error| ConnectorError::fatal(what(), error))?;
            tracing::debug!(key, bytes = bytes.len(), "an object is written");
            self.store.put(&key, bytes).await?;
        }
        if self.consumed != self.committed {
            let offsets = Offsets { version: VERSION, offsets: self.consumed.clone() };
            let what = "making the object of offsets";
            let text = serde_json::to_vec(&offsets).map_err(|error| ConnectorError::fatal(what, error))?;
            self.store.put(&self.layout.offsets(), Bytes::from(text)).await?;
            self.committed = self.consumed.clone();
        }
        (self.row_count, self.bytes, self.since) = (0, 0, None);
        Ok(())
    }
}

/// Why a value is no line of JSON.
fn check_json(value: &[u8]) -> Option<String> {
    serde_json::from_slice::<serde::de::IgnoredAny>(value).err().map(|error| format!("not JSON: {error}"))
}

#[async_trait]
impl Sink for S3Sink {
    async fn committed(&mut self) -> Result<Vec<ConsumedOffset>, ConnectorError> {
        let key = self.layout.offsets();
        if let Some(bytes) = self.store.get(&key).await? {
            let unreadable = |why: String| ConnectorError::fatal(format!("reading {key}"), why);
            let read: Offsets =
                serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
            if read.version != VERSION {
                return Err(unreadable(format!("it has version {}, this is {VERSION}", read.version)));
            }
            self.committed = read.offsets;
        }
        self.consumed = self.committed.clone();
        Ok(self.committed.clone())
    }

    async fn write(&mut self, batch: SinkBatch) -> Result<Vec<Rejected>, ConnectorError> {
        self.write_partition(0, batch).await
    }

    async fn write_partition(
        &mut self,
        partition: i32,
        batch: SinkBatch,
    ) -> Result<Vec<Rejected>, ConnectorError> {
        let mut rejected = Vec::new();
        let (rows, count, bytes) = match batch.rows {
            Rows::Arrow(rows) => {
                let (count, bytes) = (rows.num_rows(), rows.get_array_memory_size());
                (Rows::Arrow(rows), count, bytes)
            }
            Rows::Raw(values) => {
                let mut kept = Vec::with_capacity(values.len());
                for (row, value) in values.into_iter().enumerate() {
                    match check_json(&value).filter(|_| self.layout.format == ObjectFormat::JsonLines) {
                        Some(reason) => rejected.push(Rejected { row, reason }),
                        None => kept.push(value),
                    }
                }
                let (count, bytes) = (kept.len(), kept.iter().map(Bytes::len).sum());
                (Rows::Raw(kept), count, bytes)
            }
        };
        if count > 0 {
            self.rows.entry(partition).or_default().push(rows);
            self.row_count += count;
            self.bytes += bytes;
            self.since.get_or_insert_with(Instant::now);
        }
        Ok(rejected)
    }

    /// Writes objects when there is enough for them, and otherwise only remembers how far it has come.
    async fn commit(&mut self, offsets: &[ConsumedOffset]) -> Result<(), ConnectorError> {
        for offset in offsets {
            let is_it = |known: &&mut ConsumedOffset| {
                (&known.topic, known.partition) == (&offset.topic, offset.partition)
            };
            match self.consumed.iter_mut().find(is_it) {
                Some(known) => *known = offset.clone(),
                None => self.consumed.push(offset.clone()),
            }
        }
        if self.row_count == 0 || self.is_enough() {
            self.put_all().await?;
        }
        Ok(())
    }

    fn is_due(&self) -> bool {
        self.is_enough()
    }

    async fn flush(&mut self) -> Result<(), ConnectorError> {
        self.put_all().await
    }
}
