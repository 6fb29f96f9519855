//! Pure replication state of a partition. Owns who has what and which answers wait for it; knows no files, sockets,
//! clocks or tasks.

mod leader;

pub use leader::{AckId, Effect, Event, Leader};
