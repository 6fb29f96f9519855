//! What holds across crates. This crate is the home of tests that belong to no single one:
//!
//! - `tests/arrows.rs`: which crate may use which;
//! - `conformance/`: client libraries of other languages against `ottla server`;
//! - `end_to_end/`: the example pipelines against a batch query, also after kills;
//! - `crash/`: kills, power cuts and failing disks of a server under load;
//! - `bench/`: figures with their commands;
//! - `fuzz/`: fuzz targets, a workspace of their own.
//!
//! Tests that run the binary as a process are in `ottla/tests/`, where Cargo builds it for them.
