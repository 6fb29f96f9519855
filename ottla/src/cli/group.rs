//! The words of `ottla group`.

use clap::{Args, Subcommand};

use super::{ClusterArguments, Output};

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
