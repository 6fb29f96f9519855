//! The words of stages: what brings records in, changes them, and carries them out.

use schemars::JsonSchema;
use serde::Deserialize;

/// A source connector and the topic it fills.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceSpec {
    /// The connector, as `ottla connector plugins` lists it.
    pub r#type: String,
    /// The connector's own settings.
    #[serde(default = "no_config")]
    #[schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")]
    pub config: serde_json::Value,
    pub to: SourceTarget,
    /// What it was called before: it goes on where it was, under the place and state that it has by that name, so the word
    /// stays in the file.
    pub renamed_from: Option<String>,
    pub on_error: Option<OnError>,
}

/// The topic that a source fills, and how records are written there.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceTarget {
    pub topic: String,
    /// The column that becomes the record's key.
    pub key: Option<String>,
    /// `json` when it is left out.
    pub format: Option<String>,
    /// Under `schemas`.
    pub schema: Option<String>,
}

/// A query, or a plugin that is called with each batch.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TransformSpec {
    /// The topics read. A query names them itself.
    #[serde(default)]
    pub from: Option<OneOrMany>,
    /// A SELECT over topics.
    pub sql: Option<String>,
    pub wasm: Option<WasmSpec>,
    /// The topic written; the transform's own name when it is left out.
    pub to: Option<String>,
    /// A query whose state cannot be kept may lose it: its state and the topic it writes are deleted, and it begins anew.
    #[serde(default)]
    pub replace: bool,
    /// What it was called before: it goes on where it was, under the place and state that it has by that name, so the word
    /// stays in the file.
    pub renamed_from: Option<String>,
    pub on_error: Option<OnError>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WasmSpec {
    /// Under `plugins`.
    pub plugin: String,
}

/// A sink connector and the topics it reads.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SinkSpec {
    pub from: OneOrMany,
    /// The connector, as `ottla connector plugins` lists it.
    pub r#type: String,
    /// The connector's own settings.
    #[serde(default = "no_config")]
    #[schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")]
    pub config: serde_json::Value,
    /// What it was called before: it goes on where it was, under the place and state that it has by that name, so the word
    /// stays in the file.
    pub renamed_from: Option<String>,
    pub on_error: Option<OnError>,
}

/// One topic, or a list of them.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(untagged)]
pub enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub fn names(&self) -> Vec<&str> {
        match self {
            OneOrMany::One(name) => vec![name],
            OneOrMany::Many(names) => names.iter().map(String::as_str).collect(),
        }
    }
}

/// What happens to records that a stage cannot handle.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(untagged)]
pub enum OnError {
    /// The run ends at the first of them.
    Stop(Stop),
    /// They go to a topic, with the reason in headers, and the stage goes on.
    DeadLetter(DeadLetter),
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum Stop {
    #[serde(rename = "stop")]
    Stop,
}

#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct DeadLetter {
    /// The topic that takes them.
    pub to: String,
}

impl OnError {
    /// The topic that takes what the stage cannot handle; none when it stops.
    pub fn dead_letter_topic(&self) -> Option<&str> {
        match self {
            OnError::Stop(Stop::Stop) => None,
            OnError::DeadLetter(dead_letter) => Some(&dead_letter.to),
        }
    }
}

fn no_config() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}
