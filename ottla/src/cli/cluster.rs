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
