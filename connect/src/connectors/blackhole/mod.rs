//! Blackhole: takes every record and keeps none, to measure what comes before it.

pub(crate) mod config;
