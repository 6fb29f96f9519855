//! The words of `ottla topic`.

use clap::Subcommand;

use super::{ClusterArguments, Output};

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
