//! Schemas as texts: of which type, whether they are valid, and when two are the same.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::json_schema::{self, JsonSchema};
use crate::avro::{self, AvroSchema};

/// The longest schema text, in bytes: it must fit into a record of a topic with Kafka's default limits.
pub const TEXT_BYTES_MAX: usize = 900_000;

/// The types that this registry serves, by their words.
pub const TYPES: [&str; 2] = ["JSON", "AVRO"];

/// The type of a schema that does not name one.
pub const AVRO: &str = "AVRO";

/// A schema that was read.
#[derive(Debug, Clone, PartialEq)]
pub enum ParsedSchema {
    Avro(AvroSchema),
    Json(JsonSchema),
}

impl ParsedSchema {
    /// Reads a text of a type; `references` are the schemas that it refers to, by name, each after those that it refers to
    /// itself.
    ///
    /// # Errors
    /// A sentence with what is wrong.
    pub fn parse(schema_type: &str, text: &str, references: &[(&str, &str)]) -> Result<ParsedSchema, String> {
        if text.trim().is_empty() {
            return Err("the schema is empty".to_owned());
        }
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("the schema has {} bytes, more than {TEXT_BYTES_MAX}", text.len()));
        }
        match schema_type {
            AVRO => {
                let others: Vec<&str> = references.iter().map(|(_, text)| *text).collect();
                let parsed = AvroSchema::parse_with(text, &others).map_err(|error| error.0)?;
                Ok(ParsedSchema::Avro(parsed))
            }
            "JSON" => Ok(ParsedSchema::Json(JsonSchema::parse(text, references)?)),
            other => {
                Err(format!("schema type {other} is not served here; the types are {}", TYPES.join(" and ")))
            }
        }
    }

    /// What keeps this schema from reading what the other wrote; nothing where it can.
    #[must_use]
    pub fn unread(&self, writer: &ParsedSchema, reader_word: &str, writer_word: &str) -> Vec<String> {
        match (self, writer) {
            (Self::Avro(reader), Self::Avro(writer)) => {
                avro::incompatibilities(reader, writer, reader_word, writer_word)
            }
            (Self::Json(reader), Self::Json(writer)) => {
                json_schema::incompatibilities(reader, writer, reader_word, writer_word)
            }
            _ => vec!["Incompatible because of different schema type".to_owned()],
        }
    }
}

/// The text without space between its tokens, as it is kept. What is not JSON stays as it is.
#[must_use]
pub fn minified(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut is_quoted, mut is_escaped) = (false, false);
    for c in text.trim().chars() {
        if is_quoted {
            is_quoted = is_escaped || c != '"';
            is_escaped = !is_escaped && c == '\\';
        } else if matches!(c, ' ' | '\t' | '\n' | '\r') {
            continue;
        } else {
            is_quoted = c == '"';
        }
        out.push(c);
    }
    // A primitive Avro type may come as a bare word.
    let is_word =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if serde_json::from_str::<serde::de::IgnoredAny>(&out).is_err() && is_word(&out) {
        return format!("\"{out}\"");
    }
    out
}

/// A text that is the same for two schemas exactly when they are the same one: neither space nor the order of attributes
/// counts, and for Avro neither does the long form of a primitive type.
#[must_use]
pub fn identity(schema_type: &str, text: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(&minified(text)) else { return text.to_owned() };
    match schema_type {
        // `Value` keeps attributes sorted by name.
        AVRO => shortened(&value).to_string(),
        _ => value.to_string(),
    }
}

/// What `normalize` makes of a valid text: attributes in order, and for Avro full names in place of namespaces.
#[must_use]
pub fn normalized(schema_type: &str, text: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(&minified(text)) else { return text.to_owned() };
    match schema_type {
        AVRO => with_full_names(&shortened(&value), "", &mut BTreeSet::new()).to_string(),
        _ => value.to_string(),
    }
}

/// `{"type": "string"}` as `"string"`.
fn shortened(value: &Value) -> Value {
    match value {
        Value::Object(object) => match (object.len(), object.get("type")) {
            (1, Some(inner @ Value::String(_))) => inner.clone(),
            _ => {
                let short = |(word, value): (&String, &Value)| {
                    // A default is a value, not a schema.
                    let value = if word == "default" { value.clone() } else { shortened(value) };
                    (word.clone(), value)
                };
                Value::Object(object.iter().map(short).collect())
            }
        },
        Value::Array(values) => Value::Array(values.iter().map(shortened).collect()),
        other => other.clone(),
    }
}

fn with_full_names(value: &Value, namespace: &str, known: &mut BTreeSet<String>) -> Value {
    let full = |name: &str, namespace: &str| match name.contains('.') || namespace.is_empty() {
        true => name.to_owned(),
        false => format!("{namespace}.{name}"),
    };
    match value {
        Value::String(word) => {
            let named = full(word, namespace);
            Value::String(if known.contains(&named) { named } else { word.clone() })
        }
        Value::Array(branches) => {
            Value::Array(branches.iter().map(|branch| with_full_names(branch, namespace, known)).collect())
        }
        Value::Object(object) => {
            let mut out = object.clone();
            let mut inner = namespace.to_owned();
            if let Some(name) = object.get("name").and_then(Value::as_str) {
                let own = object.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
                let name = full(name, own);
                inner = name.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_owned();
                known.insert(name.clone());
                out.insert("name".to_owned(), Value::String(name));
                out.remove("namespace");
            }
            for word in ["type", "items", "values"] {
                if let Some(value) = object.get(word) {
                    out.insert(word.to_owned(), with_full_names(value, &inner, known));
                }
            }
            if let Some(Value::Array(fields)) = object.get("fields") {
                let field = |field: &Value| {
                    let mut out: Map<String, Value> = field.as_object().cloned().unwrap_or_default();
                    if let Some(value) = field.get("type") {
                        out.insert("type".to_owned(), with_full_names(value, &inner, known));
                    }
                    Value::Object(out)
                };
                out.insert("fields".to_owned(), Value::Array(fields.iter().map(field).collect()));
            }
            Value::Object(out)
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_order_and_long_forms_do_not_make_another_schema() {
        let one =
            r#"{"type": "record", "name": "R", "fields": [{"name": "a b", "type": {"type": "string"}}]}"#;
        let two = r#"{"name":"R","fields":[{"type":"string","name":"a b"}],"type":"record"}"#;
        assert_eq!(identity(AVRO, one), identity(AVRO, two));
        assert_ne!(identity(AVRO, one), identity(AVRO, &two.replace("a b", "ab")));
        assert_eq!(identity(AVRO, "string"), identity(AVRO, r#" {"type": "string"} "#));
        assert!(minified(one).contains(r#""name":"a b""#));
        assert_eq!(minified(r#" { "a\" " : 1 } "#), r#"{"a\" ":1}"#);
    }

    #[test]
    fn normalizing_gives_full_names() {
        let one =
            r#"{"type":"record","namespace":"n","name":"R","fields":[{"name":"next","type":["null","R"]}]}"#;
        let two = r#"{"fields":[{"name":"next","type":["null","n.R"]}],"type":"record","name":"n.R"}"#;
        assert_eq!(normalized(AVRO, one), normalized(AVRO, two));
        assert!(ParsedSchema::parse(AVRO, &normalized(AVRO, one), &[]).is_ok());
    }
}
