//! Avro: schemas, whether one reads what another wrote, and values as rows.
//!
//! | file | owns |
//! |---|---|
//! | `schema.rs` | what a schema's JSON means |
//! | `compatibility.rs` | whether one schema reads what another wrote |
//! | `read.rs`, `plan.rs` | values to cells of columns |
//! | `write.rs` | rows to values, and the schema of a batch |
//! | `format.rs` | the format, with a given schema or a registry |

mod compatibility;
mod format;
mod plan;
mod read;
mod schema;
mod write;

#[cfg(test)]
mod tests;

pub use compatibility::{incompatibilities, written_field};
pub use format::AvroFormat;
pub use schema::{AvroSchema, AvroSchemaError, Kind, Logical, Name, Node, NodeId, RecordField, type_word};
