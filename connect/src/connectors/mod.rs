//! The connectors, a folder each: `config.rs`, `source.rs`, `sink.rs`, `tests.rs`.
//!
//! They know their own system and the contract in `connector.rs`; they know neither topics nor the worker.
//!
//! | file | is for those |
//! |---|---|
//! | `reading_thread.rs` | whose system knows only blocking calls |
//! | `reading_task.rs` | whose system is asked over the network |
//! | `json_rows.rs` | whose records are JSON |
//! | `numbering.rs` | whose records have no positions of their own |

pub(crate) mod blackhole;
pub(crate) mod datagen;
pub(crate) mod file;
pub(crate) mod http;
mod json_rows;
mod numbering;
pub(crate) mod postgres;
mod reading_task;
mod reading_thread;
pub(crate) mod s3;
pub(crate) mod sqlite;
pub(crate) mod webhook;
