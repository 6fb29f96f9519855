//! The words of `ottla produce` and `ottla consume`.

use clap::Args;

use super::{ClusterArguments, Output};

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
