//! Schemas that clients send to the registry, what its topic holds, and Avro values.

use std::sync::Arc;

use ottla_formats::avro::AvroSchema;
use ottla_formats::registry::{ParsedSchema, SchemaRecord};
use ottla_formats::{AvroFormat, Format as _, schema_of};

/// The first byte says what the others are; a zero byte parts two texts.
pub fn schemas(bytes: &[u8]) {
    let [kind, rest @ ..] = bytes else { return };
    let (first, last) = rest.split_at(rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len()));
    let last = last.get(1..).unwrap_or_default();
    if kind % 4 == 3 {
        let schema = std::str::from_utf8(first).ok().and_then(|text| AvroSchema::parse(text).ok());
        if let Some(schema) = schema {
            let columns = schema_of([("a", "int?"), ("b", "string?"), ("c", "decimal(9,2)?"), ("d", "timestamp?")]);
            let format = AvroFormat::with_schema(Arc::new(schema));
            let decoded = format.decode(&[last], &columns.expect("these are types")).expect("Avro holds them");
            assert_eq!(decoded.rows.len() + decoded.bad.len(), 1);
        }
        return;
    }
    if kind % 4 == 2 {
        if let Ok(Some(record)) = SchemaRecord::read(first, Some(last)) {
            let again = SchemaRecord::read(&record.key(), record.value().as_deref());
            // Without its value a key may say nothing.
            assert!(record.value().is_none() || again == Ok(Some(record)));
        }
        return;
    }
    let schema_type = if kind % 4 == 0 { "AVRO" } else { "JSON" };
    let parse = |text: &[u8]| ParsedSchema::parse(schema_type, std::str::from_utf8(text).ok()?, &[]).ok();
    let Some(schema) = parse(first) else { return };
    // Every schema reads itself, or it is said why that is not judged.
    let unread = schema.unread(&schema, "new", "old");
    assert!(unread.iter().all(|message| message.contains("NOT_JUDGED")) || kind % 4 == 1, "{unread:?}");
    if let Some(other) = parse(last) {
        let _ = schema.unread(&other, "new", "old");
    }
}
