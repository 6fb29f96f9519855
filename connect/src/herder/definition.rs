//! What a connector's properties mean: Kafka Connect's own, those of the connector type, and nothing else.
//!
//! Properties are text. The type of each of a connector's fields comes from its JSON Schema, so that `"header": "true"`
//! is the boolean that the connector wants.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use ottla_formats::registry::RegistryClient;
use ottla_formats::{AvroFormat, FORMAT_NAMES, Format, format_named, schema_of};
use serde_json::{Map, Value};

use crate::connector::OffsetStore;
use crate::error::FieldError;
use crate::registry::{ConnectorKind, ConnectorType, connector_types, is_secret};
use crate::secret::HIDDEN;
use crate::transforms::{self, Transforms, is_transform_property};
use crate::worker::{OnError, RetryPolicy, TransactionBoundary};

/// A connector's properties, as Kafka Connect's REST API and topics have them.
pub type Properties = BTreeMap<String, String>;

pub(super) const CLASS: &str = "connector.class";
const NAME: &str = "name";
const TASKS_MAX: &str = "tasks.max";
const TOPICS: &str = "topics";
const TOPIC: &str = "topic";
const KEY: &str = "key.column";
const VALUE_FORMAT: &str = "value.converter";
const REGISTRY_URL: &str = "value.converter.schema.registry.url";
const SCHEMAS_ENABLE: &str = "value.converter.schemas.enable";
const VALUE_SCHEMA: &str = "value.schema";
const TOLERANCE: &str = "errors.tolerance";
const DEAD_LETTERS: &str = "errors.deadletterqueue.topic.name";
const RETRY_TIMEOUT: &str = "errors.retry.timeout";
const RETRY_PAUSE_MAX: &str = "errors.retry.delay.max.ms";
const EXACTLY_ONCE: &str = "exactly.once.support";
const BOUNDARY: &str = "transaction.boundary";
const BOUNDARY_INTERVAL: &str = "transaction.boundary.interval.ms";
/// As long as pipelines have it.
const BOUNDARY_INTERVAL_DEFAULT: &str = "100";

/// A property that is the worker's and not the connector's.
pub(super) struct Common {
    pub name: &'static str,
    /// Of which kind of connectors; both where it is absent.
    pub kind: Option<ConnectorKind>,
    pub default: Option<&'static str>,
    pub required: bool,
    pub about: &'static str,
}

const fn common(
    name: &'static str,
    kind: Option<ConnectorKind>,
    default: Option<&'static str>,
    about: &'static str,
) -> Common {
    Common { name, kind, default, required: default.is_none(), about }
}

const fn optional(name: &'static str, kind: Option<ConnectorKind>, about: &'static str) -> Common {
    Common { name, kind, default: None, required: false, about }
}

/// Every property of the worker, in the order in which they are told.
pub(super) const COMMON: &[Common] = &[
    common(NAME, None, None, "the connector's name, under which its offsets are kept"),
    common(CLASS, None, None, "the connector's type, as GET /connector-plugins has it"),
    common(
        TASKS_MAX,
        None,
        Some("1"),
        "the most tasks that are wanted; a source has one, a sink one a topic",
    ),
    common(TOPIC, Some(ConnectorKind::Source), None, "the topic that the records go to"),
    common(
        TOPICS,
        Some(ConnectorKind::Sink),
        None,
        "the topics that the records come from, joined by commas",
    ),
    optional(KEY, Some(ConnectorKind::Source), "the column whose text is the records' key"),
    common(
        VALUE_FORMAT,
        None,
        Some("json"),
        "how rows become values: json, csv, avro, org.apache.kafka.connect.json.JsonConverter, or io.confluent.connect.avro.AvroConverter",
    ),
    optional(REGISTRY_URL, None, "where the schemas of avro are; this server's registry unless set"),
    common(SCHEMAS_ENABLE, None, Some("false"), "must be false: values carry no schema of their own"),
    optional(
        VALUE_SCHEMA,
        None,
        "the columns of the values as a JSON object: {\"id\": \"int\", \"at\": \"timestamp?\"}",
    ),
    common(
        TOLERANCE,
        None,
        Some("none"),
        "none: a bad record stops the task; all: it goes to the dead-letter topic",
    ),
    optional(
        DEAD_LETTERS,
        None,
        "the topic of bad records; with errors.tolerance all, <name>-dead-letters unless set",
    ),
    optional("transforms", None, "what is done to records, in order: names of transforms, joined by commas"),
    optional("predicates", None, "names of predicates that transforms ask"),
    common(
        RETRY_TIMEOUT,
        None,
        Some("-1"),
        "how many milliseconds a task may be without progress after errors that may pass; -1: as long as it takes",
    ),
    common(
        RETRY_PAUSE_MAX,
        None,
        Some("10000"),
        "the longest pause between two attempts after errors that may pass, in milliseconds",
    ),
    common(
        EXACTLY_ONCE,
        Some(ConnectorKind::Source),
        Some("requested"),
        "requested or required: either way records and offsets are written in one transaction",
    ),
    common(
        BOUNDARY,
        Some(ConnectorKind::Source),
        Some("poll"),
        "poll: each batch that the source gives is a transaction; interval: what it gives in transaction.boundary.interval.ms",
    ),
    common(
        BOUNDARY_INTERVAL,
        Some(ConnectorKind::Source),
        Some(BOUNDARY_INTERVAL_DEFAULT),
        "the longest time of a transaction, in milliseconds, with transaction.boundary interval; one ends earlier when the source has nothing to give",
    ),
];

/// A connector that can be started.
pub(super) struct Definition {
    pub class: &'static ConnectorType,
    /// A source has one: it writes there. A sink reads them.
    pub topics: Vec<String>,
    pub config: Value,
    pub key: Option<String>,
    pub format: Arc<dyn Format>,
    pub schema: Option<SchemaRef>,
    /// Of each topic.
    pub transforms: Vec<Transforms>,
    pub on_error: OnError,
    pub retry: RetryPolicy,
    /// Of a source.
    pub transaction_boundary: TransactionBoundary,
    /// Where a sink's offsets are; none for a source.
    pub offset_store: Option<OffsetStore>,
}

/// The word for a type in `connector.class`: `FileSource`, `SqliteSink`.
pub(super) fn class_name(class: &ConnectorType) -> String {
    let capitalised = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    };
    format!("{}{}", capitalised(class.name), capitalised(class.kind().word()))
}

/// The type of this class name.
pub(super) fn class_named(name: &str) -> Option<&'static ConnectorType> {
    connector_types().iter().find(|class| class_name(class) == name)
}

/// Properties as they may be shown: without what is secret.
pub(super) fn hidden(properties: &Properties) -> Properties {
    let schema = properties.get(CLASS).and_then(|name| class_named(name)).map(ConnectorType::config_schema);
    let shown = |(name, value): (&String, &String)| {
        let is_secret = schema.as_ref().is_some_and(|schema| is_secret(schema, name));
        (name.clone(), if is_secret { HIDDEN.to_owned() } else { value.clone() })
    };
    properties.iter().map(shown).collect()
}

/// Properties that were shown and come back: what was hidden is what it was.
pub(super) fn revealed(mut properties: Properties, known: &Properties) -> Properties {
    let shown = hidden(known);
    for (name, value) in &mut properties {
        if value == HIDDEN
            && shown.get(name).is_some_and(|shown| shown == HIDDEN)
            && let Some(known) = known.get(name)
        {
            value.clone_from(known);
        }
    }
    properties
}

/// The properties of the worker that a kind of connector has.
pub(super) fn common_of(kind: ConnectorKind) -> impl Iterator<Item = &'static Common> {
    COMMON.iter().filter(move |common| common.kind.is_none_or(|of| of == kind))
}

impl Definition {
    /// Reads properties.
    ///
    /// # Errors
    /// Everything that is wrong with them, property by property.
    pub fn read(properties: &Properties) -> Result<Definition, Vec<FieldError>> {
        let class = match properties.get(CLASS).map(|name| (name, class_named(name))) {
            Some((_, Some(class))) => class,
            Some((name, None)) => {
                let known: Vec<String> = connector_types().iter().map(class_name).collect();
                let message = format!(
                    "Failed to find any class that implements Connector and which name matches {name}; there are: {}",
                    known.join(", ")
                );
                return Err(vec![FieldError::new(CLASS, message)]);
            }
            None => return Err(vec![FieldError::new(CLASS, "is missing and has no default")]),
        };
        let kind = class.kind();
        let mut errors = Vec::new();
        for common in common_of(kind).filter(|common| common.required && common.name != NAME) {
            if properties.get(common.name).is_none_or(|value| value.trim().is_empty()) {
                errors.push(FieldError::new(common.name, "is missing and has no default"));
            }
        }
        let of_worker =
            |name: &str| common_of(kind).any(|common| common.name == name) || is_transform_property(name);
        let own = properties.iter().filter(|(name, _)| !of_worker(name));
        let schema = class.config_schema();
        let config: Map<String, Value> =
            own.map(|(name, value)| (name.clone(), typed(&schema["properties"][name], value))).collect();
        let config = Value::Object(config);
        errors.extend(class.validate(&config));
        let mut topics: Vec<String> = match kind {
            ConnectorKind::Source => properties.get(TOPIC).cloned().into_iter().collect(),
            ConnectorKind::Sink => {
                let all = properties.get(TOPICS).map(String::as_str).unwrap_or_default().split(',');
                all.map(|topic| topic.trim().to_owned()).filter(|topic| !topic.is_empty()).collect()
            }
        };
        let mut key = properties.get(KEY).cloned();
        let mut transforms = Vec::new();
        for topic in &mut topics {
            let (routes, wrong) = transforms::read(properties, topic);
            // They are the same for every topic, but for what its name decides.
            errors.extend(wrong.into_iter().filter(|_| transforms.is_empty()));
            if kind == ConnectorKind::Source {
                if routes.transforms.needs_places() {
                    let why = "offset.field, partition.field and timestamp.field are of sinks: a source's records have none yet";
                    errors.push(FieldError::new("transforms", why));
                }
                *topic = routes.topic.unwrap_or_else(|| topic.clone());
                key = routes.key.or(key);
            } else if routes.topic.is_some() || routes.key.is_some() {
                let why =
                    "RegexRouter and keys change nothing for a sink, whose topics are named by `topics`";
                errors.push(FieldError::new("transforms", why));
            }
            if kind == ConnectorKind::Sink && routes.transforms.gives_headers() {
                errors
                    .push(FieldError::new("transforms", "HeaderFrom is of sources: targets take no headers"));
            }
            let misplaced = match kind {
                ConnectorKind::Source => {
                    let why = "a source's records go through plugins as they go to the topic, so this must stand before Wasm";
                    routes.after_call.map(|name| (name, why))
                }
                ConnectorKind::Sink => {
                    let why = "a sink's records go through plugins as they are in the topic, so this must stand after Wasm";
                    routes.before_call.map(|name| (name, why))
                }
            };
            let misplaced =
                misplaced.map(|(name, why)| FieldError::new(format!("transforms.{name}.type"), why));
            // It may depend on a topic's name.
            let misplaced = misplaced.filter(|error| !errors.contains(error));
            errors.extend(misplaced);
            transforms.push(routes.transforms);
        }
        let mut told = |name: &str, message: String| errors.push(FieldError::new(name, message));

        if let Some(max) = properties.get(TASKS_MAX)
            && !max.trim().parse::<u32>().is_ok_and(|max| max > 0)
        {
            told(TASKS_MAX, format!("{max} is no number of tasks; it must be at least 1"));
        }
        if topics.iter().enumerate().any(|(place, topic)| topics[..place].contains(topic)) {
            told(TOPICS, "a topic is named twice".to_owned());
        }
        let word = properties.get(VALUE_FORMAT).map_or("json", String::as_str);
        let format = match word {
            "org.apache.kafka.connect.json.JsonConverter" => format_named("json"),
            "avro" | "io.confluent.connect.avro.AvroConverter" => match properties.get(REGISTRY_URL) {
                Some(url) => Some(avro_of(url)),
                None => format_named("avro"),
            },
            word => format_named(word),
        };
        if format.is_none() {
            told(VALUE_FORMAT, format!("{word} is no format; there are: {}", FORMAT_NAMES.join(", ")));
        }
        if properties.get(SCHEMAS_ENABLE).is_some_and(|value| value.trim() != "false") {
            told(SCHEMAS_ENABLE, "must be false: values carry no schema of their own".to_owned());
        }
        let schema = properties.get(VALUE_SCHEMA).map(|text| read_schema(text)).transpose();
        let schema = schema.unwrap_or_else(|message| {
            told(VALUE_SCHEMA, message);
            None
        });
        let on_error = match properties.get(TOLERANCE).map_or("none", |value| value.trim()) {
            "none" => OnError::Stop,
            "all" => {
                let name = properties.get(NAME).map(String::as_str).unwrap_or_default();
                let default = || format!("{name}-dead-letters");
                OnError::DeadLetter { topic: properties.get(DEAD_LETTERS).cloned().unwrap_or_else(default) }
            }
            other => {
                told(TOLERANCE, format!("{other} is neither none nor all"));
                OnError::Stop
            }
        };
        let mut millis = |name: &str, least: i64| -> Option<i64> {
            let text = properties.get(name)?;
            let number = text.trim().parse().ok().filter(|number| *number >= least);
            if number.is_none() {
                told(name, format!("{text} is no number of milliseconds; it must be at least {least}"));
            }
            number
        };
        let timeout = millis(RETRY_TIMEOUT, -1).and_then(|millis| u64::try_from(millis).ok());
        let pause_max = millis(RETRY_PAUSE_MAX, 1).and_then(|millis| u64::try_from(millis).ok());
        let interval = millis(BOUNDARY_INTERVAL, 1).and_then(|millis| u64::try_from(millis).ok());
        let interval = interval.map_or(TransactionBoundary::INTERVAL_DEFAULT, Duration::from_millis);
        let transaction_boundary = match properties.get(BOUNDARY).map_or("poll", |value| value.trim()) {
            "interval" => TransactionBoundary::Interval(interval),
            "poll" => TransactionBoundary::Poll,
            other => {
                told(
                    BOUNDARY,
                    format!("{other} is neither poll nor interval; no source here defines its own"),
                );
                TransactionBoundary::Poll
            }
        };
        if let Some(other) = properties.get(EXACTLY_ONCE)
            && !["requested", "required"].contains(&other.trim())
        {
            told(EXACTLY_ONCE, format!("{other} is neither requested nor required"));
        }
        let retry = RetryPolicy {
            timeout: timeout.map(Duration::from_millis),
            pause_max: pause_max.map_or(RetryPolicy::default().pause_max, Duration::from_millis),
        };
        match (errors.is_empty(), format) {
            (true, Some(format)) => {
                let offset_store = class.offset_store(&config);
                Ok(Definition {
                    class,
                    topics,
                    config,
                    key,
                    format,
                    schema,
                    transforms,
                    on_error,
                    retry,
                    transaction_boundary,
                    offset_store,
                })
            }
            _ => Err(errors),
        }
    }
}

/// A property as the type that its schema asks for; as text where it is of no such type, for the field's own message.
fn typed(schema: &Value, text: &str) -> Value {
    let is = |wanted: &str| match &schema["type"] {
        Value::String(word) => word == wanted,
        Value::Array(words) => words.iter().any(|word| word == wanted),
        _ => false,
    };
    let trimmed = text.trim();
    let as_json = || serde_json::from_str::<Value>(trimmed).ok();
    let parsed = if is("boolean") || is("integer") || is("number") || is("object") {
        as_json().filter(|value| !value.is_string())
    } else if is("array") {
        let listed = || trimmed.split(',').map(|item| Value::from(item.trim())).collect();
        Some(as_json().filter(Value::is_array).unwrap_or_else(|| Value::Array(listed())))
    } else {
        None
    };
    parsed.unwrap_or_else(|| Value::from(text))
}

/// Avro with the schemas of the first registry that is named.
fn avro_of(urls: &str) -> Arc<dyn Format> {
    let url = urls.split(',').next().unwrap_or_default().trim();
    Arc::new(AvroFormat::with_registry(Arc::new(RegistryClient::new(url))))
}

fn read_schema(text: &str) -> Result<SchemaRef, String> {
    let example = "must be a JSON object of columns and types: {\"id\": \"int\"}";
    let columns: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| format!("{example}; {error}"))?;
    let columns: Option<Vec<(&str, &str)>> =
        columns.iter().map(|(name, word)| Some((name.as_str(), word.as_str()?))).collect();
    let columns = columns.ok_or_else(|| example.to_owned())?;
    schema_of(columns).map_err(|(column, error)| format!("{column}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> Properties {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn errors(pairs: &[(&str, &str)]) -> Vec<String> {
        let errors = Definition::read(&properties(pairs)).err().unwrap_or_default();
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn text_becomes_what_the_connector_wants() {
        let source = properties(&[
            ("name", "a"),
            ("connector.class", "FileSource"),
            ("topic", "t"),
            ("path", "/x.csv"),
            ("format", "csv"),
            ("header", "false"),
            ("batch_size", "10"),
            ("null_values", "NA, "),
            ("value.schema", r#"{"id": "int", "name": "string?"}"#),
            ("errors.tolerance", "all"),
        ]);
        let read = Definition::read(&source).map_err(|errors| format!("{errors:?}")).unwrap();
        assert_eq!(read.config["header"], false);
        assert_eq!(read.config["batch_size"], 10);
        assert_eq!(read.config["null_values"], serde_json::json!(["NA", ""]));
        assert_eq!(read.schema.unwrap().fields().len(), 2);
        assert_eq!(read.topics, ["t"]);
        assert_eq!(read.on_error, OnError::DeadLetter { topic: "a-dead-letters".to_owned() });
    }

    #[test]
    fn the_boundary_of_a_sources_transactions_is_read() {
        let boundary = |more: &[(&str, &str)]| {
            let source =
                [("connector.class", "FileSource"), ("topic", "t"), ("path", "/x.csv"), ("format", "csv")];
            let all =
                source.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            Definition::read(&all.collect()).map(|read| read.transaction_boundary)
        };
        assert_eq!(boundary(&[]).unwrap(), TransactionBoundary::Poll);
        assert_eq!(
            boundary(&[("transaction.boundary", "interval")]).unwrap(),
            TransactionBoundary::Interval(Duration::from_millis(BOUNDARY_INTERVAL_DEFAULT.parse().unwrap()))
        );
        let interval = [("transaction.boundary", "interval"), ("transaction.boundary.interval.ms", "7")];
        assert_eq!(boundary(&interval).unwrap(), TransactionBoundary::Interval(Duration::from_millis(7)));
        let wrong = [("transaction.boundary", "connector"), ("exactly.once.support", "no")];
        let told = boundary(&wrong).unwrap_err();
        assert_eq!(
            told.iter().map(|error| error.field.as_str()).collect::<Vec<_>>(),
            [BOUNDARY, EXACTLY_ONCE]
        );
    }

    #[test]
    fn every_property_that_is_wrong_is_told() {
        let found = errors(&[
            ("connector.class", "SqliteSink"),
            ("tasks.max", "0"),
            ("path", "/x.db"),
            ("tabel", "t"),
            ("value.converter", "thrift"),
            ("value.converter.schemas.enable", "true"),
            ("value.schema", "{\"id\": \"nr\"}"),
            ("errors.tolerance", "some"),
            ("errors.retry.timeout", "soon"),
        ]);
        for beginning in [
            "topics: is missing",
            "table: is missing",
            "tabel: unknown field; did you mean 'table'?",
            "tasks.max: 0",
            "value.converter: thrift",
            "value.converter.schemas.enable:",
            "value.schema: id:",
            "errors.tolerance: some",
            "errors.retry.timeout: soon",
        ] {
            assert!(found.iter().any(|message| message.starts_with(beginning)), "{beginning}: {found:#?}");
        }
        assert!(errors(&[("connector.class", "Nope")])[0].contains("FileSource"));
        assert_eq!(errors(&[]), ["connector.class: is missing and has no default"]);
    }

    #[test]
    fn plugins_come_last_in_a_source_and_first_in_a_sink() {
        let transforms = |order: &str, more: &[(&str, &str)]| {
            let of_both = [
                ("transforms", order),
                ("transforms.decode.type", "Wasm"),
                ("transforms.decode.plugin", "decode"),
                ("transforms.mask.type", "MaskField$Value"),
                ("transforms.mask.fields", "a"),
            ];
            errors(&[&of_both[..], more].concat())
        };
        let source =
            [("connector.class", "FileSource"), ("topic", "t"), ("path", "/x.csv"), ("format", "csv")];
        let sink =
            [("connector.class", "BlackholeSink"), ("topics", "t, u"), ("value.schema", r#"{"a": "int"}"#)];
        assert_eq!(transforms("mask, decode", &source), [""; 0]);
        assert_eq!(transforms("decode, mask", &sink), [""; 0]);
        for (order, of, expected) in [
            ("decode, mask", &source[..], "must stand before Wasm"),
            ("mask, decode", &sink[..], "must stand after Wasm"),
        ] {
            let found = transforms(order, of);
            assert!(
                found.len() == 1
                    && found[0].starts_with("transforms.mask.type: ")
                    && found[0].ends_with(expected),
                "{found:?}"
            );
        }
    }
}
