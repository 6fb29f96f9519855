//! A tree against a JSON Schema: keys, types, what is missing and what may not be. It tells everything it
//! finds, with places, and gives the JSON value that the tree stands for. It knows no pipeline: the file's
//! own schema and each connector's go through here.
//!
//! It understands what our structs become through `schemars`: objects with properties or free keys, arrays,
//! scalars, enums, bounds, references and alternatives. A keyword it does not know is not checked here;
//! reading the value into its struct does that.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::diagnostic::{Findings, Position, suggestion};
use crate::yaml::{Node, Value};

/// What stands in for a tagged scalar (`!env NAME`), by the place of the tag. Missing ones have been told
/// already.
#[derive(Debug, Default)]
pub struct Substitutes(BTreeMap<(Position, String), Substitute>);

/// A text from outside the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Substitute {
    pub text: String,
    /// A relative path in it starts at the file's folder, not at the working directory.
    pub relative_to_file: bool,
}

impl Substitutes {
    pub fn insert(&mut self, node: &Node, substitute: Substitute) {
        self.0.insert((node.at, node.tag.clone().unwrap_or_default()), substitute);
    }

    pub fn get(&self, node: &Node) -> Option<&Substitute> {
        self.0.get(&(node.at, node.tag.clone()?))
    }
}

/// Checks a node and gives its value. `what` names the thing in messages: "this pipeline", "the config of
/// connector `file`".
pub fn check(
    node: &Node,
    schema: &Json,
    what: &str,
    substitutes: &Substitutes,
    findings: &mut Findings,
) -> Json {
    Checker { root: schema, substitutes, findings }.node(node, schema, what)
}

/// The value of a node with no schema at hand.
pub fn json_of(node: &Node, substitutes: &Substitutes) -> Json {
    if let Some(substitute) = substitutes.get(node) {
        return Json::String(substitute.text.clone());
    }
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Number(number) => Json::Number(number.clone()),
        Value::Text(text) => Json::String(text.clone()),
        Value::List(items) => items.iter().map(|item| json_of(item, substitutes)).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|entry| (entry.key.clone(), json_of(&entry.value, substitutes)))
            .collect::<Map<_, _>>()
            .into(),
    }
}

struct Checker<'a> {
    root: &'a Json,
    substitutes: &'a Substitutes,
    findings: &'a mut Findings,
}

impl Checker<'_> {
    fn node(&mut self, node: &Node, schema: &Json, what: &str) -> Json {
        let schema = resolve(self.root, schema);
        if let Some(substitute) = self.substitutes.get(node) {
            return self.substitute(node, substitute.text.clone(), schema, what);
        }
        if node.tag.is_some() {
            // An undeclared name or a missing value: told where names are looked up.
            return Json::Null;
        }
        if let Some(alternatives) = alternatives(schema) {
            return self.alternatives(node, alternatives, what);
        }
        if let Some(allowed) = enum_of(schema) {
            return self.one_of(node, &allowed, what);
        }
        match &node.value {
            Value::Map(_) if allows(schema, "object") => self.map(node, schema, what),
            Value::List(_) if allows(schema, "array") => self.list(node, schema, what),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_)
                if allows_scalar(schema, node) =>
            {
                let value = json_of(node, self.substitutes);
                self.bounds(node.at, &value, schema, what);
                value
            }
            Value::Map(_)
            | Value::List(_)
            | Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Text(_) => {
                self.wrong_type(node, schema, what);
                Json::Null
            }
        }
    }

    fn map(&mut self, node: &Node, schema: &Json, what: &str) -> Json {
        let no_properties = Map::new();
        let properties = schema.get("properties").and_then(Json::as_object).unwrap_or(&no_properties);
        let other_keys = schema.get("additionalProperties");
        let mut value = Map::new();
        let mut seen: BTreeMap<&str, Position> = BTreeMap::new();
        for entry in node.entries() {
            if let Some(first) = seen.insert(&entry.key, entry.key_at) {
                let message = format!("`{}` stands twice in {what}", entry.key);
                self.findings.error_with_help(
                    entry.key_at,
                    message,
                    format!("the first is on line {}", first.line),
                );
                continue;
            }
            let inner = if what.is_empty() {
                format!("`{}`", entry.key)
            } else {
                format!("`{}` of {what}", entry.key)
            };
            match (properties.get(&entry.key), other_keys) {
                (Some(property), _) => {
                    value.insert(entry.key.clone(), self.node(&entry.value, property, &inner));
                }
                (None, Some(Json::Bool(false))) => {
                    let help = suggestion(&entry.key, properties.keys().map(String::as_str));
                    self.findings.error_maybe_help(
                        entry.key_at,
                        format!("unknown key `{}` in {what}", entry.key),
                        help,
                    );
                }
                (None, Some(other)) => {
                    value.insert(entry.key.clone(), self.node(&entry.value, other, &inner));
                }
                (None, None) => {
                    value.insert(entry.key.clone(), json_of(&entry.value, self.substitutes));
                }
            }
        }
        for required in
            schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str)
        {
            if !seen.contains_key(required) {
                self.findings.error(node.at, format!("`{required}` is missing in {what}"));
            }
        }
        Json::Object(value)
    }

    fn list(&mut self, node: &Node, schema: &Json, what: &str) -> Json {
        let items = schema.get("items").cloned().unwrap_or(Json::Bool(true));
        let what = format!("an item of {what}");
        node.items().iter().map(|item| self.node(item, &items, &what)).collect()
    }

    /// Text from outside takes the type that is wanted, if it can.
    fn substitute(&mut self, node: &Node, text: String, schema: &Json, what: &str) -> Json {
        let schema = match alternatives(schema) {
            // One that takes text, else the first that is no null: text is never null.
            Some(alternatives) => {
                let resolved: Vec<&Json> =
                    alternatives.iter().map(|alternative| resolve(self.root, alternative)).collect();
                let of_text = resolved.iter().find(|alternative| allows(alternative, "string"));
                let of_any = || resolved.iter().find(|alternative| !allows_only(alternative, "null"));
                of_text.or_else(of_any).copied().unwrap_or(schema)
            }
            None => schema,
        };
        let value = if allows(schema, "string") {
            Some(Json::String(text.clone()))
        } else if allows(schema, "integer") || allows(schema, "number") {
            text.parse::<serde_json::Number>().ok().map(Json::Number)
        } else if allows(schema, "boolean") {
            text.parse::<bool>().ok().map(Json::Bool)
        } else {
            None
        };
        // The text is not shown: it may be a secret.
        match value {
            Some(value) => {
                self.bounds(node.at, &value, schema, what);
                value
            }
            None => {
                self.findings
                    .error(node.at, format!("{what} must be {}, which this value is not", wanted(schema)));
                Json::Null
            }
        }
    }

    /// Takes the one alternative whose kind fits, so that what is wrong inside it is told rather than that
    /// nothing fits.
    fn alternatives(&mut self, node: &Node, alternatives: &[Json], what: &str) -> Json {
        let resolved: Vec<&Json> =
            alternatives.iter().map(|alternative| resolve(self.root, alternative)).collect();
        let fits = |schema: &&&Json| match &node.value {
            Value::Map(_) => allows(schema, "object"),
            Value::List(_) => allows(schema, "array"),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => enum_of(schema).map_or_else(
                || allows_scalar(schema, node),
                |allowed| allowed.contains(&json_of(node, self.substitutes)),
            ),
        };
        if let Some(schema) = resolved.iter().find(fits) {
            return self.node(node, schema, what);
        }
        let wanted: Vec<String> = resolved
            .iter()
            .filter(|schema| !allows_only(schema, "null"))
            .map(|schema| wanted(schema))
            .collect();
        self.findings.error(node.at, format!("{what} must be {}, not {}", wanted.join(" or "), told(node)));
        Json::Null
    }

    fn one_of(&mut self, node: &Node, allowed: &[Json], what: &str) -> Json {
        let value = json_of(node, self.substitutes);
        if allowed.contains(&value) {
            return value;
        }
        let words: Vec<&str> = allowed.iter().filter_map(Json::as_str).collect();
        let help = node.text().and_then(|text| suggestion(text, words.iter().copied()));
        let wanted: Vec<String> = allowed.iter().map(in_ticks).collect();
        self.findings.error_maybe_help(
            node.at,
            format!("{what} must be {}, not {}", wanted.join(" or "), told(node)),
            help,
        );
        Json::Null
    }

    fn bounds(&mut self, at: Position, value: &Json, schema: &Json, what: &str) {
        let Some(number) = value.as_f64() else { return };
        if allows(schema, "integer") && !allows(schema, "number") && !value.is_i64() && !value.is_u64() {
            self.findings.error(at, format!("{what} must be a whole number"));
        }
        let minimum = schema.get("minimum").and_then(Json::as_f64);
        let maximum = schema.get("maximum").and_then(Json::as_f64);
        if let Some(minimum) = minimum.filter(|minimum| number < *minimum) {
            self.findings.error(at, format!("{what} must be at least {minimum}"));
        }
        if let Some(maximum) = maximum.filter(|maximum| number > *maximum) {
            self.findings.error(at, format!("{what} must be at most {maximum}"));
        }
    }

    fn wrong_type(&mut self, node: &Node, schema: &Json, what: &str) {
        let message = format!("{what} must be {}, not {}", wanted(schema), told(node));
        let quotable = matches!(node.value, Value::Number(_) | Value::Bool(_)) && allows(schema, "string");
        self.findings.error_maybe_help(node.at, message, quotable.then(|| "write it in quotes".to_owned()));
    }
}

/// Follows references within the schema, a bounded number of steps.
fn resolve<'a>(root: &'a Json, schema: &'a Json) -> &'a Json {
    let mut schema = schema;
    for _ in 0..16 {
        let target = schema.get("$ref").and_then(Json::as_str).and_then(|path| path.strip_prefix('#'));
        match target.and_then(|path| root.pointer(path)) {
            Some(target) => schema = target,
            None => break,
        }
    }
    schema
}

fn alternatives(schema: &Json) -> Option<&Vec<Json>> {
    let alternatives = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Json::as_array)?;
    // An enum whose values have descriptions comes as alternatives of constants.
    let all_constants = alternatives.iter().all(|alternative| alternative.get("const").is_some());
    (!all_constants).then_some(alternatives)
}

fn enum_of(schema: &Json) -> Option<Vec<Json>> {
    if let Some(value) = schema.get("const") {
        return Some(vec![value.clone()]);
    }
    if let Some(values) = schema.get("enum").and_then(Json::as_array) {
        return Some(values.clone());
    }
    let alternatives = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Json::as_array)?;
    alternatives.iter().map(|alternative| alternative.get("const").cloned()).collect()
}

/// The types that a schema names; none when it allows all.
fn types(schema: &Json) -> Option<Vec<&str>> {
    match schema.get("type")? {
        Json::String(name) => Some(vec![name]),
        Json::Array(names) => Some(names.iter().filter_map(Json::as_str).collect()),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => None,
    }
}

fn allows(schema: &Json, name: &str) -> bool {
    types(schema).is_none_or(|types| types.contains(&name))
}

fn allows_only(schema: &Json, name: &str) -> bool {
    types(schema).is_some_and(|types| types == [name])
}

fn allows_scalar(schema: &Json, node: &Node) -> bool {
    match &node.value {
        Value::Null => allows(schema, "null"),
        Value::Bool(_) => allows(schema, "boolean"),
        Value::Number(number) => allows(schema, "number") || allows(schema, "integer") && !number.is_f64(),
        Value::Text(_) => allows(schema, "string"),
        Value::List(_) | Value::Map(_) => false,
    }
}

fn wanted(schema: &Json) -> String {
    if let Some(allowed) = enum_of(schema) {
        return allowed.iter().map(in_ticks).collect::<Vec<_>>().join(" or ");
    }
    let words =
        types(schema).unwrap_or_default().into_iter().filter(|name| *name != "null").map(|name| match name {
            "string" => "text",
            "integer" => "a whole number",
            "number" => "a number",
            "boolean" => "true or false",
            "array" => "a list",
            "object" => "a map",
            other => other,
        });
    words.collect::<Vec<_>>().join(" or ")
}

fn told(node: &Node) -> String {
    match &node.value {
        Value::Text(text) if text.chars().count() <= 40 => format!("`{text}`"),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
            node.kind().to_owned()
        }
    }
}

fn in_ticks(value: &Json) -> String {
    value.as_str().map_or_else(|| format!("`{value}`"), |text| format!("`{text}`"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::spec::Spec;
    use crate::yaml::parse;

    fn messages(text: &str) -> Vec<String> {
        let schema = schemars::schema_for!(Spec).to_value();
        let mut findings = Findings::new(Path::new("p.yaml"), text);
        check(&parse(text).unwrap(), &schema, "this pipeline", &Substitutes::default(), &mut findings);
        let told =
            |at: Option<Position>| at.map(|at| format!("{}:{}", at.line, at.column)).unwrap_or_default();
        findings
            .into_sorted()
            .into_iter()
            .map(|found| {
                format!(
                    "{} {}{}",
                    told(found.position),
                    found.message,
                    found.help.map(|help| format!(" ({help})")).unwrap_or_default()
                )
            })
            .collect()
    }

    #[test]
    fn a_right_file_has_no_findings() {
        let text = "version: ottla/v1\nname: p\ntopics: { a: { partitions: 4, config: { retention.ms: -1 } } }\n\
                    sinks: { s: { from: [a], type: file, config: { path: x }, on_error: stop } }\non_error: { to: dlq }\n";
        assert_eq!(messages(text), [""; 0]);
    }

    #[test]
    fn all_findings_come_at_once_each_with_its_place_and_the_nearest_word() {
        let text = "version: ottla/v2\nname: 5\nsorces: {}\ntopics:\n  a: { partitions: many }\n  b: { partitions: 0 }\n\
                    sinks:\n  s:\n    from: a\n    on_eror: stop\n  t: { from: 3, type: file, on_error: halt }\ntopics: {}\n";
        let expected = [
            "1:10 `version` of this pipeline must be `ottla/v1`, not `ottla/v2` (did you mean `ottla/v1`?)",
            "2:7 `name` of this pipeline must be text, not a number (write it in quotes)",
            "3:1 unknown key `sorces` in this pipeline (did you mean `sources`?)",
            "5:20 `partitions` of `a` of `topics` of this pipeline must be a whole number, not `many`",
            "6:20 `partitions` of `b` of `topics` of this pipeline must be at least 1",
            "9:5 `type` is missing in `s` of `sinks` of this pipeline",
            "10:5 unknown key `on_eror` in `s` of `sinks` of this pipeline (did you mean `on_error`?)",
            "11:14 `from` of `t` of `sinks` of this pipeline must be text or a list, not a number",
            "11:39 `on_error` of `t` of `sinks` of this pipeline must be `stop` or a map, not `halt`",
            "12:1 `topics` stands twice in this pipeline (the first is on line 4)",
        ];
        assert_eq!(messages(text), expected);
    }

    #[test]
    fn a_text_instead_of_a_map_is_told_once() {
        assert_eq!(messages("[]"), ["1:1 this pipeline must be a map, not a list"]);
    }
}
