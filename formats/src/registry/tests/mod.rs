//! The registry as its clients see it, over a topic in memory, and its decisions under random changes.

mod changes;
pub(crate) mod memory_log;
mod rest;
