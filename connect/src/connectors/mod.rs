//! The connectors, a folder each: `config.rs`, `source.rs`, `sink.rs`, `tests.rs`.
//!
//! They know their own system and the contract in `connector.rs`; they know neither topics nor the worker.
//! `reading_thread.rs` is for those whose system knows only blocking calls.

pub(crate) mod blackhole;
pub(crate) mod datagen;
pub(crate) mod file;
mod reading_thread;
pub(crate) mod sqlite;
