//! The words of `ottla cluster` and `ottla config`.

use clap::{Args, Subcommand};

use super::{ClusterArguments, Output};

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
    /// Tell whether all is well: exit 0 if so, 1 if something is wrong, with what it is.
    Health {
        /// Ask again for so many seconds, until all is well.
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        wait: u64,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Give every broker the same share of replicas and leaders: of each topic, and of all. Shows the plan, or with --execute carries it out.
    Rebalance {
        /// Only the partitions of these topics.
        #[arg(short, long, value_name = "NAME")]
        topic: Vec<String>,
        /// Take back all moves that are under way, whoever began them.
        #[arg(long, conflicts_with_all = ["topic", "execute"])]
        cancel: bool,
        #[command(flatten)]
        carrying_out: CarryingOut,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Empty a broker that is to leave, take its vote if it is a controller, and have the cluster forget it once it is stopped. Shows the plan, or
    /// with --execute carries it out.
    Decommission {
        /// Its id.
        #[arg(value_name = "BROKER")]
        broker: i32,
        #[command(flatten)]
        carrying_out: CarryingOut,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
}

/// How a plan is carried out.
#[derive(Args)]
pub struct CarryingOut {
    /// Do it, and wait until it is done. What was begun goes on if this is interrupted.
    #[arg(long)]
    pub execute: bool,
    /// Partitions that are copied at the same time.
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub at_once: u16,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
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
