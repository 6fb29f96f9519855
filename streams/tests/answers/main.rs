//! What queries answer: against batch answers, against a real cluster, and how fast.

mod any_cluster;
mod differential;
mod rate;
