//! The S3 sink: records as Parquet files or JSON lines in an object store, or in a folder.

pub(crate) mod config;
mod objects;
mod sink;
mod store;

#[cfg(test)]
mod tests;
