//! What queries answer: against batches, against clusters, and how fast.

mod any_cluster;
mod case;
mod differential;
mod documented;
mod harness;
mod nexmark;
mod queries;
mod rate;
mod rows;
