//! The words of the command line, a file for each noun. One struct per command; help texts are what users read, so they are
//! sentences.

mod access;
mod bench;
mod cluster;
mod group;
mod pipeline;
mod query;
mod records;
mod sql;
mod topic;
mod transaction;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use access::{AclArguments, AclCommand, AclFilterArguments, UserCommand};
pub use bench::Bench;
pub use cluster::{CarryingOut, ClusterCommand, ConfigCommand, ConfigOwner};
pub use group::{GroupCommand, ResetTo};
pub use pipeline::{PipelineCommand, RunArguments};
pub use query::QueryCommand;
pub use records::{ConsumeArguments, ProduceArguments};
pub use sql::SqlArguments;
pub use topic::TopicCommand;
pub use transaction::{AbortWhich, TransactionCommand};

use crate::commands::connector::ConnectorCommand;
use crate::commands::plugin::PluginCommand;
use crate::commands::schema::SchemaCommand;
use crate::config::ServerArguments;

/// Apache Kafka's ecosystem in one binary: brokers, Connect, Streams and pipelines.
#[derive(Parser)]
#[command(name = "ottla", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Subcommand)]
pub enum Command {
    /// Serve the Kafka protocol, with the data in a directory.
    Server(Box<ServerArguments>),
    /// Run a pipeline file in an embedded server until its bounded sources are drained.
    Run(RunArguments),
    /// Work with pipeline files.
    #[command(subcommand)]
    Pipeline(PipelineCommand),
    /// Make, list, describe, grow and delete topics.
    #[command(subcommand)]
    Topic(TopicCommand),
    /// Produce records from the lines of standard input.
    Produce(ProduceArguments),
    /// Consume records and print them.
    Consume(ConsumeArguments),
    /// List and describe consumer groups.
    #[command(subcommand)]
    Group(GroupCommand),
    /// Show what the cluster is made of and how it is.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Show and change the configs of topics and brokers while they are in use.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Say who may do what.
    #[command(subcommand)]
    Acl(AclCommand),
    /// Give users passwords for SCRAM.
    #[command(subcommand)]
    User(UserCommand),
    /// Show transactions, and end those that nobody else will.
    #[command(subcommand)]
    Transaction(TransactionCommand),
    /// Make connectors, and say what they shall do.
    #[command(subcommand)]
    Connector(ConnectorCommand),
    /// Write, build and try plugins in WebAssembly.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Register schemas, and say which versions are compatible.
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// See the queries that run on a server, have them rest, and end them.
    #[command(subcommand)]
    Query(QueryCommand),
    /// Query what topics hold.
    Sql(SqlArguments),
    /// Put load on any Kafka broker and measure it.
    #[command(subcommand)]
    Bench(Bench),
}

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For spreadsheets (`sql` only).
    Csv,
}

/// Which server to ask by HTTP.
#[derive(Args, Clone)]
pub struct HttpArguments {
    /// The HTTP address of a server.
    #[arg(long, env = "OTTLA_HTTP", value_name = "URL", default_value = "http://localhost:8080")]
    pub http: String,
}

/// Which cluster to talk to.
#[derive(Args, Clone)]
pub struct ClusterArguments {
    /// Brokers to ask first, as HOST:PORT, separated by commas; without them those of the file, or localhost:9092.
    #[arg(long, env = "OTTLA_BOOTSTRAP_SERVER", value_name = "HOST:PORT", value_delimiter = ',')]
    pub bootstrap_server: Vec<String>,
    /// A file with properties of Kafka's clients, which say how to encrypt and who this is.
    #[arg(long, env = "OTTLA_COMMAND_CONFIG", value_name = "FILE")]
    pub command_config: Option<PathBuf>,
}
