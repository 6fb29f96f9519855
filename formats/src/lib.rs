//! Record bytes to and from Arrow batches: JSON, CSV and Avro; and the schema registry.
//!
//! A [`Format`] turns a slice of record values into one [`RecordBatch`] of a given schema, and a batch back into
//! one value per row. A record that does not fit its schema never stops the batch and never vanishes: it comes out
//! beside the batch as a [`BadRecord`] with its index and the reason, ready for a dead-letter topic.
//!
//! | file | owns |
//! |---|---|
//! | `types.rs` | the type words of pipelines (`int?`, `timestamp`) and the Arrow types they mean |
//! | `timestamp.rs` | ISO-8601 text to and from ticks |
//! | `columns.rs` | columns that grow row by row and can take a half-written row back |
//! | `decimal.rs` | decimal text, exactly |
//! | `cells.rs` | columns of a batch, readable cell by cell |
//! | `json/`, `csv/`, `avro/` | the formats |
//! | `rows.rs`, `csv/reader.rs`, `json/lines.rs` | files cut into batches, with the position after each row |
//!
//! | `parquet.rs`, `parquet/` | Parquet files |
//! | `registry/` | the schema registry, and the client that formats ask |
//!
//! The formats know neither topics nor files: bytes in, batches out, and back. Only `registry/` has sockets and a topic.

pub mod avro;
mod cells;
mod columns;
pub mod csv;
mod decimal;
mod error;
pub mod json;
pub mod parquet;
pub mod registry;
mod rows;
pub mod timestamp;
pub mod types;
mod window;

#[cfg(test)]
mod generate;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;

pub use avro::AvroFormat;
pub use csv::{CsvFormat, CsvOptions, CsvReader};
pub use error::FormatError;
pub use json::{JsonFormat, JsonLinesReader};
pub use parquet::ParquetReader;
pub use rows::{BadRow, Position, RowBatch};
pub use types::{TypeError, parse_type, schema_of, type_word};

/// One way to write a record value as bytes.
///
/// Implementations keep these promises, and the property tests hold them to it:
/// - `decode(encode(batch))` is the batch, for every type the format can hold;
/// - any bytes at all either decode or come out as [`BadRecord`]s: no panic, and no bad record hides a good one.
pub trait Format: Send + Sync {
    /// The word for this format in configs: `json`, `csv`, `avro`.
    fn name(&self) -> &'static str;

    /// Decodes one value per payload into a batch of `schema`, in the order of the payloads.
    ///
    /// A tombstone (a record without a value) is not a payload: what it means is the caller's to say.
    ///
    /// # Errors
    /// Only what is wrong with the schema itself, e.g. a type that this format cannot hold. What is wrong with a
    /// payload is in [`Decoded::bad`].
    fn decode(&self, payloads: &[&[u8]], schema: &SchemaRef) -> Result<Decoded, FormatError>;

    /// Encodes each row as one payload. All payloads of a batch share one allocation.
    ///
    /// # Errors
    /// [`FormatError::UnsupportedType`] when a column has a type that this format cannot hold.
    fn encode(&self, batch: &RecordBatch) -> Result<Vec<Bytes>, FormatError>;

    /// Encodes rows as values of a topic; a format whose values name their schema registers it under the topic's name.
    ///
    /// # Errors
    /// As [`encode`](Format::encode), [`FormatError::Registry`] and [`FormatError::SchemaRefused`].
    fn encode_for(&self, topic: &str, batch: &RecordBatch) -> Result<Vec<Bytes>, FormatError> {
        let _ = topic;
        self.encode(batch)
    }
}

/// What came of a slice of payloads. Every payload is either a row of `batch` or one of `bad`.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// The rows that decoded, in the schema that was asked for.
    pub batch: RecordBatch,
    /// For each row of `batch`, the index of its payload; strictly growing.
    pub rows: Vec<u32>,
    /// The payloads that did not decode, by growing index.
    pub bad: Vec<BadRecord>,
}

/// A payload that did not decode, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRecord {
    /// Index into the payloads given to [`Format::decode`].
    pub index: u32,
    /// One sentence for a person, naming the column where there is one.
    pub reason: String,
}

/// The format of this name with its default options, or `None` when there is no such format.
#[must_use]
pub fn format_named(name: &str) -> Option<std::sync::Arc<dyn Format>> {
    match name {
        "json" => Some(std::sync::Arc::new(JsonFormat)),
        "csv" => Some(std::sync::Arc::new(CsvFormat::default())),
        "avro" => {
            let client = std::sync::Arc::new(registry::RegistryClient::of_process());
            Some(std::sync::Arc::new(AvroFormat::with_registry(client)))
        }
        _ => None,
    }
}

/// The names that [`format_named`] knows.
pub const FORMAT_NAMES: [&str; 3] = ["json", "csv", "avro"];
