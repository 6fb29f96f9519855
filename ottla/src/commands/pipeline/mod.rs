//! `ottla pipeline …`

mod test;

use std::path::Path;

use ottla_pipelines::{Pipeline, Severity};

use crate::cli::PipelineCommand;
use crate::failure::Failure;
use crate::output::print_json;

pub async fn run(command: PipelineCommand) -> Result<(), Failure> {
    match command {
        PipelineCommand::Validate { file } => {
            let pipeline = load(&file).await?;
            for warning in &pipeline.warnings {
                eprintln!("{warning}");
            }
            let resolved = pipeline.resolve();
            println!(
                "{}: pipeline {} is valid: {} topics, {} stages",
                file.display(),
                resolved.name,
                resolved.topics.len(),
                resolved.stages.len()
            );
            Ok(())
        }
        PipelineCommand::Test { file, name, output } => test::run(&file, name.as_deref(), output).await,
        PipelineCommand::Schema => Ok(print_json(&ottla_pipelines::json_schema())?),
    }
}

/// Reads and checks a file. What is wrong goes to stderr, all of it at once. Warnings alone are for `validate` to show.
pub async fn load(file: &Path) -> Result<Pipeline, Failure> {
    let path = file.to_owned();
    let loaded =
        tokio::task::spawn_blocking(move || Pipeline::load(&path, &|name| std::env::var(name).ok())).await?;
    match loaded {
        Ok(pipeline) => Ok(pipeline),
        Err(findings) => {
            for finding in &findings {
                eprintln!("{finding}");
            }
            let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
            let plural = if errors == 1 { "" } else { "s" };
            Err(Failure::wrong_words(format!("{}: {errors} error{plural}; nothing was run", file.display())))
        }
    }
}
