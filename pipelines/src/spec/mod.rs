//! The words of a pipeline file: one set of structs gives the JSON Schema for editors, the checks, and the
//! values that the rest of the crate works with. What the words mean together is checked elsewhere.

mod sections;
mod stages;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

pub use sections::{
    EnvSpec, FunctionSpec, PluginLimits, PluginSpec, RelativeTo, Scalar, SchemaSpec, SecretFrom, SecretSpec,
    TestRow, TestSpec, TopicSpec, WatermarkSpec,
};
pub use stages::{
    DeadLetter, OnError, OneOrMany, SinkSpec, SourceSpec, SourceTarget, Stop, TransformSpec, WasmSpec,
};

/// A pipeline: what should exist, as flat maps of named things that are wired by topics.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The version of this file's words.
    pub version: Version,
    /// Prefixes the names of groups and of internal topics.
    pub name: String,
    pub description: Option<String>,
    /// The only environment variables this file may read, by `!env NAME`.
    #[serde(default)]
    pub env: BTreeMap<String, EnvSpec>,
    /// Values that are never printed, by `!secret name`.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretSpec>,
    /// Topics with settings of their own. Those that stages write are made anyway.
    #[serde(default)]
    pub topics: BTreeMap<String, TopicSpec>,
    /// Columns and their types, in order: `string`, `int`, `int32`, `double`, `boolean`, `timestamp`, `date`,
    /// `decimal(p,s)`, `bytes`; a `?` behind a type allows null.
    #[serde(default)]
    pub schemas: BTreeMap<String, SchemaSpec>,
    /// WebAssembly components: transforms, and functions for queries.
    #[serde(default)]
    pub plugins: BTreeMap<String, PluginSpec>,
    /// Functions of plugins, by the names under which queries call them.
    #[serde(default)]
    pub functions: BTreeMap<String, FunctionSpec>,
    /// What brings records in.
    #[serde(default)]
    pub sources: BTreeMap<String, SourceSpec>,
    /// What makes topics of topics.
    #[serde(default)]
    pub transforms: BTreeMap<String, TransformSpec>,
    /// What carries records out.
    #[serde(default)]
    pub sinks: BTreeMap<String, SinkSpec>,
    /// What happens to records that a stage cannot handle, unless the stage says otherwise: `stop` (the
    /// default), or the topic that takes them.
    pub on_error: Option<OnError>,
    /// Examples of what goes in and what must come out.
    #[serde(default)]
    pub tests: Vec<TestSpec>,
}

/// The one version there is.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum Version {
    #[serde(rename = "ottla/v1")]
    V1,
}
