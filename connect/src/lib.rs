//! Connect: data from outside into topics and from topics to the outside, exactly once.
//!
//! A connector is a [`Source`] or a [`Sink`] and knows only its own system: it gives batches with positions, or takes
//! batches with offsets. Everything that can lose or double a record is done here, once for all connectors, by the
//! worker: it writes records, positions and dead letters, retries, and starts again where it stopped.
//!
//! ```text
//!  file ─► Source::poll ─► SourceTask ─► topic, dead letters, position in connect-offsets: one transaction
//!
//!  topic ─► SinkTask ─► Sink::write, then Sink::commit(consumed offsets) in one transaction of the target
//!               └─► dead letters
//! ```
//! A sink whose target cannot keep offsets (HTTP) has them in its consumer group, committed when all is delivered: at least
//! once.
//!
//! | module | owns |
//! |---|---|
//! | [`connector`] | the traits and their types |
//! | [`registry`] | which connector types there are, and their configs' schemas |
//! | [`worker`] | tasks: [`SourceTask`], [`SinkTask`], [`TaskHandle`], [`TaskStatus`] |
//! | [`transforms`] | Kafka Connect's single message transforms over batches, and plugins as transforms |
//! | [`plugins`] | which plugins are installed where the connectors run |
//! | [`herder`] | which connectors there are and what they shall do, and Kafka Connect's REST API |
//! | `connectors/<name>/` | `config.rs`, `source.rs`, `sink.rs`, `tests.rs` of each connector |
//!
//! It reaches the broker through `ottla-client` alone, so it runs against any Kafka cluster.

pub mod connector;
mod connectors;
mod error;
mod fingerprint;
pub mod herder;
pub mod plugins;
pub mod registry;
mod secret;
mod texts;
pub mod transforms;
pub mod worker;

pub use connector::{Sink, Source};
pub use error::{ConnectError, ConnectorError, FieldError};
pub use herder::{Herder, HerderError, PluginUsers, TargetState};
pub use plugins::{InstalledPlugins, NoPlugins};
pub use registry::{ConnectorKind, ConnectorType, connector_type, connector_types};
pub use transforms::Transforms;
pub use worker::{
    OnError, RetryPolicy, SinkTask, SinkTaskConfig, SourceTask, SourceTaskConfig, TaskHandle, TaskState,
    TaskStatus, TransactionBoundary, TransactionalWriter,
};
