//! JSON: one object per record, its fields matched to columns by name.
//!
//! Reading: a field that the schema does not name is skipped, a missing one is null; anything that does not fit its
//! column's type makes the record bad (`"5"` is no int, `2.5` is no int, a field twice is an error). Writing: every
//! column in the schema's order, nulls written out. Timestamps and dates are ISO-8601 text (a number in a timestamp
//! column is read as milliseconds, as Kafka Connect writes them), decimals are text, bytes base64; a double that is
//! not a number or infinite becomes null, since JSON has no word for it.

mod decode;
mod encode;
mod lines;
mod scan;
#[cfg(test)]
mod tests;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;

use crate::{Decoded, Format, FormatError};

pub use lines::JsonLinesReader;

/// The JSON format; it has no options.
#[derive(Debug, Clone, Copy, Default)]
pub struct JsonFormat;

impl Format for JsonFormat {
    fn name(&self) -> &'static str {
        "json"
    }

    fn decode(&self, payloads: &[&[u8]], schema: &SchemaRef) -> Result<Decoded, FormatError> {
        decode::decode(payloads, schema)
    }

    fn encode(&self, batch: &RecordBatch) -> Result<Vec<Bytes>, FormatError> {
        encode::encode(batch)
    }
}
