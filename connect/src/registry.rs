//! Which connector types there are.
//!
//! Each type has a struct for its config (serde and schemars, unknown fields refused) from which come its JSON Schema
//! for editors, its field names for suggestions, and a message per field when it is wrong.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::connector::{OffsetStore, Sink, SinkContext, Source, SourceContext, SourcePartition};
use crate::connectors::{blackhole, datagen, file, http, postgres, s3, sqlite, webhook};
use crate::error::{ConnectError, ConnectorError, FieldError};

/// Whether a connector reads from outside or writes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectorKind {
    /// Into topics.
    Source,
    /// Out of topics.
    Sink,
}

impl ConnectorKind {
    /// `source` or `sink`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Sink => "sink",
        }
    }
}

/// A config that has passed validation, ready to be opened.
pub(crate) trait SourceConfig: Send + Sync {
    /// What the source is split into.
    fn partition(&self) -> SourcePartition;

    /// Opens the source. Called on an async thread, but may read a little.
    fn open(&self, context: SourceContext) -> Result<Box<dyn Source>, ConnectorError>;
}

/// A config that has passed validation, ready to be opened.
pub(crate) trait SinkConfig: Send + Sync {
    /// Where it is kept how far the sink has come.
    fn offset_store(&self) -> OffsetStore {
        OffsetStore::Target
    }

    /// Opens the sink.
    fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>, ConnectorError>;

    /// Opens the sink for the records of one topic, where topics are kept apart in the target.
    fn open_for(&self, context: SinkContext, topic: &str) -> Result<Box<dyn Sink>, ConnectorError> {
        let _ = topic;
        self.open(context)
    }
}

/// What a config struct must do besides being read.
pub(crate) trait CheckConfig: DeserializeOwned + JsonSchema {
    /// What is wrong although every field has its type, field by field.
    fn check(&self) -> Vec<FieldError>;
}

/// A checked config, or every field that is wrong.
type Checked<T> = Result<Box<T>, Vec<FieldError>>;

pub(crate) enum Build {
    Source(fn(Value) -> Checked<dyn SourceConfig>),
    Sink(fn(Value) -> Checked<dyn SinkConfig>),
}

/// A type of connector, as a pipeline's `type:` names it.
pub struct ConnectorType {
    /// The word after `type:`.
    pub name: &'static str,
    /// One sentence for `ottla connector plugins`.
    pub description: &'static str,
    pub(crate) build: Build,
    schema: fn() -> schemars::Schema,
}

/// Every connector type, sources first.
static CONNECTOR_TYPES: [ConnectorType; 12] = [
    ConnectorType {
        name: "datagen",
        description: "makes rows that are the same for the same seed",
        build: Build::Source(|config| {
            Ok(Box::new(read_config::<datagen::config::DatagenSourceConfig>(config)?))
        }),
        schema: || schemars::schema_for!(datagen::config::DatagenSourceConfig),
    },
    ConnectorType {
        name: "file",
        description: "reads a CSV file, a file of JSON lines or a Parquet file, once or, but Parquet, as it grows",
        build: Build::Source(|config| Ok(Box::new(read_config::<file::config::FileSourceConfig>(config)?))),
        schema: || schemars::schema_for!(file::config::FileSourceConfig),
    },
    ConnectorType {
        name: "http",
        description: "reads records from an HTTP endpoint, page by page, once or as they come",
        build: Build::Source(|config| Ok(Box::new(read_config::<http::config::HttpSourceConfig>(config)?))),
        schema: || schemars::schema_for!(http::config::HttpSourceConfig),
    },
    ConnectorType {
        name: "postgres",
        description: "reads the rows of a table of a PostgreSQL database in the order of a column, once or as they come",
        build: Build::Source(|config| {
            Ok(Box::new(read_config::<postgres::config::PostgresSourceConfig>(config)?))
        }),
        schema: || schemars::schema_for!(postgres::config::PostgresSourceConfig),
    },
    ConnectorType {
        name: "sqlite",
        description: "reads the rows of a table of an SQLite database in the order of a column that only grows",
        build: Build::Source(|config| {
            Ok(Box::new(read_config::<sqlite::config::SqliteSourceConfig>(config)?))
        }),
        schema: || schemars::schema_for!(sqlite::config::SqliteSourceConfig),
    },
    ConnectorType {
        name: "webhook",
        description: "takes records that others send by HTTP, and answers when they are safe",
        build: Build::Source(|config| {
            Ok(Box::new(read_config::<webhook::config::WebhookSourceConfig>(config)?))
        }),
        schema: || schemars::schema_for!(webhook::config::WebhookSourceConfig),
    },
    ConnectorType {
        name: "blackhole",
        description: "takes every record and keeps none",
        build: Build::Sink(|config| {
            Ok(Box::new(read_config::<blackhole::config::BlackholeSinkConfig>(config)?))
        }),
        schema: || schemars::schema_for!(blackhole::config::BlackholeSinkConfig),
    },
    ConnectorType {
        name: "file",
        description: "appends records to a file of JSON lines",
        build: Build::Sink(|config| Ok(Box::new(read_config::<file::config::FileSinkConfig>(config)?))),
        schema: || schemars::schema_for!(file::config::FileSinkConfig),
    },
    ConnectorType {
        name: "http",
        description: "sends records to an HTTP endpoint",
        build: Build::Sink(|config| Ok(Box::new(read_config::<http::config::HttpSinkConfig>(config)?))),
        schema: || schemars::schema_for!(http::config::HttpSinkConfig),
    },
    ConnectorType {
        name: "postgres",
        description: "writes records to a table of a PostgreSQL database",
        build: Build::Sink(|config| {
            Ok(Box::new(read_config::<postgres::config::PostgresSinkConfig>(config)?))
        }),
        schema: || schemars::schema_for!(postgres::config::PostgresSinkConfig),
    },
    ConnectorType {
        name: "s3",
        description: "writes records as Parquet or JSON lines to an object store or a folder",
        build: Build::Sink(|config| Ok(Box::new(read_config::<s3::config::S3SinkConfig>(config)?))),
        schema: || schemars::schema_for!(s3::config::S3SinkConfig),
    },
    ConnectorType {
        name: "sqlite",
        description: "writes records to a table of an SQLite database",
        build: Build::Sink(|config| Ok(Box::new(read_config::<sqlite::config::SqliteSinkConfig>(config)?))),
        schema: || schemars::schema_for!(sqlite::config::SqliteSinkConfig),
    },
];

/// Every connector type there is.
#[must_use]
pub fn connector_types() -> &'static [ConnectorType] {
    &CONNECTOR_TYPES
}

/// The connector type of this kind and name.
///
/// # Errors
/// [`ConnectError::UnknownType`] with the types there are and the nearest one.
pub fn connector_type(kind: ConnectorKind, name: &str) -> Result<&'static ConnectorType, ConnectError> {
    let of_kind = || CONNECTOR_TYPES.iter().filter(move |connector| connector.kind() == kind);
    of_kind().find(|connector| connector.name == name).ok_or_else(|| {
        let names: Vec<&str> = of_kind().map(|connector| connector.name).collect();
        ConnectError::UnknownType {
            kind: kind.word(),
            name: name.to_owned(),
            known: names.join(", "),
            nearest: nearest_word(name, names.iter().copied()),
        }
    })
}

impl ConnectorType {
    /// Whether it is a source or a sink.
    #[must_use]
    pub fn kind(&self) -> ConnectorKind {
        match self.build {
            Build::Source(_) => ConnectorKind::Source,
            Build::Sink(_) => ConnectorKind::Sink,
        }
    }

    /// The JSON Schema of its config.
    #[must_use]
    pub fn config_schema(&self) -> Value {
        (self.schema)().to_value()
    }

    /// The names of its config's fields, sorted.
    #[must_use]
    pub fn field_names(&self) -> Vec<String> {
        match self.config_schema().get("properties") {
            Some(Value::Object(properties)) => {
                let mut names: Vec<String> = properties.keys().cloned().collect();
                names.sort();
                names
            }
            _ => Vec::new(),
        }
    }

    /// Where a sink of this right config keeps how far it has come; `None` of a source and of a config that is not right.
    pub(crate) fn offset_store(&self, config: &Value) -> Option<OffsetStore> {
        match &self.build {
            Build::Source(_) => None,
            Build::Sink(build) => build(config.clone()).ok().map(|sink| sink.offset_store()),
        }
    }

    /// What a source of this type reads, by Kafka Connect's words; offsets are kept under it. None of a sink, and of a config
    /// that is wrong.
    #[must_use]
    pub fn place(&self, config: &Value) -> Option<SourcePartition> {
        match &self.build {
            Build::Source(build) => build(config.clone()).ok().map(|source| source.partition()),
            Build::Sink(_) => None,
        }
    }

    /// Checks a config without touching anything outside: unknown and missing fields, types, and values that make no
    /// sense, one error per field; empty when all is well.
    #[must_use]
    pub fn validate(&self, config: &Value) -> Vec<FieldError> {
        let mut errors = self.check_fields(config);
        if errors.is_empty() {
            errors = match &self.build {
                Build::Source(build) => build(config.clone()).err(),
                Build::Sink(build) => build(config.clone()).err(),
            }
            .unwrap_or_default();
        }
        errors
    }

    /// Unknown and missing fields, all at once: a deserializer stops at the first.
    fn check_fields(&self, config: &Value) -> Vec<FieldError> {
        let Value::Object(given) = config else {
            return vec![FieldError::new("", "must be a map of fields")];
        };
        let names = self.field_names();
        let mut errors = Vec::new();
        for field in given.keys().filter(|field| !names.contains(field)) {
            let hint = match nearest_word(field, names.iter().map(String::as_str)) {
                Some(word) => format!("did you mean '{word}'?"),
                None => format!("the fields are: {}", names.join(", ")),
            };
            errors.push(FieldError::new(field.as_str(), format!("unknown field; {hint}")));
        }
        if let Some(Value::Array(required)) = self.config_schema().get("required") {
            for field in required.iter().filter_map(Value::as_str).filter(|field| !given.contains_key(*field))
            {
                errors.push(FieldError::new(field, "is missing and has no default"));
            }
        }
        errors
    }
}

/// Whether a field of a config's schema is one whose value nobody may see.
pub(crate) fn is_secret(schema: &Value, field: &str) -> bool {
    schema["properties"][field]["format"] == "password"
}

/// Reads a config struct and runs its own checks.
fn read_config<C: CheckConfig>(config: Value) -> Result<C, Vec<FieldError>> {
    let Value::Object(fields) = &config else {
        return Err(vec![FieldError::new("", "must be a map of fields")]);
    };
    let parsed: C = match serde_json::from_value(config.clone()) {
        Ok(parsed) => parsed,
        Err(error) => {
            let field = culprit::<C>(fields);
            // The message of a wrong value repeats it.
            let message = match is_secret(&schemars::schema_for!(C).to_value(), &field) {
                true => "is not of the type that it should have".to_owned(),
                false => error.to_string(),
            };
            return Err(vec![FieldError::new(field, message)]);
        }
    };
    let errors = parsed.check();
    if errors.is_empty() { Ok(parsed) } else { Err(errors) }
}

/// The field because of which a config cannot be read: the one without which the message changes.
fn culprit<C: DeserializeOwned>(fields: &serde_json::Map<String, Value>) -> String {
    let message = |fields: serde_json::Map<String, Value>| {
        serde_json::from_value::<C>(Value::Object(fields)).err().map(|error| error.to_string())
    };
    let whole = message(fields.clone());
    fields
        .keys()
        .find(|field| {
            let mut without = fields.clone();
            without.remove(*field);
            message(without) != whole
        })
        .cloned()
        .unwrap_or_default()
}

/// The word that was probably meant, if one is near.
pub(crate) fn nearest_word<'a>(word: &str, words: impl Iterator<Item = &'a str>) -> Option<String> {
    words
        .map(|known| (strsim::damerau_levenshtein(word, known), known))
        .filter(|(distance, known)| *distance <= known.len().div_ceil(3))
        .min()
        .map(|(_, known)| known.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn messages(kind: ConnectorKind, name: &str, config: Value) -> Vec<String> {
        connector_type(kind, name).unwrap().validate(&config).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_unknown_type_names_the_nearest_and_all_others() {
        let error = connector_type(ConnectorKind::Sink, "sqllite").err().unwrap().to_string();
        assert_eq!(
            error,
            "there is no sink of type 'sqllite'; there are: blackhole, file, http, postgres, s3, sqlite (did you mean 'sqlite'?)"
        );
        assert!(connector_type(ConnectorKind::Source, "blackhole").is_err());
    }

    #[test]
    fn every_field_that_is_wrong_has_its_own_message() {
        let found =
            messages(ConnectorKind::Source, "file", json!({"pth": "x", "format": "csv", "zzzzzzzz": 1}));
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found.contains(&"pth: unknown field; did you mean 'path'?".to_owned()), "{found:?}");
        assert!(found.contains(&"path: is missing and has no default".to_owned()), "{found:?}");
    }

    #[test]
    fn a_wrong_type_or_word_names_its_field() {
        let found = messages(ConnectorKind::Source, "file", json!({"path": "x", "format": "xml"}));
        assert!(found[0].starts_with("format: unknown variant `xml`"), "{found:?}");
        let found = messages(
            ConnectorKind::Source,
            "file",
            json!({"path": "x", "format": "csv", "null_values": "NA"}),
        );
        assert!(found[0].starts_with("null_values: "), "{found:?}");
        let found =
            messages(ConnectorKind::Source, "file", json!({"path": "x", "format": "csv", "delimiter": ";;"}));
        assert!(found[0].starts_with("delimiter: "), "{found:?}");
        let found =
            messages(ConnectorKind::Sink, "sqlite", json!({"path": "x", "table": "t", "mode": "upsert"}));
        assert!(found[0].starts_with("primary_key: "), "{found:?}");
    }

    #[test]
    fn every_type_has_a_schema_with_described_fields() {
        for connector in connector_types() {
            let schema = connector.config_schema();
            for field in connector.field_names() {
                let described = schema["properties"][&field].get("description").is_some()
                    || schema["properties"][&field].get("$ref").is_some();
                assert!(described, "{} {}.{field}", connector.kind().word(), connector.name);
            }
            assert_eq!(schema["additionalProperties"], false);
        }
    }
}
