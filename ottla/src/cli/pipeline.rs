//! The words of `ottla pipeline` and `ottla run`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{ClusterArguments, HttpArguments, Output};

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
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        http: HttpArguments,
    },
    /// Run the tests of a pipeline file: rows in, and what must come out of its transforms. With --record, make a test of
    /// what a cluster has.
    Test {
        /// The pipeline file.
        file: PathBuf,
        /// Only the tests whose names contain this text; with --record, what the new test is called.
        #[arg(short, long, value_name = "TEXT")]
        name: Option<String>,
        /// Give the transforms the last N records of the topics that they read, and write them with what comes out into the
        /// file, as a test.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
        record: Option<u16>,
        /// With --record, the topics whose records are given; by default all that transforms read and none writes.
        #[arg(long = "topic", value_name = "TOPIC", requires = "record")]
        topics: Vec<String>,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        http: HttpArguments,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Show what applying a file to a server would change, and what is refused and why.
    Plan {
        /// The pipeline file.
        file: PathBuf,
        /// Keep the plan in this file, for `apply --plan`.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Exit with 3 when there are changes.
        #[arg(long)]
        exit_code: bool,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        http: HttpArguments,
    },
    /// Have a server run a file, now and after each restart: exactly what `plan` shows, or nothing.
    Apply {
        /// The pipeline file.
        #[arg(required_unless_present = "plan", conflicts_with = "plan")]
        file: Option<PathBuf>,
        /// A plan that `plan --out` has kept; it is refused when something has changed since.
        #[arg(long, value_name = "FILE")]
        plan: Option<PathBuf>,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        http: HttpArguments,
    },
    /// List a server's pipelines with their state.
    List {
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        http: HttpArguments,
    },
    /// Show a pipeline's state and that of each of its stages.
    Describe {
        /// Its name.
        name: String,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        http: HttpArguments,
    },
    /// Stop pipelines and forget them. Applied again they go on where they were.
    Delete {
        /// Their names.
        #[arg(required = true)]
        names: Vec<String>,
        /// Delete their topics, states and places too, with all records.
        #[arg(long)]
        topics: bool,
        #[command(flatten)]
        http: HttpArguments,
    },
    /// Print the JSON Schema of pipeline files, for editors.
    Schema,
}
