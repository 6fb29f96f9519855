//! The records of the topic `_schemas`, in Confluent's keys and values.
//!
//! | key | value |
//! |---|---|
//! | `{"keytype":"SCHEMA","subject":"s","version":1,"magic":1}` | the schema; none when it was deleted for good |
//! | `{"keytype":"DELETE_SUBJECT","subject":"s","magic":0}` | versions up to this one are deleted |
//! | `{"keytype":"CLEAR_SUBJECT","subject":"s","magic":0}` | the subject's deleted versions are gone for good |
//! | `{"keytype":"CONFIG","subject":null,"magic":0}` | the compatibility level, of all subjects or of one |
//! | `{"keytype":"MODE","subject":null,"magic":0}` | the mode, of all subjects or of one |
//! | `{"keytype":"NOOP","magic":0}` | here the highest id that was ever given, which may be of a schema that is gone |

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::compatibility::CompatibilityLevel;

/// The topic.
pub const TOPIC: &str = "_schemas";

/// A schema that another refers to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reference {
    pub name: String,
    pub subject: String,
    pub version: i32,
}

/// What a subject's version is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaValue {
    pub id: i32,
    /// `AVRO`, `JSON`, or a type of another registry.
    pub schema_type: String,
    pub references: Vec<Reference>,
    pub text: String,
    pub is_deleted: bool,
}

/// What may be done to subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    ReadWrite,
    ReadOnly,
    /// Read only, whatever the subjects' modes say.
    ReadOnlyOverride,
    /// Schemas come with their ids and versions.
    Import,
}

impl Mode {
    /// Confluent's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Mode::ReadWrite => "READWRITE",
            Mode::ReadOnly => "READONLY",
            Mode::ReadOnlyOverride => "READONLY_OVERRIDE",
            Mode::Import => "IMPORT",
        }
    }

    /// The mode of this word, in any case.
    #[must_use]
    pub fn of(word: &str) -> Option<Mode> {
        let all = [Mode::ReadWrite, Mode::ReadOnly, Mode::ReadOnlyOverride, Mode::Import];
        all.into_iter().find(|mode| mode.word().eq_ignore_ascii_case(word))
    }
}

/// A record of the topic. A value that is none takes back what the key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaRecord {
    Schema { subject: String, version: i32, value: Option<SchemaValue> },
    DeleteSubject { subject: String, through: i32 },
    ClearSubject { subject: String },
    Config { subject: Option<String>, level: Option<CompatibilityLevel> },
    Mode { subject: Option<String>, mode: Option<Mode> },
    LastId { id: i32 },
}

#[derive(Deserialize)]
struct Key {
    keytype: String,
    subject: Option<String>,
    version: Option<i32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredSchema {
    id: i32,
    schema_type: Option<String>,
    #[serde(default)]
    references: Option<Vec<Reference>>,
    schema: String,
    #[serde(default)]
    deleted: bool,
}

impl SchemaRecord {
    /// The key as bytes.
    #[must_use]
    pub fn key(&self) -> Bytes {
        let key = match self {
            // In Confluent's order of attributes, since the log is compacted by these bytes.
            Self::Schema { subject, version, .. } => format!(
                r#"{{"keytype":"SCHEMA","subject":{},"version":{version},"magic":1}}"#,
                Value::from(subject.as_str())
            ),
            Self::DeleteSubject { subject, .. } => subject_key("DELETE_SUBJECT", Some(subject)),
            Self::ClearSubject { subject } => subject_key("CLEAR_SUBJECT", Some(subject)),
            Self::Config { subject, .. } => subject_key("CONFIG", subject.as_deref()),
            Self::Mode { subject, .. } => subject_key("MODE", subject.as_deref()),
            Self::LastId { .. } => r#"{"keytype":"NOOP","magic":0}"#.to_owned(),
        };
        Bytes::from(key)
    }

    /// The value as bytes; none is a tombstone.
    #[must_use]
    pub fn value(&self) -> Option<Bytes> {
        let value = match self {
            Self::Schema { subject, version, value } => {
                let SchemaValue { id, schema_type, references, text, is_deleted } = value.as_ref()?;
                let mut out = json!({
                    "subject": subject, "version": version, "id": id, "schema": text, "deleted": is_deleted,
                });
                // A reader that knows Avro only finds none of these where there is nothing else.
                if schema_type != super::parsed::AVRO {
                    out["schemaType"] = json!(schema_type);
                }
                if !references.is_empty() {
                    out["references"] = json!(references);
                }
                out
            }
            Self::DeleteSubject { subject, through } => json!({ "subject": subject, "version": through }),
            Self::ClearSubject { subject } => json!({ "subject": subject }),
            Self::Config { level, .. } => json!({ "compatibilityLevel": (*level)?.word() }),
            Self::Mode { mode, .. } => json!({ "mode": (*mode)?.word() }),
            Self::LastId { id } => json!({ "lastId": id }),
        };
        Some(Bytes::from(value.to_string()))
    }

    /// Reads a record; nothing for one that says nothing here.
    ///
    /// # Errors
    /// A sentence with what cannot be read.
    pub fn read(key: &[u8], value: Option<&[u8]>) -> Result<Option<SchemaRecord>, String> {
        let key: Key = serde_json::from_slice(key).map_err(|error| format!("the key: {error}"))?;
        let subject = |key: Key| key.subject.ok_or_else(|| "the key has no subject".to_owned());
        let body = match value {
            Some(value) => {
                let value: Value =
                    serde_json::from_slice(value).map_err(|error| format!("the value: {error}"))?;
                Some(value).filter(|value| !value.is_null())
            }
            None => None,
        };
        let number = |name: &str| -> Option<i32> {
            body.as_ref()?.get(name)?.as_i64().and_then(|number| i32::try_from(number).ok())
        };
        let text = |name: &str| body.as_ref().and_then(|body| body.get(name)?.as_str());
        Ok(Some(match key.keytype.as_str() {
            "SCHEMA" => {
                let version = key.version.ok_or("the key has no version")?;
                let value = match body {
                    None => None,
                    Some(body) => {
                        let stored: StoredSchema =
                            serde_json::from_value(body).map_err(|error| format!("the value: {error}"))?;
                        Some(SchemaValue {
                            id: stored.id,
                            schema_type: stored.schema_type.unwrap_or_else(|| super::parsed::AVRO.to_owned()),
                            references: stored.references.unwrap_or_default(),
                            text: stored.schema,
                            is_deleted: stored.deleted,
                        })
                    }
                };
                SchemaRecord::Schema { subject: subject(key)?, version, value }
            }
            // Its tombstone says nothing: the versions are tombstoned themselves.
            "DELETE_SUBJECT" => match number("version") {
                Some(through) => SchemaRecord::DeleteSubject { subject: subject(key)?, through },
                None => return Ok(None),
            },
            "CLEAR_SUBJECT" => match body {
                Some(_) => SchemaRecord::ClearSubject { subject: subject(key)? },
                None => return Ok(None),
            },
            "CONFIG" => {
                let level = match text("compatibilityLevel") {
                    None => None,
                    Some(word) => Some(word.parse().map_err(|_| format!("no compatibility level {word}"))?),
                };
                SchemaRecord::Config { subject: key.subject, level }
            }
            "MODE" => {
                let mode = match text("mode") {
                    None => None,
                    Some(word) => Some(Mode::of(word).ok_or_else(|| format!("no mode {word}"))?),
                };
                SchemaRecord::Mode { subject: key.subject, mode }
            }
            "NOOP" => match number("lastId") {
                Some(id) => SchemaRecord::LastId { id },
                None => return Ok(None),
            },
            "CONTEXT" => return Ok(None),
            other => return Err(format!("no key type {other}")),
        }))
    }
}

fn subject_key(keytype: &str, subject: Option<&str>) -> String {
    let subject = subject.map_or(Value::Null, Value::from);
    format!(r#"{{"keytype":"{keytype}","subject":{subject},"magic":0}}"#)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_record() -> impl Strategy<Value = SchemaRecord> {
        let subject = || "\\PC{1,8}";
        let reference = ("\\PC{1,4}", "\\PC{1,4}", 1..9i32).prop_map(|(name, subject, version)| Reference {
            name,
            subject,
            version,
        });
        let value = (
            any::<i32>(),
            "AVRO|JSON|PROTOBUF",
            prop::collection::vec(reference, 0..3),
            "\\PC{0,20}",
            any::<bool>(),
        )
            .prop_map(|(id, schema_type, references, text, is_deleted)| SchemaValue {
                id,
                schema_type,
                references,
                text,
                is_deleted,
            });
        let level = prop::sample::select(vec!["NONE", "BACKWARD", "FULL_TRANSITIVE"])
            .prop_map(|word| word.parse::<CompatibilityLevel>().unwrap());
        let mode =
            prop::sample::select(vec![Mode::ReadWrite, Mode::ReadOnly, Mode::ReadOnlyOverride, Mode::Import]);
        prop_oneof![
            (subject(), any::<i32>(), prop::option::of(value))
                .prop_map(|(subject, version, value)| SchemaRecord::Schema { subject, version, value }),
            (subject(), any::<i32>())
                .prop_map(|(subject, through)| SchemaRecord::DeleteSubject { subject, through }),
            subject().prop_map(|subject| SchemaRecord::ClearSubject { subject }),
            (prop::option::of(subject()), prop::option::of(level))
                .prop_map(|(subject, level)| SchemaRecord::Config { subject, level }),
            (prop::option::of(subject()), prop::option::of(mode))
                .prop_map(|(subject, mode)| SchemaRecord::Mode { subject, mode }),
            any::<i32>().prop_map(|id| SchemaRecord::LastId { id }),
        ]
    }

    proptest! {
        #[test]
        fn records_come_back_as_they_were_written(record in any_record()) {
            let read = SchemaRecord::read(&record.key(), record.value().as_deref());
            prop_assert_eq!(read, Ok(Some(record)));
        }

        #[test]
        fn any_bytes_are_read_or_refused(key in "[\\PC]{0,40}", value in "[\\PC]{0,40}") {
            let _ = SchemaRecord::read(key.as_bytes(), Some(value.as_bytes()));
        }
    }

    #[test]
    fn records_of_confluents_registry_are_read() {
        let key = br#"{"keytype":"SCHEMA","subject":"orders-value","version":2,"magic":1}"#;
        let value = br#"{"subject":"orders-value","version":2,"id":7,"md5":"x","schema":"\"string\"","deleted":false,"ts":1,"offset":3}"#;
        let value = SchemaRecord::read(key, Some(value)).unwrap().unwrap();
        let SchemaRecord::Schema { subject, version: 2, value: Some(schema) } = &value else {
            panic!("{value:?}")
        };
        assert_eq!((subject.as_str(), schema.id, schema.text.as_str()), ("orders-value", 7, "\"string\""));
        assert_eq!(value.key().as_ref(), key);
        assert_eq!(SchemaRecord::read(br#"{"keytype":"NOOP","magic":0}"#, None), Ok(None));
        assert!(SchemaRecord::read(b"{}", None).is_err());
    }
}
