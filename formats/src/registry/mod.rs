//! The schema registry: Confluent's REST API over the topic `_schemas`, on any Kafka cluster.
//!
//! | file | owns | pure |
//! |---|---|---|
//! | `parsed.rs`, `json_schema/` | schemas as texts: valid, the same, readable by one another | yes |
//! | `compatibility.rs` | what a compatibility level asks of versions | yes |
//! | `records.rs` | the records of `_schemas` | yes |
//! | `subjects.rs` | what the records say | yes |
//! | `decide.rs` | what a change comes to | yes |
//! | `log.rs` | the topic | |
//! | `service.rs` | the task that owns it | |
//! | `rest.rs` | the REST API | |
//! | `client.rs` | a registry as formats ask it | |

mod client;
mod compatibility;
mod decide;
mod error;
pub mod json_schema;
mod log;
mod parsed;
mod records;
mod rest;
mod service;
mod subjects;

#[cfg(test)]
pub(crate) mod tests;

pub use client::{Found, RegistryClient};
pub use compatibility::CompatibilityLevel;
pub use decide::{Change, Reply, SchemaRequest};
pub use error::RegistryError;
pub use log::{KafkaLog, Logged, SchemaLog};
pub use parsed::ParsedSchema;
pub use records::{Mode, Reference, SchemaRecord, SchemaValue, TOPIC};
pub use rest::CONTENT_TYPE;
pub use service::SchemaRegistry;
pub use subjects::{StoredSchema, Subjects, Version, VersionName, Which};
