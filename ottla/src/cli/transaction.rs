//! The words of `ottla transaction`.

use clap::{Args, Subcommand};

use super::{ClusterArguments, Output};

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
