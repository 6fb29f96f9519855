//! The words of `ottla pipeline` and `ottla run`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Output;

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
    /// Run the tests of a pipeline file: rows in, and what must come out of its transforms.
    Test {
        /// The pipeline file.
        file: PathBuf,
        /// Only the tests whose names contain this text.
        #[arg(short, long, value_name = "TEXT")]
        name: Option<String>,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Print the JSON Schema of pipeline files, for editors.
    Schema,
}
