//! SQLite: rows of a topic into a table, with the consumed offsets in the same transaction.

mod cells;
pub(crate) mod config;
mod sink;
mod statements;
#[cfg(test)]
mod tests;
