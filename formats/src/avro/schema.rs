//! Avro schemas: what a schema's JSON means, after the specification of Avro 1.11.
//!
//! A schema is a list of nodes that name each other by index, so a recursive type is no special case and nothing is ever
//! deeper than the JSON it was read from. Names are full names: namespace and name with a dot between.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The most nodes of a schema; what registries hold has tens.
const NODES_MAX: usize = 20_000;

/// How deep types may lie in each other. `serde_json` stops at 128 levels of JSON, of which a type takes two.
const DEPTH_MAX: usize = 64;

/// Why a text is no Avro schema: one sentence with the place in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AvroSchemaError(pub String);

/// Index of a node of an [`AvroSchema`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// A parsed schema.
#[derive(Debug, Clone, PartialEq)]
pub struct AvroSchema {
    nodes: Vec<Node>,
    root: NodeId,
}

/// One type.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub kind: Kind,
    /// What the bytes stand for, where that is more than the type says.
    pub logical: Option<Logical>,
}

/// The types of the specification.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Array(NodeId),
    Map(NodeId),
    Union(Vec<NodeId>),
    Record { name: Name, fields: Vec<RecordField> },
    Enum { name: Name, symbols: Vec<String>, default: Option<String> },
    Fixed { name: Name, size: usize },
}

/// The full name of a named type, and the names it had before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    pub full: String,
    pub aliases: Vec<String>,
}

impl Name {
    /// The part behind the last dot.
    #[must_use]
    pub fn short(&self) -> &str {
        self.full.rsplit('.').next().unwrap_or(&self.full)
    }

    /// Whether a reader with this name may read what was written under the other: the same name, whatever its
    /// namespace, or one of the aliases. So do Avro's own libraries.
    #[must_use]
    pub fn reads(&self, writer: &Name) -> bool {
        self.short() == writer.short() || self.aliases.contains(&writer.full)
    }
}

/// A field of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordField {
    pub name: String,
    pub aliases: Vec<String>,
    pub node: NodeId,
    /// What a reader takes where the writer has no such field, as JSON.
    pub default: Option<Value>,
}

/// Logical types that change what a value means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logical {
    Decimal { precision: u8, scale: u8 },
    Date,
    TimeMillis,
    TimeMicros,
    TimestampMillis,
    TimestampMicros,
    TimestampNanos,
    Uuid,
}

impl AvroSchema {
    /// Reads a schema that names no types of other schemas.
    ///
    /// # Errors
    /// [`AvroSchemaError`] with what is wrong and where.
    pub fn parse(text: &str) -> Result<AvroSchema, AvroSchemaError> {
        Self::parse_with(text, &[])
    }

    /// Reads a schema that may name types of the others, which may name types of those before them.
    ///
    /// # Errors
    /// [`AvroSchemaError`] with what is wrong and where.
    pub fn parse_with(text: &str, others: &[&str]) -> Result<AvroSchema, AvroSchemaError> {
        let mut parser = Parser { nodes: Vec::new(), names: BTreeMap::new(), depth: 0 };
        for other in others {
            parser.parse_text(other)?;
        }
        let root = parser.parse_text(text)?;
        let schema = AvroSchema { nodes: parser.nodes, root };
        schema.check_defaults()?;
        Ok(schema)
    }

    /// The type of a whole value.
    #[must_use]
    pub fn root(&self) -> NodeId {
        self.root
    }

    /// A type of this schema.
    ///
    /// # Panics
    /// For an id of another schema.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    fn check_defaults(&self) -> Result<(), AvroSchemaError> {
        for node in &self.nodes {
            let Kind::Record { name, fields } = &node.kind else { continue };
            for field in fields {
                let Some(default) = &field.default else { continue };
                if !self.fits(field.node, default, 0) {
                    return Err(AvroSchemaError(format!(
                        "Invalid default for field {}.{}: {default} is not of its type (of the first of its types, in a union)",
                        name.full, field.name
                    )));
                }
            }
        }
        Ok(())
    }

    /// Whether a default is of a type. A default of a union is one of its first branch; newer versions of the
    /// specification let it be any.
    fn fits(&self, id: NodeId, value: &Value, depth: usize) -> bool {
        if depth > DEPTH_MAX {
            return false;
        }
        let inside = |id, value| self.fits(id, value, depth + 1);
        match (&self.node(id).kind, value) {
            (Kind::Null, Value::Null) | (Kind::Boolean, Value::Bool(_)) => true,
            (Kind::Int, Value::Number(number)) => number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            (Kind::Long, Value::Number(number)) => number.as_i64().is_some(),
            (Kind::Float | Kind::Double, Value::Number(_)) => true,
            (Kind::Float | Kind::Double, Value::String(text)) => {
                matches!(text.as_str(), "NaN" | "Infinity" | "-Infinity")
            }
            (Kind::String, Value::String(_)) => true,
            (Kind::Bytes, Value::String(text)) => text.chars().all(|c| u32::from(c) < 256),
            (Kind::Fixed { size, .. }, Value::String(text)) => {
                text.chars().count() == *size && text.chars().all(|c| u32::from(c) < 256)
            }
            (Kind::Enum { symbols, .. }, Value::String(text)) => symbols.contains(text),
            (Kind::Array(items), Value::Array(values)) => values.iter().all(|value| inside(*items, value)),
            (Kind::Map(items), Value::Object(values)) => values.values().all(|value| inside(*items, value)),
            (Kind::Union(branches), value) => branches.iter().any(|branch| inside(*branch, value)),
            (Kind::Record { fields, .. }, Value::Object(values)) => {
                fields.iter().all(|field| match values.get(&field.name).or(field.default.as_ref()) {
                    Some(value) => inside(field.node, value),
                    None => false,
                })
            }
            _ => false,
        }
    }
}

struct Parser {
    nodes: Vec<Node>,
    names: BTreeMap<String, NodeId>,
    depth: usize,
}

type Parsed = Result<NodeId, AvroSchemaError>;

fn wrong<T>(what: impl Into<String>) -> Result<T, AvroSchemaError> {
    Err(AvroSchemaError(what.into()))
}

impl Parser {
    fn parse_text(&mut self, text: &str) -> Parsed {
        let value: Value = match serde_json::from_str(text) {
            Ok(value) => value,
            // A bare word is how some clients write a primitive type.
            Err(_) if is_name(text.trim()) => Value::String(text.trim().to_owned()),
            Err(error) => return wrong(format!("not JSON: {error}")),
        };
        self.parse(&value, "")
    }

    fn add(&mut self, kind: Kind, logical: Option<Logical>) -> Parsed {
        if self.nodes.len() >= NODES_MAX {
            return wrong(format!("more than {NODES_MAX} types in one schema"));
        }
        let id = u32::try_from(self.nodes.len()).map_err(|_| AvroSchemaError("too many types".to_owned()))?;
        self.nodes.push(Node { kind, logical });
        Ok(NodeId(id))
    }

    fn parse(&mut self, value: &Value, namespace: &str) -> Parsed {
        if self.depth >= DEPTH_MAX {
            return wrong(format!("types lie more than {DEPTH_MAX} deep in each other"));
        }
        self.depth += 1;
        let parsed = match value {
            Value::String(word) => self.parse_word(word, namespace),
            Value::Array(branches) => self.parse_union(branches, namespace),
            Value::Object(object) => self.parse_object(object, namespace),
            other => wrong(format!("{other} is no type: expected a name, an object or a list of types")),
        };
        self.depth -= 1;
        parsed
    }

    fn parse_word(&mut self, word: &str, namespace: &str) -> Parsed {
        if let Some(kind) = primitive(word) {
            return self.add(kind, None);
        }
        let full = full_name(word, namespace);
        match self.names.get(&full).or_else(|| self.names.get(word)) {
            Some(id) => Ok(*id),
            None => wrong(format!("Undefined name: \"{word}\"")),
        }
    }

    fn parse_union(&mut self, branches: &[Value], namespace: &str) -> Parsed {
        let mut ids = Vec::with_capacity(branches.len());
        let mut seen = std::collections::BTreeSet::new();
        for branch in branches {
            let id = self.parse(branch, namespace)?;
            let tag = match &self.nodes[id.index()].kind {
                Kind::Union(_) => return wrong("a union may not lie directly in a union"),
                Kind::Record { name, .. } | Kind::Enum { name, .. } | Kind::Fixed { name, .. } => {
                    name.full.clone()
                }
                other => type_word(other).to_owned(),
            };
            if !seen.insert(tag.clone()) {
                return wrong(format!("Duplicate in union: {tag}"));
            }
            ids.push(id);
        }
        self.add(Kind::Union(ids), None)
    }

    fn parse_object(&mut self, object: &Map<String, Value>, namespace: &str) -> Parsed {
        let Some(word) = object.get("type") else { return wrong("No type: an object without \"type\"") };
        let Value::String(word) = word else {
            // {"type": {"type": "string"}}: what lies inside is meant.
            return self.parse(word, namespace);
        };
        match word.as_str() {
            "record" | "error" => self.parse_record(object, namespace),
            "enum" => self.parse_enum(object, namespace),
            "fixed" => {
                let name = self.name_of(object, namespace)?;
                let size = object.get("size").and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
                let Some(size) = size.filter(|size| *size <= 1 << 20) else {
                    return wrong(format!("Invalid size of fixed {}: expected 0 to 1048576", name.full));
                };
                let logical = logical_of(object, &Kind::Fixed { name: name.clone(), size });
                self.add_named(Kind::Fixed { name: name.clone(), size }, logical, &name)
            }
            "array" => {
                let Some(items) = object.get("items") else { return wrong("Array has no items type") };
                let items = self.parse(items, namespace)?;
                self.add(Kind::Array(items), None)
            }
            "map" => {
                let Some(values) = object.get("values") else { return wrong("Map has no values type") };
                let values = self.parse(values, namespace)?;
                self.add(Kind::Map(values), None)
            }
            word => match primitive(word) {
                Some(kind) => {
                    let logical = logical_of(object, &kind);
                    self.add(kind, logical)
                }
                None => self.parse_word(word, namespace),
            },
        }
    }

    fn add_named(&mut self, kind: Kind, logical: Option<Logical>, name: &Name) -> Parsed {
        if self.names.contains_key(&name.full) {
            return wrong(format!("Can't redefine: {}", name.full));
        }
        let id = self.add(kind, logical)?;
        self.names.insert(name.full.clone(), id);
        Ok(id)
    }

    fn parse_record(&mut self, object: &Map<String, Value>, namespace: &str) -> Parsed {
        let name = self.name_of(object, namespace)?;
        let Some(Value::Array(declared)) = object.get("fields") else {
            return wrong(format!("Record {} has no fields", name.full));
        };
        // It stands before its fields, so that they can name it.
        let id = self.add_named(Kind::Record { name: name.clone(), fields: Vec::new() }, None, &name)?;
        let inner = namespace_of(&name.full);
        let mut fields: Vec<RecordField> = Vec::with_capacity(declared.len());
        let mut seen = std::collections::BTreeSet::new();
        for field in declared {
            let Value::Object(field) = field else {
                return wrong(format!("Record {}: a field is not an object", name.full));
            };
            let field_name = match field.get("name") {
                Some(Value::String(text)) if is_name(text) => text.clone(),
                Some(other) => return wrong(format!("Record {}: illegal field name {other}", name.full)),
                None => return wrong(format!("Record {}: a field has no name", name.full)),
            };
            let aliases = strings(field.get("aliases"), "aliases")?;
            for taken in aliases.iter().chain([&field_name]) {
                if !seen.insert(taken.clone()) {
                    return wrong(format!("Duplicate field {taken} in record {}", name.full));
                }
            }
            let Some(field_type) = field.get("type") else {
                return wrong(format!("Field {}.{field_name} has no type", name.full));
            };
            let node =
                self.parse(field_type, inner).map_err(|error| match error.0.starts_with("Field ") {
                    true => error,
                    false => AvroSchemaError(format!("Field {}.{field_name}: {error}", name.full)),
                })?;
            fields.push(RecordField {
                name: field_name,
                aliases,
                node,
                default: field.get("default").cloned(),
            });
        }
        self.nodes[id.index()].kind = Kind::Record { name, fields };
        Ok(id)
    }

    fn parse_enum(&mut self, object: &Map<String, Value>, namespace: &str) -> Parsed {
        let name = self.name_of(object, namespace)?;
        let Some(symbols @ Value::Array(_)) = object.get("symbols") else {
            return wrong(format!("Enum {} has no symbols", name.full));
        };
        let symbols = strings(Some(symbols), "symbols")?;
        let mut seen = std::collections::BTreeSet::new();
        for symbol in &symbols {
            if !is_name(symbol) {
                return wrong(format!("Enum {}: illegal symbol \"{symbol}\"", name.full));
            }
            if !seen.insert(symbol) {
                return wrong(format!("Enum {}: duplicate symbol {symbol}", name.full));
            }
        }
        let default = match object.get("default") {
            None => None,
            Some(Value::String(text)) if symbols.contains(text) => Some(text.clone()),
            Some(other) => {
                return wrong(format!("Enum {}: the default {other} is not one of its symbols", name.full));
            }
        };
        self.add_named(Kind::Enum { name: name.clone(), symbols, default }, None, &name)
    }

    fn name_of(&self, object: &Map<String, Value>, namespace: &str) -> Result<Name, AvroSchemaError> {
        let Some(Value::String(name)) = object.get("name") else {
            return wrong("No name in schema: records, enums and fixed need one");
        };
        let own = match object.get("namespace") {
            Some(Value::String(own)) => own.as_str(),
            Some(Value::Null) | None => namespace,
            Some(other) => return wrong(format!("the namespace {other} is not text")),
        };
        let full = full_name(name, own);
        if !full.split('.').all(is_name) || primitive(&full).is_some() {
            return wrong(format!("Illegal name: \"{full}\""));
        }
        let inner = namespace_of(&full).to_owned();
        let aliases = strings(object.get("aliases"), "aliases")?;
        let aliases = aliases.iter().map(|alias| full_name(alias, &inner)).collect();
        Ok(Name { full, aliases })
    }
}

/// A primitive type by its word.
fn primitive(word: &str) -> Option<Kind> {
    Some(match word {
        "null" => Kind::Null,
        "boolean" => Kind::Boolean,
        "int" => Kind::Int,
        "long" => Kind::Long,
        "float" => Kind::Float,
        "double" => Kind::Double,
        "bytes" => Kind::Bytes,
        "string" => Kind::String,
        _ => return None,
    })
}

/// The specification's word for a type.
#[must_use]
pub fn type_word(kind: &Kind) -> &'static str {
    match kind {
        Kind::Null => "null",
        Kind::Boolean => "boolean",
        Kind::Int => "int",
        Kind::Long => "long",
        Kind::Float => "float",
        Kind::Double => "double",
        Kind::Bytes => "bytes",
        Kind::String => "string",
        Kind::Array(_) => "array",
        Kind::Map(_) => "map",
        Kind::Union(_) => "union",
        Kind::Record { .. } => "record",
        Kind::Enum { .. } => "enum",
        Kind::Fixed { .. } => "fixed",
    }
}

/// A logical type, if the attribute names one that fits its type; others are ignored, as the specification asks.
fn logical_of(object: &Map<String, Value>, kind: &Kind) -> Option<Logical> {
    let word = object.get("logicalType")?.as_str()?;
    let number = |name: &str| object.get(name).and_then(Value::as_u64).and_then(|n| u8::try_from(n).ok());
    Some(match (word, kind) {
        ("decimal", Kind::Bytes | Kind::Fixed { .. }) => {
            let precision = number("precision").filter(|precision| *precision > 0)?;
            let scale = match object.get("scale") {
                None => 0,
                Some(_) => number("scale")?,
            };
            if scale > precision {
                return None;
            }
            Logical::Decimal { precision, scale }
        }
        ("date", Kind::Int) => Logical::Date,
        ("time-millis", Kind::Int) => Logical::TimeMillis,
        ("time-micros", Kind::Long) => Logical::TimeMicros,
        ("timestamp-millis" | "local-timestamp-millis", Kind::Long) => Logical::TimestampMillis,
        ("timestamp-micros" | "local-timestamp-micros", Kind::Long) => Logical::TimestampMicros,
        ("timestamp-nanos" | "local-timestamp-nanos", Kind::Long) => Logical::TimestampNanos,
        ("uuid", Kind::String) => Logical::Uuid,
        _ => return None,
    })
}

fn strings(value: Option<&Value>, what: &str) -> Result<Vec<String>, AvroSchemaError> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(values)) => values
            .iter()
            .map(text)
            .collect::<Option<_>>()
            .ok_or_else(|| AvroSchemaError(format!("{what} must be a list of names"))),
        Some(_) => wrong(format!("{what} must be a list of names")),
    }
}

fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

fn namespace_of(full: &str) -> &str {
    full.rsplit_once('.').map_or("", |(namespace, _)| namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        AvroSchema::parse(text).unwrap_err().0
    }

    #[test]
    fn names_take_the_namespace_around_them_and_may_name_themselves() {
        let text = r#"{"type":"record","name":"Node","namespace":"a.b","fields":[
            {"name":"next","type":["null","Node"],"default":null},
            {"name":"kind","type":{"type":"enum","name":"c.Kind","symbols":["X","Y"]}},
            {"name":"again","type":"c.Kind","default":"X"}]}"#;
        let schema = AvroSchema::parse(text).unwrap();
        let Kind::Record { name, fields } = &schema.node(schema.root()).kind else { panic!("a record") };
        assert_eq!((name.full.as_str(), name.short()), ("a.b.Node", "Node"));
        let Kind::Union(branches) = &schema.node(fields[0].node).kind else { panic!("a union") };
        assert_eq!(branches[1], schema.root());
        assert_eq!(fields[1].node, fields[2].node);
    }

    #[test]
    fn types_of_other_schemas_can_be_named() {
        let other = r#"{"type":"record","name":"P","namespace":"x","fields":[]}"#;
        assert!(AvroSchema::parse_with(r#"{"type":"array","items":"x.P"}"#, &[other]).is_ok());
        assert_eq!(error(r#"{"type":"array","items":"x.P"}"#), "Undefined name: \"x.P\"");
    }

    #[test]
    fn logical_types_that_do_not_fit_are_plain_types() {
        let logical = |text: &str| {
            let schema = AvroSchema::parse(text).unwrap();
            schema.node(schema.root()).logical
        };
        let decimal = r#"{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}"#;
        assert_eq!(logical(decimal), Some(Logical::Decimal { precision: 10, scale: 2 }));
        assert_eq!(logical(r#"{"type":"string","logicalType":"date"}"#), None);
        assert_eq!(logical(r#"{"type":"bytes","logicalType":"decimal","precision":2,"scale":9}"#), None);
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        for (text, expected) in [
            ("{", "not JSON"),
            ("17", "is no type"),
            (r#"{"type":"recrd"}"#, "Undefined name: \"recrd\""),
            (r#"{"type":"record","name":"R"}"#, "Record R has no fields"),
            (
                r#"{"type":"record","name":"R","fields":[{"name":"a","type":"strng"}]}"#,
                "Field R.a: Undefined name",
            ),
            (
                r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}"#,
                "Duplicate field a",
            ),
            (
                r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int","default":"x"}]}"#,
                "Invalid default for field R.a",
            ),
            (r#"{"type":"record","name":"R","fields":[{"name":"a-b","type":"int"}]}"#, "illegal field name"),
            (r#"{"type":"record","name":"9","fields":[]}"#, "Illegal name"),
            (r#"["int","int"]"#, "Duplicate in union: int"),
            (r#"["int",["null"]]"#, "directly in a union"),
            (r#"{"type":"enum","name":"E","symbols":["A","A"]}"#, "duplicate symbol"),
            (r#"{"type":"fixed","name":"F","size":-1}"#, "Invalid size"),
            (r#"{"type":"array"}"#, "no items"),
        ] {
            let said = error(text);
            assert!(said.contains(expected), "{text}: {said}");
        }
        let deep = "[".repeat(5_000);
        assert!(error(&deep).contains("not JSON"));
        let deep = format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(70), "}".repeat(70));
        assert!(error(&deep).contains("deep in each other"));
    }
}
