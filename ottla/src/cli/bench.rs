//! The words of `ottla bench`.

use clap::Subcommand;

use crate::commands::bench::BenchCommand;
use crate::commands::bench_sql::SqlBenchArguments;

/// `ottla bench …`
#[derive(Subcommand)]
pub enum Bench {
    #[command(flatten)]
    Load(BenchCommand),
    /// Run Nexmark's queries over events that lie as JSON in topics, exactly once into result topics.
    Sql(SqlBenchArguments),
}
