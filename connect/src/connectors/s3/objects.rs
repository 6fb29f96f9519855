//! What objects are called and what is in them (pure).
//!
//! ```text
//!   PREFIX/TOPIC/partition=0/TOPIC+0+00000000000000001000.parquet    the records from offset 1000 on
//!   PREFIX/_ottla/CONNECTOR/TOPIC.json                               how far all of it goes
//! ```
//!
//! A name has the offset at which its records begin and nothing of when or where it was written: whoever begins at the same
//! offset again writes the same object again.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use ottla_formats::parquet::{ParquetCompression, write_parquet};
use ottla_formats::{Format as _, FormatError, JsonFormat};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::connector::Rows;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ObjectFormat {
    /// A Parquet file.
    #[default]
    Parquet,
    /// A line of JSON for each record.
    JsonLines,
}

/// How Parquet is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Compression {
    #[default]
    Zstd,
    Snappy,
    None,
}

impl From<Compression> for ParquetCompression {
    fn from(compression: Compression) -> ParquetCompression {
        match compression {
            Compression::Zstd => ParquetCompression::Zstd,
            Compression::Snappy => ParquetCompression::Snappy,
            Compression::None => ParquetCompression::None,
        }
    }
}

/// Where the objects of one topic are.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) prefix: String,
    pub(super) connector: String,
    pub(super) topic: String,
    pub(super) format: ObjectFormat,
}

impl Layout {
    /// The object with a partition's records from an offset on.
    pub(super) fn data(&self, partition: i32, start_offset: i64) -> String {
        let suffix = match self.format {
            ObjectFormat::Parquet => "parquet",
            ObjectFormat::JsonLines => "jsonl",
        };
        let topic = safe(&self.topic);
        self.under(&format!("{topic}/partition={partition}/{topic}+{partition}+{start_offset:020}.{suffix}"))
    }

    /// The object that says how far the others go.
    pub(super) fn offsets(&self) -> String {
        self.under(&format!("_ottla/{}/{}.json", safe(&self.connector), safe(&self.topic)))
    }

    fn under(&self, key: &str) -> String {
        if self.prefix.is_empty() { key.to_owned() } else { format!("{}/{key}", self.prefix) }
    }
}

/// A name as one part of a key: a connector may be called anything.
fn safe(name: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    let safe: String = name.bytes().map(byte).collect();
    // These would lead to another folder.
    if safe.chars().all(|c| c == '.') { safe.replace('.', "%2E") } else { safe }
}

/// The bytes of an object with these rows.
pub(super) fn encode(
    format: ObjectFormat,
    compression: Compression,
    schema: Option<&SchemaRef>,
    rows: Vec<Rows>,
) -> Result<Bytes, FormatError> {
    match (format, schema) {
        (ObjectFormat::Parquet, Some(schema)) => {
            let arrow = |rows| match rows {
                Rows::Arrow(batch) => Some(batch),
                Rows::Raw(_) => None,
            };
            let batches: Vec<RecordBatch> = rows.into_iter().filter_map(arrow).collect();
            write_parquet(schema, &batches, compression.into())
        }
        _ => {
            let mut out = Vec::new();
            for rows in rows {
                let values = match rows {
                    Rows::Arrow(batch) => JsonFormat.encode(&batch)?,
                    Rows::Raw(values) => values,
                };
                for value in values {
                    // Between the tokens of JSON a line may end; in its texts it cannot.
                    out.extend(
                        value.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }),
                    );
                    out.push(b'\n');
                }
            }
            Ok(Bytes::from(out))
        }
    }
}
