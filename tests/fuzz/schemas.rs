//! Schemas that clients send to the registry, and what its topic holds.

use ottla_formats::registry::{ParsedSchema, SchemaRecord};

/// The first byte says what the others are; a zero byte parts two texts.
pub fn schemas(bytes: &[u8]) {
    let [kind, rest @ ..] = bytes else { return };
    let (first, last) = rest.split_at(rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len()));
    let last = last.get(1..).unwrap_or_default();
    if kind % 3 == 2 {
        if let Ok(Some(record)) = SchemaRecord::read(first, Some(last)) {
            let again = SchemaRecord::read(&record.key(), record.value().as_deref());
            // Without its value a key may say nothing.
            assert!(record.value().is_none() || again == Ok(Some(record)));
        }
        return;
    }
    let schema_type = if kind % 3 == 0 { "AVRO" } else { "JSON" };
    let parse = |text: &[u8]| ParsedSchema::parse(schema_type, std::str::from_utf8(text).ok()?, &[]).ok();
    let Some(schema) = parse(first) else { return };
    // Every schema reads itself, or it is said why that is not judged.
    let unread = schema.unread(&schema, "new", "old");
    assert!(unread.iter().all(|message| message.contains("NOT_JUDGED")) || kind % 3 == 1, "{unread:?}");
    if let Some(other) = parse(last) {
        let _ = schema.unread(&other, "new", "old");
    }
}
