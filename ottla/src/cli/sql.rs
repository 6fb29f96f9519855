//! The words of `ottla sql`.

use std::path::PathBuf;

use clap::Args;

use super::{ClusterArguments, Output};

/// `ottla sql`
#[derive(Args)]
pub struct SqlArguments {
    /// The statements, separated by semicolons. Without -e and -f they are asked for.
    #[arg(short, long, conflicts_with = "file")]
    pub execute: Option<String>,
    /// A file with the statements.
    #[arg(short, long)]
    pub file: Option<PathBuf>,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    /// The HTTP address of a server, which runs the statements.
    #[arg(long, env = "OTTLA_HTTP", value_name = "URL", default_value = "http://localhost:8080")]
    pub http: String,
    /// With --bootstrap-server or --command-config this process itself reads what the topics of that cluster hold; there
    /// are CREATE STREAM and CREATE TABLE, for this text, and one SELECT.
    #[command(flatten)]
    pub cluster: ClusterArguments,
}
