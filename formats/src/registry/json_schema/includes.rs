//! Whether one schema (the reader's) accepts every value that another (the writer's) accepts.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{JsonSchema, assertions};

/// Comparisons after which a pair of schemas is called too tangled to judge, and bytes that all of them may look at.
const STEPS_MAX: usize = 20_000;
const BYTES_MAX: usize = 1 << 29;
const MESSAGES_MAX: usize = 100;
/// How deep in each other places may lie that are compared; beyond lie schemas that contain themselves on one side only.
const DEPTH_MAX: usize = 48;
/// How many `$ref`s may lead to each other.
const REFERENCES_MAX: usize = 32;

/// Keywords that are compared as a whole: the same on both sides, or not judged.
const WHOLE: [&str; 13] = [
    "not",
    "if",
    "then",
    "else",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "propertyNames",
    "patternProperties",
    "unevaluatedProperties",
    "unevaluatedItems",
    "contains",
    "$dynamicRef",
];

/// What the reader may refuse of what the writer accepts, a sentence each; nothing where it refuses nothing.
#[must_use]
pub fn incompatibilities(
    reader: &JsonSchema,
    writer: &JsonSchema,
    reader_word: &str,
    writer_word: &str,
) -> Vec<String> {
    let mut check = Check {
        reader,
        writer,
        reader_word,
        writer_word,
        open: BTreeSet::new(),
        messages: Vec::new(),
        steps: (BYTES_MAX / reader.bytes.max(writer.bytes).max(1)).min(STEPS_MAX),
        depth: 0,
        has_same_definitions: has_same_definitions(reader, writer),
    };
    if !check.includes(&reader.root, &writer.root, "#") && check.messages.is_empty() {
        check.say("NOT_JUDGED", "#", "it could not be shown that all values are accepted");
    }
    check.messages
}

struct Check<'a> {
    reader: &'a JsonSchema,
    writer: &'a JsonSchema,
    reader_word: &'a str,
    writer_word: &'a str,
    /// Pairs of `$ref`s that are being looked at: they are taken to fit meanwhile.
    open: BTreeSet<(String, String)>,
    messages: Vec<String>,
    /// Comparisons that are left.
    steps: usize,
    depth: usize,
    /// A `$ref` of one document leads to the same schema as in the other.
    has_same_definitions: bool,
}

impl Check<'_> {
    fn say(&mut self, rule: &str, path: &str, what: &str) -> bool {
        if self.messages.len() < MESSAGES_MAX {
            self.messages.push(format!(
                "{{errorType:'{rule}', description:'The {} schema at path '{path}' does not accept all that the {} schema accepts: {what}'}}",
                self.reader_word, self.writer_word
            ));
        }
        false
    }

    /// The same without leaving sentences.
    fn quietly(&mut self, test: impl FnOnce(&mut Self) -> bool) -> bool {
        let said = self.messages.len();
        let holds = test(self);
        self.messages.truncate(said);
        holds
    }

    fn includes(&mut self, reader: &Value, writer: &Value, path: &str) -> bool {
        self.steps = self.steps.saturating_sub(1);
        if self.steps == 0 || self.depth >= DEPTH_MAX {
            return self.say("NOT_JUDGED", path, "the schemas are too tangled to be compared");
        }
        self.depth += 1;
        let holds = self.includes_here(reader, writer, path);
        self.depth -= 1;
        holds
    }

    fn includes_here(&mut self, reader: &Value, writer: &Value, path: &str) -> bool {
        let (reader, writer) = match (reader, writer) {
            (Value::Bool(true), _) | (_, Value::Bool(false)) => return true,
            (Value::Bool(false), _) => return self.say("SCHEMA_REMOVED", path, "it accepts nothing"),
            (Value::Object(reader), Value::Object(writer)) => (assertions(reader), assertions(writer)),
            (Value::Object(reader), _) => (assertions(reader), Map::new()),
            _ => return self.say("NOT_JUDGED", path, "it is no schema"),
        };
        if reader.is_empty() || (reader == writer && (self.has_same_definitions || !has_reference(&reader))) {
            return true;
        }
        if reader.contains_key("$ref") || writer.contains_key("$ref") {
            return self.includes_referenced(reader, writer, path);
        }
        // What the writer accepts by one branch or the other must be accepted either way.
        for word in ["anyOf", "oneOf"] {
            if let Some(Value::Array(branches)) = writer.get(word) {
                return self.includes_branches(&reader, &writer, word, branches, path);
            }
        }
        if let Some(Value::Array(parts)) = writer.get("allOf") {
            return self.includes_all_of(&reader, &writer, parts, path);
        }
        self.includes_object(&reader, &writer, path)
    }

    fn includes_referenced(
        &mut self,
        mut reader: Map<String, Value>,
        mut writer: Map<String, Value>,
        path: &str,
    ) -> bool {
        let of = |schema: &Map<String, Value>| schema.get("$ref").and_then(Value::as_str).map(str::to_owned);
        let pair = (of(&reader).unwrap_or_default(), of(&writer).unwrap_or_default());
        let is_plain = |schema: &Map<String, Value>| !schema.contains_key("$ref") || schema.len() == 1;
        // A pair of places of the documents; what stands beside a $ref would make it another pair.
        let is_pair = !pair.0.is_empty() && !pair.1.is_empty() && is_plain(&reader) && is_plain(&writer);
        if is_pair && !self.open.insert(pair.clone()) {
            return true;
        }
        let (in_reader, in_writer) = (self.reader, self.writer);
        let both = match (follow(in_reader, &mut reader), follow(in_writer, &mut writer)) {
            (Some(reader), Some(writer)) => self.includes(&reader, &writer, path),
            // Both name the same document that nobody has given: it is the same one.
            (None, None) if pair.0 == pair.1 && is_pair => true,
            _ => self.say("NOT_JUDGED", path, "a $ref leads to a schema that is not known"),
        };
        if is_pair {
            self.open.remove(&pair);
        }
        both
    }

    fn includes_branches(
        &mut self,
        reader: &Map<String, Value>,
        writer: &Map<String, Value>,
        word: &str,
        branches: &[Value],
        path: &str,
    ) -> bool {
        let mut base = writer.clone();
        base.remove(word);
        if self.quietly(|check| check.includes_map(reader, &base, path)) {
            return true;
        }
        let mut holds = true;
        for branch in branches {
            let together = merged(&base, branch);
            holds &= self.includes(&Value::Object(reader.clone()), &together, path);
        }
        holds
    }

    fn includes_all_of(
        &mut self,
        reader: &Map<String, Value>,
        writer: &Map<String, Value>,
        parts: &[Value],
        path: &str,
    ) -> bool {
        let mut base = writer.clone();
        base.remove("allOf");
        // Each part alone accepts more than all together, so one that is included is enough.
        for part in parts {
            if self.quietly(|check| check.includes(&Value::Object(reader.clone()), part, path)) {
                return true;
            }
        }
        let all = parts.iter().fold(Value::Object(base), |all, part| match all {
            Value::Object(all) => merged(&all, part),
            other => other,
        });
        self.includes(&Value::Object(reader.clone()), &all, path)
    }

    fn includes_map(&mut self, reader: &Map<String, Value>, writer: &Map<String, Value>, path: &str) -> bool {
        self.includes(&Value::Object(reader.clone()), &Value::Object(writer.clone()), path)
    }

    /// The writer has neither references nor combinations any more.
    fn includes_object(
        &mut self,
        reader: &Map<String, Value>,
        writer: &Map<String, Value>,
        path: &str,
    ) -> bool {
        let mut reader = reader.clone();
        let mut holds = true;
        let writer_value = Value::Object(writer.clone());
        if let Some(Value::Array(parts)) = reader.remove("allOf") {
            for (index, part) in parts.iter().enumerate() {
                holds &= self.includes(part, &writer_value, &format!("{path}/allOf/{index}"));
            }
        }
        for word in ["anyOf", "oneOf"] {
            let Some(Value::Array(branches)) = reader.remove(word) else { continue };
            // Each type that the writer may write can be accepted by a branch of its own.
            let covered = by_type(writer).iter().all(|writer| {
                branches.iter().any(|branch| self.quietly(|check| check.includes(branch, writer, path)))
            });
            if !covered {
                let place = format!("{path}/{word}");
                holds = self.say("SUM_TYPE_NARROWED", &place, "none of the branches accepts all of it");
            }
        }
        for word in WHOLE {
            let Some(value) = reader.get(word) else { continue };
            let is_same =
                writer.get(word) == Some(value) && (self.has_same_definitions || !value_has_reference(value));
            if !is_same {
                let place = format!("{path}/{word}");
                holds = self.say("NOT_JUDGED", &place, "this keyword has changed, which is not judged");
            }
        }
        holds &= self.includes_values(&reader, writer, path);
        if types_of(writer).contains("object") {
            holds &= self.includes_properties(&reader, writer, path);
        }
        if types_of(writer).contains("array") {
            holds &= self.includes_items(&reader, writer, path);
        }
        holds
    }

    /// Types, enums, and bounds of numbers, text and sizes.
    fn includes_values(
        &mut self,
        reader: &Map<String, Value>,
        writer: &Map<String, Value>,
        path: &str,
    ) -> bool {
        let mut holds = true;
        let (accepted, written) = (types_of(reader), types_of(writer));
        let is_accepted =
            |word: &&str| accepted.contains(word) || (*word == "integer" && accepted.contains("number"));
        if let Some(missing) = written.iter().find(|word| !is_accepted(word)) {
            holds = self.say("TYPE_NARROWED", &format!("{path}/type"), &format!("type {missing}"));
        }
        if let Some(accepted) = values_of(reader) {
            let covered = values_of(writer)
                .is_some_and(|written| written.iter().all(|value| accepted.iter().any(|it| same(it, value))));
            if !covered {
                holds = self.say("ENUM_ARRAY_NARROWED", &format!("{path}/enum"), "values are missing");
            }
        }
        let is_number = written.contains("number") || written.contains("integer");
        for is_lower in [true, false] {
            let Some(bound) = limit(reader, is_lower).filter(|_| is_number) else { continue };
            let within = limit(writer, is_lower).is_some_and(|inner| {
                let (near, far) = if is_lower { (inner.0, bound.0) } else { (bound.0, inner.0) };
                near > far || (near == far && (inner.1 || !bound.1))
            });
            if !within {
                let word = if is_lower { "minimum" } else { "maximum" };
                holds = self.say("RANGE_NARROWED", &format!("{path}/{word}"), "numbers beyond the bound");
            }
        }
        if let (Some(step), true) = (reader.get("multipleOf").and_then(Value::as_f64), is_number) {
            let fits = writer.get("multipleOf").and_then(Value::as_f64);
            if !fits.is_some_and(|inner| (inner / step).fract() == 0.0) {
                holds = self.say("MULTIPLE_OF_CHANGED", &format!("{path}/multipleOf"), "other numbers");
            }
        }
        for (kind, least, most) in [
            ("string", "minLength", "maxLength"),
            ("array", "minItems", "maxItems"),
            ("object", "minProperties", "maxProperties"),
        ] {
            if !written.contains(kind) {
                continue;
            }
            let count = |schema: &Map<String, Value>, word| schema.get(word).and_then(Value::as_f64);
            let required = writer
                .get("required")
                .and_then(Value::as_array)
                .map_or(0.0, |names| if kind == "object" { names.len() as f64 } else { 0.0 });
            if count(reader, least)
                .is_some_and(|bound| count(writer, least).unwrap_or(0.0).max(required) < bound)
            {
                holds = self.say("SIZE_NARROWED", &format!("{path}/{least}"), "smaller values");
            }
            if count(reader, most).is_some_and(|bound| count(writer, most).is_none_or(|inner| inner > bound))
            {
                holds = self.say("SIZE_NARROWED", &format!("{path}/{most}"), "larger values");
            }
        }
        if written.contains("string")
            && reader.contains_key("pattern")
            && reader.get("pattern") != writer.get("pattern")
        {
            holds = self.say("PATTERN_CHANGED", &format!("{path}/pattern"), "text of another pattern");
        }
        holds
    }

    fn includes_properties(
        &mut self,
        reader: &Map<String, Value>,
        writer: &Map<String, Value>,
        path: &str,
    ) -> bool {
        let mut holds = true;
        let named = |schema: &Map<String, Value>| -> BTreeMap<String, Value> {
            let properties = schema.get("properties").and_then(Value::as_object);
            properties.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        let (accepted, written) = (named(reader), named(writer));
        let has_patterns =
            reader.contains_key("patternProperties") || writer.contains_key("patternProperties");
        let rest = |schema: &Map<String, Value>| {
            schema.get("additionalProperties").cloned().unwrap_or(Value::Bool(true))
        };
        let (reader_rest, writer_rest) = (rest(reader), rest(writer));
        let names: BTreeSet<&String> = accepted.keys().chain(written.keys()).collect();
        for name in names {
            let path = format!("{path}/properties/{name}");
            let (inner, outer) = (written.get(name), accepted.get(name));
            if has_patterns && (inner.is_none() || outer.is_none()) {
                holds = self.say("NOT_JUDGED", &path, "a pattern may name this property too");
                continue;
            }
            holds &= self.includes(outer.unwrap_or(&reader_rest), inner.unwrap_or(&writer_rest), &path);
        }
        holds &= self.includes(&reader_rest, &writer_rest, &format!("{path}/additionalProperties"));
        let required = |schema: &Map<String, Value>| -> BTreeSet<String> {
            let names = schema.get("required").and_then(Value::as_array);
            names.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        for name in required(reader).difference(&required(writer)) {
            if accepted.get(name).is_none_or(|schema| schema.get("default").is_none()) {
                let place = format!("{path}/required");
                holds = self.say(
                    "REQUIRED_ATTRIBUTE_ADDED",
                    &place,
                    &format!("objects without {name}, which has no default"),
                );
            }
        }
        holds
    }

    fn includes_items(
        &mut self,
        reader: &Map<String, Value>,
        writer: &Map<String, Value>,
        path: &str,
    ) -> bool {
        let mut holds = true;
        let is_unique = |schema: &Map<String, Value>| schema.get("uniqueItems") == Some(&Value::Bool(true));
        if is_unique(reader) && !is_unique(writer) {
            holds = self.say("UNIQUE_ITEMS_ADDED", &format!("{path}/uniqueItems"), "equal items");
        }
        let ((outer, outer_rest), (inner, inner_rest)) = (items_of(reader), items_of(writer));
        for index in 0..outer.len().max(inner.len()) {
            let path = format!("{path}/items/{index}");
            let accepted = outer.get(index).unwrap_or(&outer_rest);
            holds &= self.includes(accepted, inner.get(index).unwrap_or(&inner_rest), &path);
        }
        self.includes(&outer_rest, &inner_rest, &format!("{path}/items")) && holds
    }
}

/// What a `$ref` and its neighbours stand for together; nothing where it leads nowhere.
fn follow(document: &JsonSchema, schema: &mut Map<String, Value>) -> Option<Value> {
    for _ in 0..REFERENCES_MAX {
        let Some(Value::String(reference)) = schema.remove("$ref") else {
            return Some(Value::Object(std::mem::take(schema)));
        };
        let target = document.resolve(&reference)?;
        match (merged(schema, target), schema.is_empty()) {
            (Value::Object(together), _) => *schema = assertions(&together),
            (other, true) => return Some(other),
            (_, false) => return None,
        }
    }
    None
}

/// Two schemas that must both hold, as one. Where their keywords clash, the one that says more stands alone: it accepts more
/// than both together, so what is shown of it is true of both.
fn merged(base: &Map<String, Value>, other: &Value) -> Value {
    let Value::Object(other) = other else {
        return match other {
            Value::Bool(false) => Value::Bool(false),
            _ => Value::Object(base.clone()),
        };
    };
    let other = assertions(other);
    // These say something only together with their neighbours, so they stay with them.
    let tied =
        ["properties", "patternProperties", "additionalProperties", "items", "prefixItems", "$ref", "if"];
    let has_tied = |schema: &Map<String, Value>| tied.iter().any(|word| schema.contains_key(*word));
    let differ = other.iter().any(|(word, value)| base.get(word).is_some_and(|found| found != value));
    if differ || (has_tied(base) && has_tied(&other)) {
        return Value::Object(if base.len() > other.len() { base.clone() } else { other });
    }
    let mut together = base.clone();
    together.extend(other);
    Value::Object(together)
}

/// Whether all `$ref`s lead into definitions that are the same in both documents.
fn has_same_definitions(reader: &JsonSchema, writer: &JsonSchema) -> bool {
    let is_into = |reference: &str| {
        ["#/definitions/", "#/$defs/"].iter().any(|place| reference.starts_with(place))
            || reader.others.contains_key(reference.split('#').next().unwrap_or_default())
    };
    fn all(value: &Value, test: &impl Fn(&str) -> bool) -> bool {
        match value {
            Value::Object(object) => {
                object.get("$ref").is_none_or(|reference| reference.as_str().is_some_and(test))
                    && object.values().all(|value| all(value, test))
            }
            Value::Array(values) => values.iter().all(|value| all(value, test)),
            _ => true,
        }
    }
    let same = |word: &str| reader.root.get(word) == writer.root.get(word);
    let is_whole = reader.root == writer.root && reader.others == writer.others;
    is_whole
        || (same("definitions")
            && same("$defs")
            && same("$id")
            && reader.others == writer.others
            && all(&reader.root, &is_into)
            && all(&writer.root, &is_into)
            && reader.others.values().all(|other| all(other, &is_into)))
}

fn has_reference(schema: &Map<String, Value>) -> bool {
    schema.contains_key("$ref") || schema.values().any(value_has_reference)
}

fn value_has_reference(value: &Value) -> bool {
    match value {
        Value::Object(object) => has_reference(object),
        Value::Array(values) => values.iter().any(value_has_reference),
        _ => false,
    }
}

/// The types that a schema lets pass; `number` stands for integers too.
fn types_of(schema: &Map<String, Value>) -> BTreeSet<&'static str> {
    let declared: Option<BTreeSet<&'static str>> = match schema.get("type") {
        Some(Value::String(word)) => Some(super::TYPES.into_iter().filter(|known| known == word).collect()),
        Some(Value::Array(words)) => {
            Some(super::TYPES.into_iter().filter(|known| words.iter().any(|word| word == known)).collect())
        }
        _ => None,
    };
    declared.unwrap_or_else(|| match values_of(schema) {
        Some(values) => values.iter().map(type_of).collect(),
        None => super::TYPES.into_iter().filter(|word| *word != "integer").collect(),
    })
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Number(number) => match number.as_f64().is_some_and(|number| number.fract() == 0.0) {
            true => "integer",
            false => "number",
        },
    }
}

/// The values that `enum` or `const` name.
fn values_of(schema: &Map<String, Value>) -> Option<Vec<Value>> {
    match (schema.get("const"), schema.get("enum")) {
        (Some(value), _) => Some(vec![value.clone()]),
        (None, Some(Value::Array(values))) => Some(values.clone()),
        _ => None,
    }
}

/// JSON's equality: 1 and 1.0 are the same number.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left == right || left.as_f64() == right.as_f64(),
        _ => left == right,
    }
}

/// The lower or upper bound of numbers, and whether it is itself excluded.
fn limit(schema: &Map<String, Value>, is_lower: bool) -> Option<(f64, bool)> {
    let (word, exclusive_word) =
        if is_lower { ("minimum", "exclusiveMinimum") } else { ("maximum", "exclusiveMaximum") };
    let inclusive = schema.get(word).and_then(Value::as_f64);
    match schema.get(exclusive_word) {
        // Draft 4.
        Some(Value::Bool(exclusive)) => inclusive.map(|bound| (bound, *exclusive)),
        Some(Value::Number(bound)) => {
            let bound = bound.as_f64()?;
            let is_tighter = |inclusive: f64| if is_lower { inclusive > bound } else { inclusive < bound };
            match inclusive {
                Some(inclusive) if is_tighter(inclusive) => Some((inclusive, false)),
                _ => Some((bound, true)),
            }
        }
        _ => inclusive.map(|bound| (bound, false)),
    }
}

/// The schemas of the first items, one each, and that of the rest.
fn items_of(schema: &Map<String, Value>) -> (Vec<Value>, Value) {
    let any = || Value::Bool(true);
    match (schema.get("prefixItems"), schema.get("items")) {
        (Some(Value::Array(first)), rest) => (first.clone(), rest.cloned().unwrap_or_else(any)),
        (_, Some(Value::Array(first))) => {
            (first.clone(), schema.get("additionalItems").cloned().unwrap_or_else(any))
        }
        (_, Some(all)) => (Vec::new(), all.clone()),
        _ => (Vec::new(), any()),
    }
}

/// A schema of several types as one schema for each.
fn by_type(schema: &Map<String, Value>) -> Vec<Value> {
    match schema.get("type") {
        Some(Value::Array(words)) => {
            let one = |word: &Value| {
                let mut schema = schema.clone();
                schema.insert("type".to_owned(), word.clone());
                Value::Object(schema)
            };
            words.iter().map(one).collect()
        }
        _ => vec![Value::Object(schema.clone())],
    }
}
