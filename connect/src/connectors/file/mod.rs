//! Files: CSV and JSON lines in, JSON lines out.

pub(crate) mod config;
mod sink;
mod source;
#[cfg(test)]
mod tests;
