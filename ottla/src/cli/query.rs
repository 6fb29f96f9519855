//! The words of `ottla query`.

use clap::Subcommand;

use super::{HttpArguments, Output};

/// `ottla query …`
#[derive(Subcommand)]
pub enum QueryCommand {
    /// List the queries that run on a server, with how far they are.
    List {
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        http: HttpArguments,
    },
    /// Show a query's progress, its statement and the operators that it runs as.
    Describe {
        /// Its name.
        name: String,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        http: HttpArguments,
    },
    /// Show how a SELECT would run: its operators, what tells its rows apart, and what bounds its state.
    Explain {
        /// The SELECT.
        sql: String,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        http: HttpArguments,
    },
    /// Have queries rest, also over restarts. They keep their state and their place.
    Pause {
        /// Their names.
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        http: HttpArguments,
    },
    /// Let queries go on where they were.
    Resume {
        /// Their names.
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        http: HttpArguments,
    },
    /// End queries and delete their state; with a view its rows go too.
    Drop {
        /// Their names.
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        http: HttpArguments,
    },
}
