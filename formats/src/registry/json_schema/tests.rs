//! What is judged compatible is held against a small validator: no value that the writer accepts may be refused.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn said(reader: &Value, writer: &Value) -> Vec<String> {
    let parse = |schema: &Value| JsonSchema::parse(&schema.to_string(), &[]).unwrap();
    incompatibilities(&parse(reader), &parse(writer), "new", "old")
}

/// A validator of what the generated schemas use.
fn accepts(root: &Value, schema: &Value, value: &Value) -> bool {
    let Value::Object(schema) = schema else { return schema == &Value::Bool(true) };
    let each = |word: &str| schema.get(word).and_then(Value::as_array).cloned().unwrap_or_default();
    if let Some(Value::String(reference)) = schema.get("$ref")
        && !accepts(root, root.pointer(&reference[1..]).unwrap(), value)
    {
        return false;
    }
    let is_type = |word: &str| match word {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        _ => value.as_f64().is_some_and(|number| number.fract() == 0.0),
    };
    let typed = match schema.get("type") {
        Some(Value::String(word)) => is_type(word),
        Some(Value::Array(words)) => words.iter().any(|word| is_type(word.as_str().unwrap())),
        _ => true,
    };
    let number = |word: &str| schema.get(word).and_then(Value::as_f64);
    let in_range = value.as_f64().is_none_or(|value| {
        number("minimum").is_none_or(|bound| value >= bound)
            && number("exclusiveMaximum").is_none_or(|bound| value < bound)
            && number("multipleOf").is_none_or(|step| (value / step).fract() == 0.0)
    });
    let length = |value: Option<usize>, word: &str| {
        value.is_none_or(|n| number(word).is_none_or(|most| n as f64 <= most))
    };
    let sized = length(value.as_str().map(str::len), "maxLength")
        && length(value.as_array().map(Vec::len), "maxItems");
    let properties = value.as_object().is_none_or(|object| {
        let named = schema.get("properties").and_then(Value::as_object);
        let rest = schema.get("additionalProperties").unwrap_or(&Value::Bool(true));
        let fits = |(name, value): (&String, &Value)| {
            accepts(root, named.and_then(|named| named.get(name)).unwrap_or(rest), value)
        };
        object.iter().all(fits)
            && each("required").iter().all(|name| object.contains_key(name.as_str().unwrap()))
    });
    let items = value.as_array().is_none_or(|values| {
        values.iter().all(|value| accepts(root, schema.get("items").unwrap_or(&Value::Bool(true)), value))
    });
    typed
        && in_range
        && sized
        && properties
        && items
        && schema.get("enum").is_none_or(|_| each("enum").contains(value))
        && each("allOf").iter().all(|part| accepts(root, part, value))
        && (each("anyOf").is_empty() || each("anyOf").iter().any(|part| accepts(root, part, value)))
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i32..6).prop_map(Value::from),
        (-4i32..8).prop_map(|half| json!(f64::from(half) / 2.0)),
        "[ab]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[abc]", inner, 0..4).prop_map(|object| json!(object)),
        ]
    })
}

fn any_schema() -> impl Strategy<Value = Value> {
    let word =
        prop::sample::select(vec!["null", "boolean", "object", "array", "number", "integer", "string"]);
    let leaf = prop_oneof![
        Just(json!(true)),
        Just(json!({"$ref": "#/definitions/d"})),
        word.clone().prop_map(|word| json!({"type": word})),
        prop::collection::vec(word, 1..3).prop_map(|words| json!({"type": words})),
        (-2i32..3).prop_map(|least| json!({"type": "number", "minimum": least})),
        (-2i32..4).prop_map(|most| json!({"type": "integer", "exclusiveMaximum": most})),
        (1i32..4).prop_map(|step| json!({"multipleOf": step})),
        (0u32..3).prop_map(|most| json!({"type": "string", "maxLength": most})),
        prop::collection::vec(-1i32..3, 1..3).prop_map(|values| json!({"enum": values})),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        let properties = prop::collection::btree_map("[abc]", inner.clone(), 0..3);
        let rest = prop_oneof![Just(json!(true)), Just(json!(false)), inner.clone()];
        let required = prop::collection::btree_set("[abc]", 0..2);
        prop_oneof![
            (properties, rest, required).prop_map(|(properties, rest, required)| {
                json!({"type": "object", "properties": properties, "additionalProperties": rest, "required": required})
            }),
            (inner.clone(), 0u32..3).prop_map(|(items, most)| json!({"type": "array", "items": items, "maxItems": most})),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|parts| json!({"anyOf": parts})),
            (prop::collection::vec(inner.clone(), 1..3), inner.clone()).prop_map(|(parts, more)| {
                let mut schema = json!({"anyOf": parts});
                if let (Some(schema), Value::Object(more)) = (schema.as_object_mut(), more) {
                    schema.extend(more);
                }
                schema
            }),
            prop::collection::vec(inner, 1..3).prop_map(|parts| json!({"allOf": parts})),
        ]
    })
}

/// A schema with a definition that `$ref`s lead to, which may lead to itself.
fn any_document() -> impl Strategy<Value = Value> {
    (any_schema(), any_schema()).prop_map(|(schema, definition)| {
        // A definition that is nothing but itself says nothing.
        let definition = if definition.get("$ref").is_some() {
            json!({"type": "null"})
        } else {
            json!({"type": "array", "items": definition})
        };
        match schema {
            Value::Object(mut schema) => {
                schema.insert("definitions".to_owned(), json!({"d": definition}));
                Value::Object(schema)
            }
            other => other,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn no_value_of_the_writer_is_refused_by_a_compatible_reader(
        reader in any_document(),
        writer in any_document(),
        values in prop::collection::vec(any_value(), 25),
    ) {
        if said(&reader, &writer).is_empty() {
            for value in values {
                if accepts(&writer, &writer, &value) {
                    prop_assert!(accepts(&reader, &reader, &value), "{value} by {reader} of {writer}");
                }
            }
        }
    }

    #[test]
    fn every_schema_accepts_what_it_accepts(schema in any_schema()) {
        let document = json!({"allOf": [schema], "definitions": {"d": {"type": "null"}}});
        prop_assert_eq!(said(&document, &document), Vec::<String>::new());
    }
}

#[test]
fn properties_may_come_where_no_others_were_allowed() {
    let closed = |properties: Value| json!({"type": "object", "properties": properties, "additionalProperties": false});
    let one = closed(json!({"a": {"type": "integer"}}));
    let two = closed(json!({"a": {"type": "number"}, "b": {"type": "string"}}));
    assert_eq!(said(&two, &one), Vec::<String>::new());
    let why = said(&one, &two).join("\n");
    assert!(why.contains("TYPE_NARROWED") && why.contains("#/properties/b"), "{why}");
    // Somebody may have written anything as b.
    let open = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
    let open_two =
        json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}});
    assert!(!said(&open_two, &open).is_empty());
    assert_eq!(said(&open, &open_two), Vec::<String>::new());
}

#[test]
fn a_property_may_become_required_when_it_has_a_default() {
    let schema =
        |required: &[&str], b: Value| json!({"type": "object", "properties": {"b": b}, "required": required});
    let plain = json!({"type": "string"});
    let why = said(&schema(&["b"], plain.clone()), &schema(&[], plain.clone())).join("\n");
    assert!(why.contains("REQUIRED_ATTRIBUTE_ADDED"), "{why}");
    let defaulted = json!({"type": "string", "default": ""});
    assert_eq!(said(&schema(&["b"], defaulted), &schema(&[], plain)), Vec::<String>::new());
}

#[test]
fn recursive_schemas_are_compared_and_what_is_not_judged_is_said() {
    let tree = |value: &str| {
        json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {
            "value": {"type": value}, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}}})
    };
    assert_eq!(said(&tree("number"), &tree("integer")), Vec::<String>::new());
    assert!(!said(&tree("integer"), &tree("number")).is_empty());
    let why = said(&json!({"not": {"type": "string"}}), &json!({"type": "integer"})).join("");
    assert!(why.contains("NOT_JUDGED"), "{why}");
}

#[test]
fn says_where_a_text_is_no_schema() {
    for (text, expected) in [
        ("[1]", "#: a schema is"),
        (r#"{"type":"strng"}"#, "#/type: expected a type"),
        (r#"{"properties":{"a":{"minLength":-1}}}"#, "#/properties/a/minLength"),
        (r##"{"$ref":"#/definitions/x"}"##, "leads nowhere"),
        ("{", "not JSON"),
    ] {
        let error = JsonSchema::parse(text, &[]).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}
