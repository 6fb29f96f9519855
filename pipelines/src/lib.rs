//! Pipelines: one YAML file says what should exist; this crate checks it, resolves it, and runs it.
//!
//! ```text
//!   text ─► yaml (a tree with places) ─► check (everything that is wrong, in one pass)
//!        ─► Pipeline ─► ResolvedPipeline ─► run ─► Summary
//! ```
//!
//! | module | what lives there |
//! |---|---|
//! | [`spec`] | the words of the file: one set of structs for editors' JSON Schema and for the checks |
//! | [`yaml`] | YAML as a tree of values with places. Pure |
//! | [`check`] | all checks, each adding its findings and going on |
//! | [`diagnostic`] | findings with file, line, column, caret and the nearest right word. Pure |
//! | [`load`] | from a path to a checked [`Pipeline`] |
//! | [`resolve`] | what runs: topics and stages in order, with every default and value in place |
//! | [`run`] | runs it against a cluster until its bounded sources are drained |
//! | [`service`] | the pipelines of a server: planned, applied, kept, going on after a restart |
//! | [`testing`] | runs the tests of a file |
//! | [`transform_stage`] | the worker of a transform that calls a plugin, exactly once |
//!
//! Every edge between two stages is a topic, so each can be restarted and inspected, and no stage keeps a
//! private buffer. The cluster is reached through `ottla-client` alone: this crate knows no broker.

pub mod check;
pub mod diagnostic;
pub mod load;
pub mod resolve;
pub mod run;
pub mod service;
pub mod spec;
pub mod testing;
mod topic_log;
pub mod transform_stage;
pub mod yaml;

pub use check::plugins::InstalledPlugins;
pub use diagnostic::{Diagnostic, Position, Severity};
pub use load::{Pipeline, declared_variables, installed_plugins_named, json_schema, validate};
pub use resolve::{ErrorPolicy, ResolvedPipeline, ResolvedStage, TopicSettings, Work};
pub use run::{Event, Outcome, StageSummary, Summary, run};
