//! `ottla schema …`: the Schema Registry's REST API from the command line, of Ottla or of any registry.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::Output;
use crate::failure::Failure;
use crate::output::{print_json, print_table};
use crate::rest_client::{RestClient, encoded, text};

/// Where a schema registry is.
#[derive(Args)]
pub struct RegistryArguments {
    /// The address of a schema registry's REST API.
    #[arg(long, env = "OTTLA_REGISTRY", default_value = "http://localhost:8081", value_name = "URL")]
    pub registry: String,
}

#[derive(Subcommand)]
pub enum SchemaCommand {
    /// List subjects with their newest versions.
    List {
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        registry: RegistryArguments,
    },
    /// Show a version of a subject, its newest unless it is said.
    Get {
        /// The subject.
        subject: String,
        /// A number, or `latest`.
        #[arg(value_name = "VERSION", default_value = "latest")]
        number: String,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        registry: RegistryArguments,
    },
    /// Make a schema the newest version of a subject, unless it is one already.
    Register(SchemaFile),
    /// Say whether a schema could become the newest version of a subject; fails with the reasons where it could not.
    Check(SchemaFile),
    /// Show or set what must hold between versions, of a subject or of all.
    Compatibility {
        /// The subject; all of them unless it is said.
        subject: Option<String>,
        /// The level to set: NONE, BACKWARD, FORWARD, FULL, or one of the last three with _TRANSITIVE.
        #[arg(long)]
        set: Option<String>,
        #[command(flatten)]
        registry: RegistryArguments,
    },
    /// Delete subjects, or one version of one. What is deleted can still be found by its id.
    Delete {
        /// The subjects.
        #[arg(required = true)]
        subjects: Vec<String>,
        /// A version of the one subject that is named, and not all of them.
        #[arg(long, value_name = "VERSION")]
        only: Option<String>,
        /// Delete for good what was deleted before.
        #[arg(long)]
        permanent: bool,
        #[command(flatten)]
        registry: RegistryArguments,
    },
}

/// A schema for a subject.
#[derive(Args)]
pub struct SchemaFile {
    /// The subject: `TOPIC-value` or `TOPIC-key` by custom.
    subject: String,
    /// A file with the schema; `-` for the standard input.
    file: PathBuf,
    /// AVRO or JSON.
    #[arg(long = "type", default_value = "AVRO", value_name = "TYPE")]
    schema_type: String,
    #[command(flatten)]
    registry: RegistryArguments,
}

pub async fn run(command: SchemaCommand) -> Result<(), Failure> {
    let at =
        |registry: &RegistryArguments| RestClient::at(&registry.registry, "schema registry", "--registry");
    match command {
        SchemaCommand::List { output, registry } => list(&at(&registry)?, output).await,
        SchemaCommand::Get { subject, number, output, registry } => {
            get(&at(&registry)?, &subject, &number, output).await
        }
        SchemaCommand::Register(schema) => {
            let path = format!("subjects/{}/versions", encoded(&schema.subject));
            let answer = at(&schema.registry)?.call(Method::POST, &path, Some(body(&schema)?)).await?;
            println!("{} has the schema with id {}", schema.subject, text(&answer["id"]));
            Ok(())
        }
        SchemaCommand::Check(schema) => check(&at(&schema.registry)?, &schema).await,
        SchemaCommand::Compatibility { subject, set, registry } => {
            let (registry, subject) = (at(&registry)?, subject.as_deref());
            compatibility(&registry, subject, set.as_deref()).await
        }
        SchemaCommand::Delete { subjects, only, permanent, registry } => {
            if only.is_some() && subjects.len() > 1 {
                return Err(Failure::wrong_words("--only is of one subject; name no other"));
            }
            let registry = at(&registry)?;
            for subject in subjects {
                let version = only.as_deref().map(|version| format!("/versions/{}", encoded(version)));
                let path = format!(
                    "subjects/{}{}?permanent={permanent}",
                    encoded(&subject),
                    version.unwrap_or_default()
                );
                let deleted = registry.call(Method::DELETE, &path, None).await?;
                println!("deleted {subject}: {deleted}");
            }
            Ok(())
        }
    }
}

fn body(schema: &SchemaFile) -> Result<Value, Failure> {
    let read = match schema.file == Path::new("-") {
        true => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map(|_| text)
        }
        false => std::fs::read_to_string(&schema.file),
    };
    let text = read.map_err(|error| Failure::failed(format!("{}: {error}", schema.file.display())))?;
    Ok(json!({ "schema": text, "schemaType": schema.schema_type.to_ascii_uppercase() }))
}

async fn list(registry: &RestClient, output: Output) -> Result<(), Failure> {
    let all = registry.get("schemas?latestOnly=true").await?;
    if output == Output::Json {
        return Ok(print_json(&all)?);
    }
    let row = |schema: &Value| {
        let schema_type = schema["schemaType"].as_str().unwrap_or("AVRO").to_owned();
        vec![text(&schema["subject"]), text(&schema["version"]), text(&schema["id"]), schema_type]
    };
    let rows: Vec<Vec<String>> = all.as_array().into_iter().flatten().map(row).collect();
    Ok(print_table(&["subject", "version", "id", "type"], &rows)?)
}

async fn get(registry: &RestClient, subject: &str, version: &str, output: Output) -> Result<(), Failure> {
    let path = format!("subjects/{}/versions/{}", encoded(subject), encoded(version));
    let found = registry.get(&path).await?;
    if output == Output::Json {
        return Ok(print_json(&found)?);
    }
    // The schema alone, so that it can be kept in a file.
    let schema = text(&found["schema"]);
    match serde_json::from_str::<Value>(&schema) {
        Ok(schema) => print_json(&schema)?,
        Err(_) => println!("{schema}"),
    }
    Ok(())
}

async fn check(registry: &RestClient, schema: &SchemaFile) -> Result<(), Failure> {
    let path = format!("compatibility/subjects/{}/versions?verbose=true", encoded(&schema.subject));
    let verdict = registry.call(Method::POST, &path, Some(body(schema)?)).await?;
    if verdict["is_compatible"] == true {
        println!("{} can have the schema", schema.subject);
        return Ok(());
    }
    let messages = verdict["messages"].as_array().into_iter().flatten().map(text);
    let messages: Vec<String> = messages.collect();
    Err(Failure::failed(format!("{} cannot have the schema:\n{}", schema.subject, messages.join("\n"))))
}

async fn compatibility(
    registry: &RestClient,
    subject: Option<&str>,
    set: Option<&str>,
) -> Result<(), Failure> {
    let path = subject.map_or_else(|| "config".to_owned(), |subject| format!("config/{}", encoded(subject)));
    let level = match set {
        Some(level) => {
            let body = json!({ "compatibility": level.to_ascii_uppercase() });
            registry.call(Method::PUT, &path, Some(body)).await?["compatibility"].clone()
        }
        None => registry.get(&format!("{path}?defaultToGlobal=true")).await?["compatibilityLevel"].clone(),
    };
    println!("{}", text(&level));
    Ok(())
}
