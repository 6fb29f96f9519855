//! PostgreSQL: the rows of a table into a topic, and rows of a topic into a table, with the consumed offsets in the same
//! transaction.
//!
//! | file | owns | pure |
//! |---|---|---|
//! | `config.rs` | the configs of both | yes |
//! | `session.rs` | connections, their time limit, and which errors may pass | |
//! | `tls.rs` | TLS of connections | |
//! | `statements.rs` | the SQL of both | yes |
//! | `settled.rs` | up to which row nobody can still write | yes |
//! | `source.rs` | reading a table in the order of a column | |
//! | `cells.rs` | rows as the JSON that PostgreSQL reads | yes |
//! | `sink.rs` | writing rows and offsets in one transaction | |

mod cells;
pub(crate) mod config;
mod session;
mod settled;
mod sink;
mod source;
mod statements;
#[cfg(test)]
mod test_server;
#[cfg(test)]
mod tests;
mod tls;
