//! Datagen: rows out of nothing, the same ones for the same seed, so that a restart goes on as if there had been none.

mod column;
pub(crate) mod config;
mod source;
#[cfg(test)]
mod tests;
