//! `ottla connector …`: Kafka Connect's REST API from the command line, of Ottla or of any Connect worker.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::cli::Output;
use crate::failure::Failure;
use crate::output::{print_json, print_table};
use crate::rest_client::{RestClient, encoded, text};

/// Where a Connect worker is.
#[derive(Args)]
pub struct WorkerArguments {
    /// The address of a Connect worker's REST API.
    #[arg(long, env = "OTTLA_CONNECT", default_value = "http://localhost:8083", value_name = "URL")]
    pub connect: String,
}

#[derive(Subcommand)]
pub enum ConnectorCommand {
    /// List connectors with their state.
    List {
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        worker: WorkerArguments,
    },
    /// Show a connector's state, tasks and properties, and how far a source has read.
    Describe {
        /// Its name.
        name: String,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        worker: WorkerArguments,
    },
    /// Make a connector, or give it other properties.
    Apply {
        /// Its name.
        name: String,
        /// A file of its properties, as JSON or as NAME=VALUE lines.
        #[arg(short, long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// A property; counts more than the file's.
        #[arg(short, long = "property", value_name = "NAME=VALUE")]
        properties: Vec<String>,
        #[command(flatten)]
        worker: WorkerArguments,
    },
    /// Check properties without making anything.
    Validate {
        /// A file of properties, as JSON or as NAME=VALUE lines.
        #[arg(short, long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// A property; counts more than the file's.
        #[arg(short, long = "property", value_name = "NAME=VALUE")]
        properties: Vec<String>,
        #[command(flatten)]
        worker: WorkerArguments,
    },
    /// Let connectors keep their tasks, which do nothing.
    Pause(Named),
    /// Let paused or stopped connectors go on.
    Resume(Named),
    /// Take connectors' tasks away; the offsets of a source can be changed then.
    Stop(Named),
    /// Start connectors and all their tasks anew.
    Restart(Named),
    /// Delete connectors. A source made again under its name goes on where it was.
    Delete(Named),
    /// Let a stopped source read from the beginning.
    ResetOffsets(Named),
    /// List the types of connectors, transforms and predicates there are, or the properties of one.
    Plugins {
        /// The type.
        class: Option<String>,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        worker: WorkerArguments,
    },
}

/// Some connectors.
#[derive(Args)]
pub struct Named {
    /// Their names.
    #[arg(required = true)]
    names: Vec<String>,
    #[command(flatten)]
    worker: WorkerArguments,
}

pub async fn run(command: ConnectorCommand) -> Result<(), Failure> {
    match command {
        ConnectorCommand::List { output, worker } => list(&at(&worker)?, output).await,
        ConnectorCommand::Describe { name, output, worker } => describe(&at(&worker)?, &name, output).await,
        ConnectorCommand::Apply { name, file, properties, worker } => {
            let properties = read_properties(file.as_deref(), &properties)?;
            let path = format!("connectors/{}/config", encoded(&name));
            at(&worker)?.call(Method::PUT, &path, Some(json!(properties))).await?;
            println!("applied connector {name}");
            Ok(())
        }
        ConnectorCommand::Validate { file, properties, worker } => {
            validate(&at(&worker)?, &read_properties(file.as_deref(), &properties)?).await
        }
        ConnectorCommand::Pause(named) => each(named, Method::PUT, "/pause", "paused").await,
        ConnectorCommand::Resume(named) => each(named, Method::PUT, "/resume", "resumed").await,
        ConnectorCommand::Stop(named) => each(named, Method::PUT, "/stop", "stopped").await,
        ConnectorCommand::Restart(named) => {
            each(named, Method::POST, "/restart?includeTasks=true", "restarted").await
        }
        ConnectorCommand::Delete(named) => each(named, Method::DELETE, "", "deleted").await,
        ConnectorCommand::ResetOffsets(named) => {
            each(named, Method::DELETE, "/offsets", "reset the offsets of").await
        }
        ConnectorCommand::Plugins { class, output, worker } => {
            plugins(&at(&worker)?, class.as_deref(), output).await
        }
    }
}

fn at(worker: &WorkerArguments) -> Result<RestClient, Failure> {
    RestClient::at(&worker.connect, "Connect worker", "--connect")
}

async fn each(named: Named, method: Method, after: &str, done: &str) -> Result<(), Failure> {
    let worker = at(&named.worker)?;
    for name in named.names {
        let path = format!("connectors/{}{after}", encoded(&name));
        worker.call(method.clone(), &path, None).await?;
        println!("{done} connector {name}");
    }
    Ok(())
}

async fn list(worker: &RestClient, output: Output) -> Result<(), Failure> {
    let all = worker.get("connectors?expand=status").await?;
    let all = all.as_object().cloned().unwrap_or_default();
    if output == Output::Json {
        let statuses: Vec<&Value> = all.values().map(|one| &one["status"]).collect();
        return Ok(print_json(&json!(statuses))?);
    }
    let row = |(name, one): (&String, &Value)| {
        let status = &one["status"];
        let tasks = status["tasks"].as_array().cloned().unwrap_or_default();
        let running = tasks.iter().filter(|task| task["state"] == "RUNNING").count();
        let (kind, state) = (text(&status["type"]), text(&status["connector"]["state"]));
        vec![name.clone(), kind, state, format!("{running}/{}", tasks.len())]
    };
    Ok(print_table(
        &["connector", "type", "state", "tasks running"],
        &all.iter().map(row).collect::<Vec<_>>(),
    )?)
}

async fn describe(worker: &RestClient, name: &str, output: Output) -> Result<(), Failure> {
    let path = format!("connectors/{}", encoded(name));
    let info = worker.get(&path).await?;
    let status = worker.get(&format!("{path}/status")).await?;
    // Of a sink they are in its target.
    let offsets = worker.get(&format!("{path}/offsets")).await.unwrap_or(Value::Null);
    if output == Output::Json {
        let whole = json!({ "name": name, "type": info["type"], "config": info["config"],
                            "connector": status["connector"], "tasks": status["tasks"],
                            "offsets": offsets["offsets"] });
        return Ok(print_json(&whole)?);
    }
    println!("connector {name}  {}  {}", text(&info["type"]), text(&status["connector"]["state"]));
    let reports =
        std::iter::once(&status["connector"]).chain(status["tasks"].as_array().into_iter().flatten());
    for report in reports {
        if !report["id"].is_null() {
            println!("  task {}  {}", report["id"], text(&report["state"]));
        }
        if let Some(trace) = report["trace"].as_str() {
            println!("    {trace}");
        }
    }
    for one in offsets["offsets"].as_array().into_iter().flatten() {
        println!("  {} is read up to {}", one["partition"], one["offset"]);
    }
    let config = info["config"].as_object().cloned().unwrap_or_default();
    let rows: Vec<Vec<String>> = config.iter().map(|(name, value)| vec![name.clone(), text(value)]).collect();
    Ok(print_table(&["property", "value"], &rows)?)
}

async fn validate(worker: &RestClient, properties: &BTreeMap<String, String>) -> Result<(), Failure> {
    let class = properties.get("connector.class");
    let class = class.ok_or_else(|| Failure::wrong_words("connector.class is missing"))?;
    let path = format!("connector-plugins/{}/config/validate", encoded(class));
    let found = worker.call(Method::PUT, &path, Some(json!(properties))).await?;
    let mut wrong = Vec::new();
    for config in found["configs"].as_array().into_iter().flatten() {
        let value = &config["value"];
        let errors = value["errors"].as_array().into_iter().flatten();
        wrong.extend(errors.map(|error| format!("{}: {}", text(&value["name"]), text(error))));
    }
    if wrong.is_empty() {
        println!("the properties are right");
        return Ok(());
    }
    Err(Failure::wrong_words(wrong.join("\n")))
}

async fn plugins(worker: &RestClient, class: Option<&str>, output: Output) -> Result<(), Failure> {
    let path = class.map_or_else(
        || "connector-plugins?connectorsOnly=false".to_owned(),
        |class| format!("connector-plugins/{}/config", encoded(class)),
    );
    let found = worker.get(&path).await?;
    if output == Output::Json {
        return Ok(print_json(&found)?);
    }
    let (headers, fields) = match class {
        None => (["class", "type", "version"].as_slice(), ["class", "type", "version"].as_slice()),
        Some(_) => (
            ["property", "type", "default", "meaning"].as_slice(),
            ["name", "type", "default_value", "documentation"].as_slice(),
        ),
    };
    let cell = |value: &Value| if value.is_null() { "-".to_owned() } else { text(value) };
    let row = |one: &Value| fields.iter().map(|field| cell(&one[*field])).collect::<Vec<String>>();
    Ok(print_table(headers, &found.as_array().into_iter().flatten().map(row).collect::<Vec<_>>())?)
}

/// Properties of a file and of the command line.
fn read_properties(file: Option<&Path>, given: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut properties = BTreeMap::new();
    if let Some(path) = file {
        let wrong = |why: String| Failure::wrong_words(format!("{}: {why}", path.display()));
        let content = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        if content.trim_start().starts_with('{') {
            let mut map: Map<String, Value> =
                serde_json::from_str(&content).map_err(|error| wrong(error.to_string()))?;
            // The body that makes a connector is taken too.
            if let Some(Value::Object(config)) = map.remove("config") {
                map = config;
            }
            properties.extend(map.iter().map(|(name, value)| (name.clone(), text(value))));
        } else {
            for line in
                content.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
            {
                let (name, value) =
                    line.split_once('=').ok_or_else(|| wrong(format!("{line:?} should be NAME=VALUE")))?;
                properties.insert(name.trim().to_owned(), value.trim().to_owned());
            }
        }
    }
    for pair in given {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| Failure::wrong_words(format!("--property {pair}: should be NAME=VALUE")))?;
        properties.insert(name.to_owned(), value.to_owned());
    }
    Ok(properties)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_come_from_json_or_lines_and_the_command_line_counts_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        for content in [
            "# a source\nname = x\npath=/a=b\n",
            r#"{"name": "x", "path": "/a=b"}"#,
            r#"{"config": {"name": "x", "path": "/a=b"}}"#,
        ] {
            std::fs::write(&path, content).unwrap();
            let read = read_properties(Some(&path), &["name=y".to_owned()]).unwrap_or_default();
            assert_eq!(
                read,
                [("name", "y"), ("path", "/a=b")].map(|(a, b)| (a.to_owned(), b.to_owned())).into()
            );
        }
        assert!(read_properties(None, &["name".to_owned()]).is_err());
    }

    #[test]
    fn a_name_is_encoded_as_part_of_a_path() {
        assert_eq!(encoded("a b/ü-1"), "a%20b%2F%C3%BC-1");
    }
}
