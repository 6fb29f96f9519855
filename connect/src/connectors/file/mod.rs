//! Files: CSV, JSON lines and Parquet in, JSON lines out.
//!
//! | file | owns |
//! |---|---|
//! | `config.rs` | the configs of both |
//! | `source.rs` | finding the place to read from |
//! | `lines.rs` | one face for CSV and JSON lines |
//! | `parquet.rs` | reading Parquet |
//! | `reading.rs` | the thread that reads and follows |
//! | `known.rs` | by what a file is known again |
//! | `rotation.rs` | files that have other names now |
//! | `sink.rs` | appending |

pub(crate) mod config;
mod known;
mod lines;
mod parquet;
#[cfg(test)]
mod parquet_tests;
mod reading;
mod rotation;
#[cfg(test)]
mod rotation_tests;
mod sink;
mod source;
#[cfg(test)]
mod tests;
