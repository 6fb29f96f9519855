//! Everything that can be known to be wrong with a pipeline file before anything runs. Each check adds its
//! findings and goes on, so that all are told in one pass. Pure but for the environment, secrets' files and
//! plugins' files, which come in by argument or path.

pub mod configs;
pub mod event_time;
pub mod functions;
pub mod graph;
pub mod plugins;
pub mod schemas;
pub mod shape;
pub mod sql;
pub mod tests_section;
pub mod units;
pub mod values;
pub mod wiring;
