//! `ottla pipeline …`

mod record;
mod server;
mod test;

use std::collections::BTreeMap;
use std::path::Path;

use ottla_pipelines::{Diagnostic, InstalledPlugins, Pipeline, Severity, installed_plugins_named};
use serde_json::json;

use crate::cli::{HttpArguments, Output, PipelineCommand};
use crate::failure::Failure;
use crate::output::print_json;
use crate::rest_client::{RestClient, encoded, text};

pub async fn run(command: PipelineCommand) -> Result<(), Failure> {
    match command {
        PipelineCommand::Validate { file, output, http } => validate(&file, output, &http).await,
        PipelineCommand::Test { file, name, record: Some(count), topics, output, http, cluster } => {
            let recording = record::Recording { file, name, count, topics, http, cluster };
            record::run(&recording, output).await
        }
        PipelineCommand::Test { file, name, record: None, output, http, .. } => {
            test::run(&file, name.as_deref(), output, &http).await
        }
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

async fn validate(file: &Path, output: Output, http: &HttpArguments) -> Result<(), Failure> {
    if output == Output::Json {
        let read = read(file, Some(http)).await?;
        let (is_valid, findings) = match &read {
            Ok(pipeline) => (true, &pipeline.warnings),
            Err(findings) => (false, findings),
        };
        let told: Vec<_> = findings.iter().map(finding_json).collect();
        print_json(&json!({ "file": file, "valid": is_valid, "findings": told }))?;
        return read.map(|_| ()).map_err(|findings| wrong(file, &findings));
    }
    let pipeline = load(file, Some(http)).await?;
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

/// Reads and checks a file, with the plugins of a server if there is one. What is wrong goes to stderr, all of it at once.
/// Warnings alone are for `validate` to show.
pub async fn load(file: &Path, server: Option<&HttpArguments>) -> Result<Pipeline, Failure> {
    read(file, server).await?.map_err(|findings| {
        for finding in &findings {
            eprintln!("{finding}");
        }
        wrong(file, &findings)
    })
}

async fn read(
    file: &Path,
    server: Option<&HttpArguments>,
) -> Result<Result<Pipeline, Vec<Diagnostic>>, Failure> {
    match Pipeline::read(file) {
        Ok(text) => checked(file, text, server).await,
        Err(findings) => Ok(Err(findings)),
    }
}

/// Checks a text that stands for the file.
async fn checked(
    file: &Path,
    text: String,
    server: Option<&HttpArguments>,
) -> Result<Result<Pipeline, Vec<Diagnostic>>, Failure> {
    // A server is asked only by a file that names what is installed there.
    let installed = match (installed_plugins_named(&text), server) {
        (named, Some(server)) if !named.is_empty() => installed_on(server, &named).await?,
        _ => InstalledPlugins::default(),
    };
    let path = file.to_owned();
    let read =
        move || Pipeline::from_text_in(&path, &text, &|name| std::env::var(name).ok(), None, &installed);
    Ok(tokio::task::spawn_blocking(read).await?)
}

async fn installed_on(server: &HttpArguments, named: &[String]) -> Result<InstalledPlugins, Failure> {
    let server = RestClient::at(&server.http, "Ottla server", "--http")?;
    let all = server.get("plugins").await?;
    let names: Vec<String> = all.as_array().into_iter().flatten().map(|one| text(&one["name"])).collect();
    let mut components = BTreeMap::new();
    for name in named.iter().filter(|name| names.contains(name)) {
        let path = format!("plugins/{}/component", encoded(name));
        components.insert(name.clone(), server.get_bytes(&path).await?);
    }
    Ok(InstalledPlugins { names, components })
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
