//! JSON Schema as a registry needs it: whether a text is one, and whether one accepts all that another accepts.
//!
//! *Accepts all* is shown keyword by keyword. Where it cannot be shown the answer is no, with a sentence that says so: a
//! registry that guesses loses data. Two things are lenient, as in Confluent's registry: a property that became required
//! passes when it has a `default`, and of the branches of `oneOf` one that accepts is enough.

mod includes;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

pub use includes::incompatibilities;

/// A JSON Schema, and those that it refers to by name.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonSchema {
    root: Value,
    others: BTreeMap<String, Value>,
    /// Length of its texts.
    bytes: usize,
}

impl JsonSchema {
    /// Reads a schema; `others` are the texts of schemas that it may name in `$ref`.
    ///
    /// # Errors
    /// A sentence with what is wrong and where.
    pub fn parse(text: &str, others: &[(&str, &str)]) -> Result<JsonSchema, String> {
        let root: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        let mut named = BTreeMap::new();
        for (name, text) in others {
            let value =
                serde_json::from_str(text).map_err(|error| format!("reference {name}: not JSON: {error}"))?;
            named.insert((*name).to_owned(), value);
        }
        let bytes = text.len() + others.iter().map(|(_, text)| text.len()).sum::<usize>();
        let schema = JsonSchema { root, others: named, bytes };
        check_schema(&schema.root, "#")?;
        check_references(&schema, &schema.root)?;
        Ok(schema)
    }

    /// What a `$ref` names: a place in this document, or another document and a place in it.
    fn resolve<'a>(&'a self, reference: &str) -> Option<&'a Value> {
        let (document, pointer) = reference.split_once('#').unwrap_or((reference, ""));
        let id = self.root.get("$id").or_else(|| self.root.get("id")).and_then(Value::as_str);
        let document = match document {
            "" => &self.root,
            name if id.is_some_and(|id| id.trim_end_matches('#') == name) => &self.root,
            // What is local to another document cannot be told from what is local to this one, so it is not followed.
            name => self.others.get(name).filter(|other| !has_local_reference(other))?,
        };
        match pointer.is_empty() || pointer.starts_with('/') {
            true => document.pointer(&pointer.replace("%25", "%")),
            false => None,
        }
    }
}

fn has_local_reference(value: &Value) -> bool {
    match value {
        Value::Object(object) => {
            object.get("$ref").and_then(Value::as_str).is_some_and(|reference| reference.starts_with('#'))
                || object.values().any(has_local_reference)
        }
        Value::Array(values) => values.iter().any(has_local_reference),
        _ => false,
    }
}

const TYPES: [&str; 7] = ["null", "boolean", "object", "array", "number", "integer", "string"];

/// Keywords whose value is a schema, a list of schemas, or schemas by name.
const OF_ONE: [&str; 12] = [
    "additionalProperties",
    "additionalItems",
    "unevaluatedProperties",
    "unevaluatedItems",
    "propertyNames",
    "contains",
    "not",
    "if",
    "then",
    "else",
    "contentSchema",
    "items",
];
const OF_LISTS: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
const BY_NAME: [&str; 5] = ["properties", "patternProperties", "definitions", "$defs", "dependentSchemas"];
const COUNTS: [&str; 8] = [
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "minContains",
    "maxContains",
];

fn check_schema(value: &Value, place: &str) -> Result<(), String> {
    let Value::Object(schema) = value else {
        return match value {
            Value::Bool(_) => Ok(()),
            other => Err(format!("{place}: a schema is an object, true or false, not {other}")),
        };
    };
    for (keyword, value) in schema {
        let wrong = |expected: &str| Err(format!("{place}/{keyword}: expected {expected}, found {value}"));
        match keyword.as_str() {
            "type" => {
                let known = |value: &Value| value.as_str().is_some_and(|word| TYPES.contains(&word));
                let fits = match value {
                    Value::Array(words) => !words.is_empty() && words.iter().all(known),
                    word => known(word),
                };
                if !fits {
                    return wrong("a type or a list of types");
                }
            }
            "enum" if !value.is_array() => return wrong("a list of values"),
            "required" => {
                let names = value.as_array().map(|names| names.iter().all(Value::is_string));
                // Draft 3 had a boolean here.
                if names != Some(true) && !value.is_boolean() {
                    return wrong("a list of names");
                }
            }
            "pattern" | "$ref" | "format" if !value.is_string() => return wrong("text"),
            "minimum" | "maximum" if !value.is_number() => return wrong("a number"),
            "exclusiveMinimum" | "exclusiveMaximum" if !value.is_number() && !value.is_boolean() => {
                return wrong("a number");
            }
            "multipleOf" if !value.as_f64().is_some_and(|number| number > 0.0) => {
                return wrong("a number above 0");
            }
            "items" if value.is_array() => check_list(value, &format!("{place}/items"))?,
            word if COUNTS.contains(&word)
                && !value.as_f64().is_some_and(|n| n >= 0.0 && n.fract() == 0.0) =>
            {
                return wrong("a whole number");
            }
            word if OF_ONE.contains(&word) => check_schema(value, &format!("{place}/{word}"))?,
            word if OF_LISTS.contains(&word) => {
                if value.as_array().is_none_or(Vec::is_empty) {
                    return wrong("a list of schemas");
                }
                check_list(value, &format!("{place}/{word}"))?;
            }
            word if BY_NAME.contains(&word) => {
                let Value::Object(named) = value else { return wrong("an object of schemas") };
                for (name, value) in named {
                    check_schema(value, &format!("{place}/{word}/{name}"))?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_list(value: &Value, place: &str) -> Result<(), String> {
    let schemas = value.as_array().map(Vec::as_slice).unwrap_or_default();
    schemas.iter().enumerate().try_for_each(|(index, value)| check_schema(value, &format!("{place}/{index}")))
}

/// Every `$ref` into this document must lead somewhere; others may be found elsewhere by whoever uses the schema.
fn check_references(schema: &JsonSchema, value: &Value) -> Result<(), String> {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get("$ref")
                && (reference == "#" || reference.starts_with("#/"))
                && schema.resolve(reference).is_none()
            {
                return Err(format!("$ref \"{reference}\" leads nowhere"));
            }
            object.values().try_for_each(|value| check_references(schema, value))
        }
        Value::Array(values) => values.iter().try_for_each(|value| check_references(schema, value)),
        _ => Ok(()),
    }
}

/// Words that say something to people and nothing to a validator.
const ANNOTATIONS: [&str; 16] = [
    "$schema",
    "$id",
    "id",
    "$comment",
    "$anchor",
    "title",
    "description",
    "default",
    "examples",
    "format",
    "readOnly",
    "writeOnly",
    "deprecated",
    "definitions",
    "$defs",
    "javaType",
];

/// The schema without annotations.
fn assertions(schema: &Map<String, Value>) -> Map<String, Value> {
    let keep = |(word, _): &(&String, &Value)| {
        !ANNOTATIONS.contains(&word.as_str()) && !word.starts_with("connect.") && !word.starts_with("x-")
    };
    schema.iter().filter(keep).map(|(word, value)| (word.clone(), value.clone())).collect()
}
