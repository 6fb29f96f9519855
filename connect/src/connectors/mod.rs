//! The connectors, a folder each: `config.rs`, `source.rs`, `sink.rs`, `tests.rs`.
//!
//! They know their own system and the contract in `connector.rs`; they know neither topics nor the worker.

pub(crate) mod blackhole;
pub(crate) mod datagen;
pub(crate) mod file;
pub(crate) mod sqlite;
