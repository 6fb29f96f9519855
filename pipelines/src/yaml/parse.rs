//! From text to the tree. Bounded against hostile texts: size, depth and number of nodes, and what aliases
//! may repeat.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Options, Spanned, Tagged};

use super::tree::{Entry, Node, Value};
use crate::diagnostic::Position;

/// A longer file is no pipeline.
pub const TEXT_BYTES_MAX: usize = 4 << 20;
const DEPTH_MAX: usize = 40;
const NODES_MAX: usize = 200_000;

/// Text that is no YAML: why, and where if that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotYaml {
    pub at: Option<Position>,
    pub reason: String,
}

/// The tree of one YAML document.
pub fn parse(text: &str) -> Result<Node, NotYaml> {
    if text.len() > TEXT_BYTES_MAX {
        let reason = format!(
            "it is {} bytes long, more than the {TEXT_BYTES_MAX} that a pipeline file may have",
            text.len()
        );
        return Err(NotYaml { at: None, reason });
    }
    match serde_saphyr::from_str_with_options::<Raw>(text, options()) {
        Ok(raw) => Ok(raw.0),
        Err(error) => {
            let at = error.location().filter(|location| location.line() > 0).map(|location| Position {
                line: u32::try_from(location.line()).unwrap_or(u32::MAX),
                column: u32::try_from(location.column()).unwrap_or(u32::MAX),
            });
            Err(NotYaml { at, reason: first_line(&error.without_snippet().to_string()) })
        }
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        // All findings are told together, so a repeated key must not end the reading: the checker refuses it.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        // YAML 1.2: `NO` is Norway.
        strict_booleans: true,
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_documents: 1,
            max_aliases: 1000,
            max_anchors: 1000,
            max_total_scalar_bytes: TEXT_BYTES_MAX * 2,
        },
    }
}

/// The message without the place, which a finding shows by itself.
fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or("it is no YAML");
    line.split(" at line ").next().unwrap_or(line).to_owned()
}

/// A node as serde gives it to us.
struct Raw(Node);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        let Spanned { value: Tagged(RawValue(value), tag), referenced, .. } =
            Spanned::<Tagged<RawValue>>::deserialize(deserializer)?;
        let at = Position { line: referenced.line() as u32, column: referenced.column() as u32 };
        // Tags of YAML itself (`!!str`) have done their work by now.
        let tag = tag.filter(|tag| tag.starts_with('!') && !tag.starts_with("!!"));
        Ok(Raw(Node { at, tag: tag.map(|tag| tag.trim_start_matches('!').to_owned()), value }))
    }
}

struct RawValue(Value);

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawValue, D::Error> {
        deserializer.deserialize_any(ValueVisitor).map(RawValue)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        // JSON has no infinities. serde-saphyr refuses them too, but that is its policy and not our reason.
        Ok(serde_json::Number::from_f64(value).map_or_else(|| Value::Text(value.to_string()), Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Raw(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(Raw(key)) = entries.next_key()? {
            let Raw(value) = entries.next_value()?;
            let text = match key.value {
                Value::Text(text) => text,
                Value::Null => "null".to_owned(),
                Value::Bool(value) => value.to_string(),
                Value::Number(number) => number.to_string(),
                Value::List(_) | Value::Map(_) => {
                    return Err(A::Error::custom("a key must be a word, not a list or a map"));
                }
            };
            map.push(Entry { key: text, key_at: key.at, value });
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(line: u32, column: u32) -> Position {
        Position { line, column }
    }

    #[test]
    fn every_value_knows_its_place_and_its_tag() {
        let text = "name: flights\nsources:\n  csv: { path: !env FLIGHTS_CSV, nulls: [NA, \"\"] }\n  n: 4\n";
        let root = parse(text).unwrap();
        assert_eq!(root.entry("sources").unwrap().key_at, at(2, 1));
        let path = root.nearest(["sources".into(), "csv".into(), "path".into()]);
        assert_eq!((path.text(), path.tag.as_deref()), (Some("FLIGHTS_CSV"), Some("env")));
        assert_eq!(path.at.line, 3);
        let second = root.nearest(["sources".into(), "csv".into(), "nulls".into(), 1.into()]);
        assert_eq!((second.text(), second.at), (Some(""), at(3, 46)));
        assert_eq!(root.nearest(["sources".into(), "n".into()]).value, Value::Number(4.into()));
        assert_eq!(root.nearest(["sources".into(), "missing".into(), "deeper".into()]).at.line, 3);
    }

    #[test]
    fn scalars_are_read_as_yaml_1_2_has_them() {
        let root = parse("[no, true, 1, 1.5, ~, '1', 2013-01-01T10:00:00Z, -7]").unwrap();
        let values: Vec<_> = root.items().iter().map(|item| item.value.clone()).collect();
        let text = |text: &str| Value::Text(text.to_owned());
        let float = serde_json::Number::from_f64(1.5).unwrap();
        let expected = [
            text("no"),
            Value::Bool(true),
            Value::Number(1.into()),
            Value::Number(float),
            Value::Null,
            text("1"),
            text("2013-01-01T10:00:00Z"),
            Value::Number((-7).into()),
        ];
        assert_eq!(values, expected);
    }

    #[test]
    fn a_repeated_key_is_kept_for_the_checker() {
        let root = parse("a: 1\nb: 2\na: 3\n").unwrap();
        let places: Vec<_> = root.entries().iter().map(|entry| (entry.key.as_str(), entry.key_at)).collect();
        assert_eq!(places, [("a", at(1, 1)), ("b", at(2, 1)), ("a", at(3, 1))]);
    }

    #[test]
    fn broken_yaml_is_told_with_its_place() {
        let error = parse("a: [1, 2\nb: 3\n").unwrap_err();
        assert!(error.at.is_some_and(|at| at.line >= 1), "{error:?}");
        assert!(!error.reason.contains('\n'));
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let previous = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{previous}]\n"));
        }
        assert!(parse(&bomb).is_err());
    }

    #[test]
    fn a_deep_text_is_refused_and_does_not_overflow_the_stack() {
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(&format!("{}1{}", "[".repeat(200), "]".repeat(200))).is_err());
    }

    #[test]
    fn a_second_document_is_refused() {
        assert!(parse("a: 1\n---\nb: 2\n").is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn no_text_of_yamls_own_characters_panics(text in "[-a-c:#&*!|>'\"{}\\[\\],?% \n\t0-9~.<]{0,120}") {
            let _ = parse(&text);
        }
    }
}
