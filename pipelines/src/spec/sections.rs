//! The words of everything that is no stage: variables, secrets, topics, schemas, plugins, tests.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// An environment variable that the file may read.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvSpec {
    /// Used when the variable is not set. Without it the variable must be set.
    pub default: Option<Scalar>,
    /// Where the default starts when it is a relative path: this file's folder, or the working directory.
    #[serde(default)]
    pub relative_to: RelativeTo,
    pub description: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum RelativeTo {
    #[default]
    File,
    Cwd,
}

/// A value that is neither a list nor a map.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(untagged)]
pub enum Scalar {
    Bool(bool),
    Integer(i64),
    Number(f64),
    Text(String),
}

impl std::fmt::Display for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scalar::Bool(value) => value.fmt(f),
            Scalar::Integer(value) => value.fmt(f),
            Scalar::Number(value) => value.fmt(f),
            Scalar::Text(value) => value.fmt(f),
        }
    }
}

/// Where a secret's value is kept.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretSpec {
    pub from: SecretFrom,
    /// The variable's name, or the file's path.
    pub key: String,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum SecretFrom {
    Env,
    File,
}

/// A topic's settings.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopicSpec {
    /// 1 when it is left out.
    #[schemars(range(min = 1, max = 10000))]
    pub partitions: Option<i32>,
    #[schemars(range(min = 1, max = 100))]
    pub replication_factor: Option<i16>,
    /// Kafka's topic configs, such as `retention.ms`.
    #[serde(default)]
    pub config: BTreeMap<String, Scalar>,
    /// The schema of records that come from outside this pipeline.
    pub schema: Option<String>,
    /// The format of records that come from outside this pipeline; `json` when it is left out.
    pub format: Option<String>,
    /// The event time of its rows: without it windows stay open and their rows are updated for ever.
    pub watermark: Option<WatermarkSpec>,
    /// The columns that tell its rows apart: a record replaces the row of its key. Of what a query writes they are known.
    pub primary_key: Option<Vec<String>>,
}

/// Which column is event time, and how much disorder there is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WatermarkSpec {
    /// A column of type `timestamp`.
    pub column: String,
    /// How far behind the newest row of its partition a row may come, such as `30s`, `5m` or `1h`; not at all when it is
    /// left out.
    pub delay: Option<String>,
}

/// Columns and their types. Their order is the file's, which the tree knows.
pub type SchemaSpec = BTreeMap<String, String>;

/// A WebAssembly component.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginSpec {
    /// The component; a relative path starts at this file's folder. Without it, the plugin of this name that is installed on
    /// the server (`ottla plugin install`).
    pub path: Option<String>,
    /// In hex. A component with another hash is refused.
    pub sha256: Option<String>,
    #[serde(default)]
    pub limits: PluginLimits,
}

/// A function of a plugin; what it takes and gives is the component's word.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FunctionSpec {
    /// Under `plugins`; one of the world `udf-scalar`.
    pub plugin: String,
    /// Its name in the plugin: when it is left out, the one that queries call it by, or the only one that there is.
    pub function: Option<String>,
}

/// What a plugin may use; each has a default.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginLimits {
    /// Memory of one instance, such as `64MiB`.
    pub memory: Option<String>,
    /// CPU time of a call, such as `100ms`.
    pub deadline: Option<String>,
}

/// A row by its columns, or a record's value as it is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TestRow {
    Columns(BTreeMap<String, serde_json::Value>),
    Value(String),
}

/// An example of what goes in and what must come out.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestSpec {
    pub name: String,
    /// Rows by topic.
    pub given: BTreeMap<String, Vec<TestRow>>,
    /// Rows by topic, all that it holds in the end. A column that is left out may be anything.
    pub expect: BTreeMap<String, Vec<TestRow>>,
    /// Whether the order of the rows matters.
    #[serde(default)]
    pub ordered: bool,
}
