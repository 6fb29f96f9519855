//! Whether what was written with one Avro schema can be read with another: the rules of *Schema Resolution* in the
//! specification, with a sentence for each place where they are broken.
//!
//! Logical types play no part, as in Avro's own libraries: a decimal of another scale passes.

use std::collections::BTreeMap;

use super::schema::{AvroSchema, Kind, Name, NodeId, RecordField, type_word};

/// How many types may lead into each other before a comparison is given up: named types can make long chains.
const DEPTH_MAX: usize = 128;

/// The most sentences of one comparison.
const MESSAGES_MAX: usize = 100;

/// What keeps `reader` from reading what was written with `writer`; nothing where it can. The sentences call the schemas
/// by these words and give places as JSON pointers into the reader.
#[must_use]
pub fn incompatibilities(
    reader: &AvroSchema,
    writer: &AvroSchema,
    reader_word: &str,
    writer_word: &str,
) -> Vec<String> {
    let (known, messages) = (BTreeMap::new(), Vec::new());
    let mut check =
        Check { reader, writer, reader_word, writer_word, known, messages, is_refuted: false, depth: 0 };
    // A pair of types is taken to fit while it is looked at. Where that turned out wrong, but another branch of a union
    // saved the whole, what was concluded from it is looked at again; each round refutes at least one pair for good.
    loop {
        check.is_refuted = false;
        check.check(reader.root(), writer.root(), "");
        if !check.messages.is_empty() || !check.is_refuted {
            return check.messages;
        }
        check.known.retain(|_, verdict| *verdict == Verdict::Differs);
    }
}

/// What is known of a pair of types.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Being looked at.
    Open,
    /// Being looked at, and something inside was judged by taking it to fit.
    Assumed,
    Fits,
    Differs,
}

struct Check<'a> {
    reader: &'a AvroSchema,
    writer: &'a AvroSchema,
    reader_word: &'a str,
    writer_word: &'a str,
    known: BTreeMap<(NodeId, NodeId), Verdict>,
    messages: Vec<String>,
    /// An assumption did not hold.
    is_refuted: bool,
    depth: usize,
}

impl Check<'_> {
    fn say(&mut self, rule: &str, what: String, detail: &str) -> bool {
        if self.messages.len() < MESSAGES_MAX {
            self.messages
                .push(format!("{{errorType:'{rule}', description:'{what}', additionalInfo:'{detail}'}}"));
        }
        false
    }

    /// Whether the reader's type reads the writer's. A failure leaves sentences.
    fn check(&mut self, reader: NodeId, writer: NodeId, path: &str) -> bool {
        let pair = (reader, writer);
        match self.known.get_mut(&pair) {
            Some(Verdict::Fits) => return true,
            Some(open @ (Verdict::Open | Verdict::Assumed)) => {
                *open = Verdict::Assumed;
                return true;
            }
            // Why was said where the pair was met first, perhaps in a branch that did not matter.
            Some(Verdict::Differs) => return self.mismatch(reader, writer, path),
            None => {}
        }
        if self.depth >= DEPTH_MAX {
            let what = format!("The types at path \'{path}\' lie too deep in each other to be compared");
            return self.say("NOT_JUDGED", what, "");
        }
        self.known.insert(pair, Verdict::Open);
        self.depth += 1;
        let fits = self.compare(reader, writer, path);
        self.depth -= 1;
        let verdict = if fits { Verdict::Fits } else { Verdict::Differs };
        if self.known.insert(pair, verdict) == Some(Verdict::Assumed) && !fits {
            self.is_refuted = true;
        }
        fits
    }

    fn mismatch(&mut self, reader: NodeId, writer: NodeId, path: &str) -> bool {
        let (reader, writer) = (&self.reader.node(reader).kind, &self.writer.node(writer).kind);
        let (reader, writer) = (type_word(reader).to_uppercase(), type_word(writer).to_uppercase());
        let what = format!(
            "The type (path '{}') of a field in the {} schema does not match with the {} schema",
            or_root(path),
            self.reader_word,
            self.writer_word
        );
        let detail = format!("reader type: {reader} not compatible with writer type: {writer}");
        self.say("TYPE_MISMATCH", what, &detail)
    }

    fn compare(&mut self, reader_id: NodeId, writer_id: NodeId, path: &str) -> bool {
        let reader = &self.reader.node(reader_id).kind;
        let writer = &self.writer.node(writer_id).kind;
        match (reader, writer) {
            // Every branch that may have been written must be read.
            (_, Kind::Union(branches)) => {
                let mut fits = true;
                for branch in branches {
                    fits &= self.check(reader_id, *branch, path);
                }
                fits
            }
            (Kind::Union(branches), _) => self.check_branches(branches, writer_id, path),
            (Kind::Array(reader), Kind::Array(writer)) => {
                self.check(*reader, *writer, &format!("{path}/items"))
            }
            (Kind::Map(reader), Kind::Map(writer)) => self.check(*reader, *writer, &format!("{path}/values")),
            (Kind::Fixed { name, size }, Kind::Fixed { name: written, size: written_size }) => {
                let named = self.check_name(name, written, path);
                let sized = size == written_size
                    || self.say(
                        "FIXED_SIZE_MISMATCH",
                        format!(
                            "The size of FIXED type field at path '{path}/size' in the {} schema does not match with the {} schema",
                            self.reader_word, self.writer_word
                        ),
                        &format!("expected: {written_size}, found: {size}"),
                    );
                named && sized
            }
            (
                Kind::Enum { name, symbols, default },
                Kind::Enum { name: written, symbols: written_symbols, .. },
            ) => {
                let named = self.check_name(name, written, path);
                let missing: Vec<&str> = written_symbols
                    .iter()
                    .filter(|symbol| !symbols.contains(symbol))
                    .map(String::as_str)
                    .collect();
                let known = missing.is_empty()
                    || default.is_some()
                    || self.say(
                        "MISSING_ENUM_SYMBOLS",
                        format!(
                            "The {} schema is missing enum symbols '[{}]' at path '{path}/symbols' in the {} schema",
                            self.reader_word,
                            missing.join(", "),
                            self.writer_word
                        ),
                        &missing.join(", "),
                    );
                named && known
            }
            (Kind::Record { name, fields }, Kind::Record { name: written, fields: written_fields }) => {
                let named = self.check_name(name, written, path);
                self.check_fields(fields, written_fields, path) && named
            }
            (reader, writer) if reads_primitive(reader, writer) => true,
            _ => self.mismatch(reader_id, writer_id, path),
        }
    }

    /// One branch of the reader's union is enough, so failures of the others leave no sentences.
    fn check_branches(&mut self, branches: &[NodeId], writer: NodeId, path: &str) -> bool {
        let said = self.messages.len();
        let mut fits = false;
        for branch in branches {
            fits |= self.check(*branch, writer, path);
        }
        self.messages.truncate(said);
        if fits {
            return true;
        }
        let word = type_word(&self.writer.node(writer).kind).to_uppercase();
        self.say(
            "MISSING_UNION_BRANCH",
            format!(
                "The {} schema is missing a type inside a union field at path '{}' in the {} schema",
                self.reader_word,
                or_root(path),
                self.writer_word
            ),
            &format!("reader union lacking writer type: {word}"),
        )
    }

    fn check_name(&mut self, reader: &Name, writer: &Name, path: &str) -> bool {
        reader.reads(writer)
            || self.say(
                "NAME_MISMATCH",
                format!("The name of the schema has changed (path '{path}/name')"),
                &format!("expected: {}", writer.full),
            )
    }

    fn check_fields(&mut self, reader: &[RecordField], writer: &[RecordField], path: &str) -> bool {
        let mut fits = true;
        for (index, field) in reader.iter().enumerate() {
            let path = format!("{path}/fields/{index}");
            fits &= match written_field(field, writer) {
                Some(written) => self.check(field.node, written.node, &format!("{path}/type")),
                None => {
                    let has_default = field.default.is_some()
                        || matches!(&self.reader.node(field.node).kind, Kind::Enum { default: Some(_), .. });
                    has_default
                        || self.say(
                            "READER_FIELD_MISSING_DEFAULT_VALUE",
                            format!(
                                "The field '{}' at path '{path}' in the {} schema has no default value and is missing in the {} schema",
                                field.name, self.reader_word, self.writer_word
                            ),
                            &field.name,
                        )
                }
            };
        }
        fits
    }
}

fn or_root(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

/// The field of a writer that a reader's field takes its values from.
#[must_use]
pub fn written_field<'a>(reader: &RecordField, writer: &'a [RecordField]) -> Option<&'a RecordField> {
    writer
        .iter()
        .find(|field| field.name == reader.name)
        .or_else(|| writer.iter().find(|field| reader.aliases.contains(&field.name)))
}

/// Whether a primitive type reads another, promoted or as it is.
fn reads_primitive(reader: &Kind, writer: &Kind) -> bool {
    let promoted: &[Kind] = match writer {
        Kind::Int => &[Kind::Int, Kind::Long, Kind::Float, Kind::Double],
        Kind::Long => &[Kind::Long, Kind::Float, Kind::Double],
        Kind::Float => &[Kind::Float, Kind::Double],
        Kind::Double => &[Kind::Double],
        Kind::String | Kind::Bytes => &[Kind::String, Kind::Bytes],
        Kind::Null => &[Kind::Null],
        Kind::Boolean => &[Kind::Boolean],
        _ => &[],
    };
    promoted.contains(reader)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(reader: &str, writer: &str) -> String {
        let (reader, writer) = (AvroSchema::parse(reader).unwrap(), AvroSchema::parse(writer).unwrap());
        incompatibilities(&reader, &writer, "new", "old").join("\n")
    }

    fn record(fields: &str) -> String {
        format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
    }

    #[test]
    fn fields_may_come_with_a_default_and_go() {
        let one = record(r#"{"name":"a","type":"int"}"#);
        let two = record(r#"{"name":"a","type":"int"},{"name":"b","type":"string"}"#);
        let defaulted = record(r#"{"name":"a","type":"int"},{"name":"b","type":"string","default":""}"#);
        let renamed = record(r#"{"name":"c","aliases":["a"],"type":"long"}"#);
        assert_eq!(said(&one, &two), "");
        assert_eq!(said(&defaulted, &one), "");
        assert_eq!(said(&renamed, &one), "");
        let why = said(&two, &one);
        assert!(why.contains("READER_FIELD_MISSING_DEFAULT_VALUE"), "{why}");
        assert!(why.contains("The field 'b' at path '/fields/1' in the new schema has no default"), "{why}");
    }

    #[test]
    fn types_are_promoted_in_one_direction() {
        let words = ["int", "long", "float", "double", "string", "bytes", "boolean", "null"];
        let reads =
            ["10000000", "11000000", "11100000", "11110000", "00001100", "00001100", "00000010", "00000001"];
        for (reader, row) in words.iter().zip(reads) {
            for (writer, expected) in words.iter().zip(row.chars()) {
                let fits = said(&format!("\"{reader}\""), &format!("\"{writer}\"")).is_empty();
                assert_eq!(fits, expected == '1', "{reader} reads {writer}");
            }
        }
    }

    #[test]
    fn unions_must_cover_what_was_written() {
        assert_eq!(said(r#"["null","long"]"#, r#"["int","null"]"#), "");
        assert_eq!(said(r#"["null","int"]"#, r#""int""#), "");
        assert_eq!(said(r#""long""#, r#"["int"]"#), "");
        assert!(said(r#"["null","int"]"#, r#"["int","string"]"#).contains("MISSING_UNION_BRANCH"));
        assert!(said(r#""int""#, r#"["null","int"]"#).contains("TYPE_MISMATCH"));
    }

    #[test]
    fn enums_fixed_and_names_are_compared() {
        let ab = r#"{"type":"enum","name":"E","symbols":["A","B"]}"#;
        let a = r#"{"type":"enum","name":"E","symbols":["A"]}"#;
        let a_default = r#"{"type":"enum","name":"E","symbols":["A"],"default":"A"}"#;
        assert_eq!(said(ab, a), "");
        assert!(said(a, ab).contains("MISSING_ENUM_SYMBOLS"));
        assert_eq!(said(a_default, ab), "");
        let fixed = |name: &str, size: u32| format!(r#"{{"type":"fixed","name":"{name}","size":{size}}}"#);
        assert!(said(&fixed("F", 4), &fixed("F", 5)).contains("expected: 5, found: 4"));
        assert!(said(&fixed("F", 4), &fixed("G", 4)).contains("NAME_MISMATCH"));
        assert_eq!(said(&fixed("x.F", 4), &fixed("y.F", 4)), "");
    }

    #[test]
    fn what_was_concluded_from_a_refuted_assumption_is_looked_at_again() {
        // "R reads R" is assumed while its first field is compared, and from it follows "S reads S"; the second field
        // refutes it. The union is saved by its map, but the field that holds S alone is not.
        let schema = |last: &str| {
            let r = format!(
                r#"{{"type":"record","name":"R","fields":[
                    {{"name":"s","type":{{"type":"record","name":"S","fields":[{{"name":"r","type":["null","R"]}}]}}}},
                    {{"name":"x","type":"{last}"}}]}}"#
            );
            record(&format!(r#"{{"name":"either","type":{r}}},{{"name":"s","type":"S"}}"#)).replace(
                r#""name":"R","fields":[{"name":"either""#,
                r#""name":"Top","fields":[{"name":"either""#,
            )
        };
        assert_eq!(said(&schema("long"), &schema("int")), "");
        assert_ne!(said(&schema("int"), &schema("long")), "");
    }

    #[test]
    fn a_long_chain_of_types_is_not_followed_to_its_end() {
        // The last of the types is compared first when it is the first field; each holds the one before it.
        let chain = |value: &str| {
            let one = |number: usize| {
                let held = if number == 0 { value.to_owned() } else { format!("R{}", number - 1) };
                format!(r#"{{"type":"record","name":"R{number}","fields":[{{"name":"a","type":"{held}"}}]}}"#)
            };
            (0..3_000).map(one).collect::<Vec<_>>()
        };
        let (old, new) = (chain("int"), chain("long"));
        let parse = |types: &[String]| {
            let others: Vec<&str> = types.iter().map(String::as_str).collect();
            AvroSchema::parse_with("\"R2999\"", &others).unwrap()
        };
        let messages = incompatibilities(&parse(&new), &parse(&old), "new", "old");
        assert!(messages[0].contains("NOT_JUDGED"), "{messages:?}");
    }

    #[test]
    fn a_type_that_contains_itself_is_compared_once() {
        let list = |value: &str| {
            record(&format!(
                r#"{{"name":"value","type":"{value}"}},{{"name":"next","type":["null","R"],"default":null}}"#
            ))
        };
        assert_eq!(said(&list("long"), &list("int")), "");
        assert_eq!(said(&list("int"), &list("long")).lines().count(), 1);
    }
}
