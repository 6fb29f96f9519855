//! SQLite: the rows of a table into a topic, and rows of a topic into a table, with the consumed offsets in the same
//! transaction.

mod cells;
pub(crate) mod config;
mod sink;
mod source;
mod statements;
#[cfg(test)]
mod tests;
