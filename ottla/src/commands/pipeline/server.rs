//! `ottla pipeline plan`, `apply`, `list`, `describe` and `delete`: the pipelines of a server, by its HTTP API.

use std::path::Path;

use ottla_pipelines::declared_variables;
use ottla_pipelines::service::{Action, Change, Document, Plan};
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::{HttpArguments, Output};
use crate::failure::Failure;
use crate::output::{print_json, print_table};
use crate::rest_client::{RestClient, encoded, text};

fn at(http: &HttpArguments) -> Result<RestClient, Failure> {
    RestClient::at(&http.http, "Ottla server", "--http")
}

/// A file as a server takes it: whole paths, and the values of the variables that it declares.
fn document(file: &Path) -> Result<Document, Failure> {
    let unreadable =
        |error: std::io::Error| Failure::wrong_words(format!("{}: cannot read it: {error}", file.display()));
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    let env = declared_variables(&text).into_iter().map(|name| {
        let value = std::env::var(&name).ok();
        (name, value)
    });
    Ok(Document {
        file: file.canonicalize().map_err(unreadable)?,
        env: env.collect(),
        working_dir: std::env::current_dir()?,
        text,
    })
}

async fn ask_for_plan(server: &RestClient, file: &Path) -> Result<Plan, Failure> {
    let document = document(file)?;
    let (status, answer) =
        server.send(Method::POST, "pipelines/plan", Some(serde_json::to_value(&document)?)).await?;
    if status.is_success() {
        return Ok(serde_json::from_value(answer)?);
    }
    let findings = answer["findings"].as_array().cloned().unwrap_or_default();
    if findings.is_empty() {
        return Err(RestClient::failure(status, &answer));
    }
    findings.iter().for_each(|finding| eprintln!("{}", text(&finding["text"])));
    let errors = findings.iter().filter(|finding| finding["severity"] == "error").count();
    let plural = if errors == 1 { "" } else { "s" };
    Err(Failure::wrong_words(format!("{}: {errors} error{plural}; nothing was changed", file.display())))
}

pub(super) async fn plan(
    file: &Path,
    out: Option<&Path>,
    exit_code: bool,
    output: Output,
    http: &HttpArguments,
) -> Result<(), Failure> {
    let plan = ask_for_plan(&at(http)?, file).await?;
    if let Some(out) = out {
        let written = std::fs::write(out, serde_json::to_string_pretty(&plan)? + "\n");
        written.map_err(|error| Failure::failed(format!("cannot write {}: {error}", out.display())))?;
    }
    match output {
        Output::Json => print_json(&plan_json(&plan))?,
        _ => print_plan(&plan, file),
    }
    match (plan.is_refused(), exit_code && !plan.changes.is_empty()) {
        (true, _) => Err(Failure::failed("a change is refused, so the plan cannot be applied")),
        (false, true) => Err(Failure::there_are_changes()),
        (false, false) => Ok(()),
    }
}

pub(super) async fn apply(
    file: Option<&Path>,
    planned: Option<&Path>,
    output: Output,
    http: &HttpArguments,
) -> Result<(), Failure> {
    let server = at(http)?;
    let (plan, shown) = match (file, planned) {
        (_, Some(path)) => {
            let wrong = |reason: String| Failure::wrong_words(format!("{}: {reason}", path.display()));
            let read = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
            let plan = serde_json::from_str(&read)
                .map_err(|error| wrong(format!("this is no plan of `ottla pipeline plan --out`: {error}")))?;
            (plan, path)
        }
        (Some(file), None) => (ask_for_plan(&server, file).await?, file),
        (None, None) => return Err(Failure::wrong_words("name a pipeline file, or a plan with --plan")),
    };
    if output != Output::Json {
        print_plan(&plan, shown);
    }
    if plan.is_refused() {
        if output == Output::Json {
            print_json(&plan_json(&plan))?;
        }
        return Err(Failure::failed("a change is refused; nothing was changed"));
    }
    let done = server.call(Method::POST, "pipelines/apply", Some(serde_json::to_value(&plan)?)).await?;
    if output == Output::Json {
        let mut told = plan_json(&plan);
        told["revision"] = done["revision"].clone();
        return Ok(print_json(&told)?);
    }
    if !plan.changes.is_empty() {
        println!("applied {} as revision {}", plan.pipeline, done["revision"]);
    }
    Ok(())
}

fn plan_json(plan: &Plan) -> Value {
    json!({ "pipeline": plan.pipeline, "base_revision": plan.base_revision, "changes": plan.changes,
            "refused": plan.is_refused() })
}

fn print_plan(plan: &Plan, file: &Path) {
    if plan.changes.is_empty() {
        println!("{}: nothing to change", plan.pipeline);
        return;
    }
    for change in &plan.changes {
        let sign = match change.action {
            Action::Create => "+",
            Action::Adopt => "=",
            Action::Update | Action::Restart => "~",
            Action::Replace => "-/+",
            Action::Remove => "-",
        };
        println!("{sign:>3} {:<8} {}", change.kind, change.name);
        change.details.iter().for_each(|detail| println!("               {detail}"));
        if let Some(refusal) = &change.refusal {
            let line = change.line.map(|line| format!("{}:{line}: ", file.display())).unwrap_or_default();
            println!("       refused: {line}{refusal}");
        }
    }
    let count = |actions: &[Action]| {
        plan.changes.iter().filter(|change: &&Change| actions.contains(&change.action)).count()
    };
    println!(
        "\n{}: {} to create, {} to change, {} to replace, {} to remove",
        plan.pipeline,
        count(&[Action::Create, Action::Adopt]),
        count(&[Action::Update, Action::Restart]),
        count(&[Action::Replace]),
        count(&[Action::Remove])
    );
}

pub(super) async fn list(output: Output, http: &HttpArguments) -> Result<(), Failure> {
    let all = at(http)?.get("pipelines").await?;
    if output == Output::Json {
        return Ok(print_json(&all)?);
    }
    let row = |one: &Value| {
        let stages = one["stages"].as_array().cloned().unwrap_or_default();
        let sum =
            |field: &str| stages.iter().filter_map(|stage| stage[field].as_u64()).sum::<u64>().to_string();
        vec![
            text(&one["pipeline"]),
            text(&one["state"]),
            one["revision"].to_string(),
            stages.len().to_string(),
            sum("dead_lettered"),
            text(&one["file"]),
        ]
    };
    let rows: Vec<Vec<String>> = all.as_array().into_iter().flatten().map(row).collect();
    Ok(print_table(&["pipeline", "state", "revision", "stages", "dead letters", "file"], &rows)?)
}

pub(super) async fn describe(name: &str, output: Output, http: &HttpArguments) -> Result<(), Failure> {
    let one = at(http)?.get(&format!("pipelines/{}", encoded(name))).await?;
    if output == Output::Json {
        return Ok(print_json(&one)?);
    }
    println!(
        "pipeline {name}  {}  revision {}  {}",
        text(&one["state"]),
        one["revision"],
        text(&one["file"])
    );
    if let Some(reason) = one["reason"].as_str() {
        println!("  {reason}");
    }
    for function in one["functions"].as_array().into_iter().flatten() {
        let cell = |field: &str| text(&function[field]);
        println!("  function {}: {} of plugin {}", cell("name"), cell("signature"), cell("plugin"));
    }
    let row = |stage: &Value| {
        let error = stage["last_error"].as_str().unwrap_or_default();
        let cell = |field: &str| text(&stage[field]);
        let mut cells: Vec<String> =
            ["stage", "kind", "state", "in", "out", "dead_lettered", "late"].map(cell).to_vec();
        cells.push(error.to_owned());
        cells
    };
    let rows: Vec<Vec<String>> = one["stages"].as_array().into_iter().flatten().map(row).collect();
    Ok(print_table(&["stage", "kind", "state", "in", "out", "dead letters", "late", "error"], &rows)?)
}

pub(super) async fn delete(names: &[String], with_topics: bool, http: &HttpArguments) -> Result<(), Failure> {
    let server = at(http)?;
    for name in names {
        let path = format!("pipelines/{}?topics={with_topics}", encoded(name));
        server.call(Method::DELETE, &path, None).await?;
        println!("deleted pipeline {name}{}", if with_topics { " with its topics" } else { "" });
    }
    Ok(())
}
