//! YAML as a tree of values that know where they were written. Nothing here knows what a pipeline is.

mod parse;
mod tree;

pub use parse::{NotYaml, TEXT_BYTES_MAX, parse};
pub use tree::{Entry, Node, PathStep, Value};
