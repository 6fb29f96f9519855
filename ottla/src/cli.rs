//! The words of the command line. One struct per command; help texts are what users read, so they are sentences.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::bench::BenchCommand;
use crate::commands::bench_sql::SqlBenchArguments;
use crate::commands::connector::ConnectorCommand;
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
    /// Register schemas, and say which versions are compatible.
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// Query what topics hold.
    Sql(SqlArguments),
    /// Put load on any Kafka broker and measure it.
    #[command(subcommand)]
    Bench(Bench),
}

/// `ottla bench …`
#[derive(Subcommand)]
pub enum Bench {
    #[command(flatten)]
    Load(BenchCommand),
    /// Run Nexmark's queries over events that lie as JSON in topics, exactly once into result topics.
    Sql(SqlBenchArguments),
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

/// `ottla run`
#[derive(Args)]
pub struct RunArguments {
    /// The pipeline file.
    pub file: PathBuf,
    /// Keep the data here, and go on from there when it exists; without it everything is temporary but the sinks.
    #[arg(long, env = "OTTLA_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// How the summary is printed.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// `ottla pipeline …`
#[derive(Subcommand)]
pub enum PipelineCommand {
    /// Check a pipeline file: every error at once, each with its place.
    Validate {
        /// The pipeline file.
        file: PathBuf,
    },
    /// Print the JSON Schema of pipeline files, for editors.
    Schema,
}

/// `ottla topic …`
#[derive(Subcommand)]
pub enum TopicCommand {
    /// Make a topic.
    Create {
        /// Its name.
        name: String,
        /// How many partitions; the server's num.partitions when left out.
        #[arg(short, long)]
        partitions: Option<i32>,
        /// How many replicas of each; the server's default when left out.
        #[arg(short, long)]
        replication_factor: Option<i16>,
        /// A topic config, as NAME=VALUE; may be given several times.
        #[arg(short, long = "config", value_name = "NAME=VALUE")]
        configs: Vec<String>,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// List topics.
    List {
        /// Also those that hold the cluster's own state.
        #[arg(long)]
        internal: bool,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Show a topic's partitions, offsets and configs.
    Describe {
        /// Its name.
        name: String,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Give a topic more partitions.
    Alter {
        /// Its name.
        name: String,
        /// How many it shall have.
        #[arg(short, long)]
        partitions: i32,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Delete topics with their records.
    Delete {
        /// Their names.
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
}

/// `ottla produce`
#[derive(Args)]
pub struct ProduceArguments {
    /// The topic.
    pub topic: String,
    /// What separates key from value in a line; without it a line is a value.
    #[arg(short, long, value_name = "TEXT")]
    pub key_separator: Option<String>,
    /// The partition; chosen by key when left out.
    #[arg(short, long)]
    pub partition: Option<i32>,
    /// How batches are compressed: none, gzip, snappy, lz4 or zstd.
    #[arg(short = 'z', long, default_value = "none")]
    pub compression: String,
    #[command(flatten)]
    pub cluster: ClusterArguments,
}

/// `ottla consume`
#[derive(Args)]
pub struct ConsumeArguments {
    /// The topic.
    pub topic: String,
    /// Begin with the first record instead of the next one.
    #[arg(long)]
    pub from_beginning: bool,
    /// Consume as a member of this group, and commit what was printed.
    #[arg(short, long)]
    pub group: Option<String>,
    /// Only this partition.
    #[arg(short, long, conflicts_with = "group")]
    pub partition: Option<i32>,
    /// Begin at this offset of the partition.
    #[arg(long, requires = "partition", conflicts_with = "from_beginning")]
    pub offset: Option<i64>,
    /// Stop after so many records.
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub max_records: Option<u64>,
    /// Stop at the offsets that are the ends now.
    #[arg(short, long)]
    pub exit_at_end: bool,
    /// Print keys too, before the value and this text.
    #[arg(short, long, value_name = "TEXT")]
    pub key_separator: Option<String>,
    /// `json` prints one object per record with its offset, time, key, value and headers.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    #[command(flatten)]
    pub cluster: ClusterArguments,
}

/// `ottla group …`
#[derive(Subcommand)]
pub enum GroupCommand {
    /// List groups.
    List {
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Show a group's members, offsets and lag.
    Describe {
        /// Its id.
        group: String,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Show where a group without members would go on to read, and with --execute let it.
    ResetOffsets {
        /// Its id.
        group: String,
        /// Only this topic; without it all that the group has offsets of.
        #[arg(long)]
        topic: Option<String>,
        #[command(flatten)]
        to: ResetTo,
        /// Change the offsets; without it they are only shown.
        #[arg(long)]
        execute: bool,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Delete groups that have no members.
    Delete {
        /// Their ids.
        #[arg(required = true)]
        groups: Vec<String>,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
}

/// Where a group goes on to read.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct ResetTo {
    /// At the first record that is still there.
    #[arg(long)]
    pub to_earliest: bool,
    /// After the last record.
    #[arg(long)]
    pub to_latest: bool,
    /// At this offset, or the nearest that is there.
    #[arg(long, value_name = "OFFSET")]
    pub to_offset: Option<i64>,
    /// At the first record of this time or later, as 2013-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub to_datetime: Option<String>,
    /// So many records on, or with a minus back.
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    pub shift_by: Option<i64>,
}

/// `ottla acl …`
#[derive(Subcommand)]
pub enum AclCommand {
    /// List access control entries.
    List {
        #[command(flatten)]
        entry: AclFilterArguments,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Allow somebody something.
    Allow {
        #[command(flatten)]
        entry: AclArguments,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Deny somebody something, whatever else allows it.
    Deny {
        #[command(flatten)]
        entry: AclArguments,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Remove the entries that agree with all that is said.
    Remove {
        #[command(flatten)]
        entry: AclFilterArguments,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
}

/// What an entry is about.
#[derive(Args)]
pub struct AclArguments {
    /// Who, as User:NAME; User:* is everybody.
    pub principal: String,
    /// What is done: read, write, create, delete, alter, describe, describe-configs, alter-configs, cluster-action,
    /// idempotent-write or all; several with commas.
    #[arg(value_delimiter = ',', required = true)]
    pub operations: Vec<String>,
    /// To what: topic:NAME, group:NAME, transactional-id:NAME or cluster. A name that ends with * is a beginning, * alone
    /// every name.
    pub resource: String,
    /// From where.
    #[arg(long, default_value = "*")]
    pub host: String,
}

/// Which entries are meant.
#[derive(Args)]
pub struct AclFilterArguments {
    /// Only those of this principal, as User:NAME.
    #[arg(long)]
    pub principal: Option<String>,
    /// Only those of this resource, as topic:NAME.
    #[arg(long)]
    pub resource: Option<String>,
}

/// `ottla user …`
#[derive(Subcommand)]
pub enum UserCommand {
    /// List the users that have passwords.
    List {
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Give a user a password, which is read from standard input.
    SetPassword {
        /// Whose.
        user: String,
        /// SCRAM-SHA-256 or SCRAM-SHA-512; both without it.
        #[arg(long)]
        mechanism: Option<String>,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Take a user's passwords away.
    Delete {
        /// Whose.
        user: String,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
}

/// `ottla cluster …`
#[derive(Subcommand)]
pub enum ClusterCommand {
    /// Show the cluster's id, brokers, log dirs and features, and which partitions are not as they should be.
    Describe {
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
}

/// What a config belongs to.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct ConfigOwner {
    /// The configs of this topic.
    #[arg(short, long, value_name = "NAME")]
    pub topic: Option<String>,
    /// The configs of this broker.
    #[arg(short, long, value_name = "ID")]
    pub broker: Option<i32>,
    /// What is set for all brokers together.
    #[arg(long)]
    pub all_brokers: bool,
}

/// `ottla config …`
#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Show the configs that somebody set, or with --all every config with its default.
    Describe {
        #[command(flatten)]
        owner: ConfigOwner,
        /// Also those that nobody set.
        #[arg(long)]
        all: bool,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Set configs.
    Set {
        #[command(flatten)]
        owner: ConfigOwner,
        /// What to set, each as NAME=VALUE.
        #[arg(required = true, value_name = "NAME=VALUE")]
        configs: Vec<String>,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Give configs back to their defaults.
    Unset {
        #[command(flatten)]
        owner: ConfigOwner,
        /// Their names.
        #[arg(required = true, value_name = "NAME")]
        configs: Vec<String>,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
}

/// `ottla transaction …`
#[derive(Subcommand)]
pub enum TransactionCommand {
    /// List transactional ids.
    List {
        /// Only those in this state, as Ongoing or CompleteCommit; may be given several times.
        #[arg(long = "state", value_name = "STATE")]
        states: Vec<String>,
        /// Only those whose transaction has been going on for so many milliseconds.
        #[arg(long, value_name = "MS")]
        running_longer_than_ms: Option<u64>,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Show what its coordinator knows of a transactional id.
    Describe {
        /// The transactional id.
        transactional_id: String,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Show the producers that a partition remembers.
    Producers {
        /// The partition's topic.
        topic: String,
        /// Its number.
        partition: i32,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Find transactions that are open in a partition and that no coordinator knows: they would stay open for ever.
    FindHanging {
        /// Only in this topic; without it in all.
        #[arg(long)]
        topic: Option<String>,
        /// Only those without a record for so many minutes; more than transaction.max.timeout.ms allows.
        #[arg(long, value_name = "MINUTES", default_value_t = 15)]
        open_for_minutes: u32,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Abort what a transactional id has open and fence its producer, or end a hanging transaction in one partition.
    Abort {
        #[command(flatten)]
        which: AbortWhich,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
}

/// Which transaction is aborted.
#[derive(Args)]
pub struct AbortWhich {
    /// The transactional id.
    #[arg(required_unless_present = "topic", conflicts_with = "topic")]
    pub transactional_id: Option<String>,
    /// The topic in which a transaction hangs.
    #[arg(long, requires = "partition")]
    pub topic: Option<String>,
    /// Its partition.
    #[arg(long, requires = "start_offset")]
    pub partition: Option<i32>,
    /// The offset at which the hanging transaction begins there.
    #[arg(long, requires = "topic")]
    pub start_offset: Option<i64>,
}

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
