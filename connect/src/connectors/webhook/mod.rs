//! Webhook: an address to which others send records, and which says 200 when they are safe.
//!
//! | file | owns | pure |
//! |---|---|---|
//! | `config.rs` | the config | yes |
//! | `request.rs` | who may send, and what a body holds | yes |
//! | `server.rs` | connections, limits and answers | |
//! | `source.rs` | requests as batches, and who is told when they are written | |

pub(crate) mod config;
mod request;
mod server;
mod source;
#[cfg(test)]
mod tests;
