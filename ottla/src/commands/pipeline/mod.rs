//! `ottla pipeline …`

mod server;
mod test;

use std::path::Path;

use ottla_pipelines::{Diagnostic, Pipeline, Severity};
use serde_json::json;

use crate::cli::{Output, PipelineCommand};
use crate::failure::Failure;
use crate::output::print_json;

pub async fn run(command: PipelineCommand) -> Result<(), Failure> {
    match command {
        PipelineCommand::Validate { file, output } => validate(&file, output).await,
        PipelineCommand::Test { file, name, output } => test::run(&file, name.as_deref(), output).await,
        PipelineCommand::Plan { file, out, exit_code, output, http } => {
            server::plan(&file, out.as_deref(), exit_code, output, &http).await
        }
        PipelineCommand::Apply { file, plan, output, http } => {
            server::apply(file.as_deref(), plan.as_deref(), output, &http).await
        }
        PipelineCommand::List { output, http } => server::list(output, &http).await,
        PipelineCommand::Describe { name, output, http } => server::describe(&name, output, &http).await,
        PipelineCommand::Delete { names, topics, http } => server::delete(&names, topics, &http).await,
        PipelineCommand::Schema => Ok(print_json(&ottla_pipelines::json_schema())?),
    }
}

async fn validate(file: &Path, output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        let read = read(file).await?;
        let (is_valid, findings) = match &read {
            Ok(pipeline) => (true, &pipeline.warnings),
            Err(findings) => (false, findings),
        };
        let told: Vec<_> = findings.iter().map(finding_json).collect();
        print_json(&json!({ "file": file, "valid": is_valid, "findings": told }))?;
        return read.map(|_| ()).map_err(|findings| wrong(file, &findings));
    }
    let pipeline = load(file).await?;
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

/// Reads and checks a file. What is wrong goes to stderr, all of it at once. Warnings alone are for `validate` to show.
pub async fn load(file: &Path) -> Result<Pipeline, Failure> {
    read(file).await?.map_err(|findings| {
        for finding in &findings {
            eprintln!("{finding}");
        }
        wrong(file, &findings)
    })
}

async fn read(file: &Path) -> Result<Result<Pipeline, Vec<Diagnostic>>, Failure> {
    let path = file.to_owned();
    let read = move || Pipeline::load(&path, &|name| std::env::var(name).ok());
    Ok(tokio::task::spawn_blocking(read).await?)
}

fn wrong(file: &Path, findings: &[Diagnostic]) -> Failure {
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let plural = if errors == 1 { "" } else { "s" };
    Failure::wrong_words(format!("{}: {errors} error{plural}; nothing was run", file.display()))
}

/// A finding for programs; `text` is what a terminal should show.
pub fn finding_json(finding: &Diagnostic) -> serde_json::Value {
    json!({ "severity": finding.severity.word(), "file": finding.file, "message": finding.message, "help": finding.help,
            "line": finding.position.map(|at| at.line), "column": finding.position.map(|at| at.column),
            "text": finding.to_string() })
}
