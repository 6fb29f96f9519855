//! `ottla plugin install`, `list` and `uninstall`: the plugins of a server, by its HTTP API.

use std::path::Path;

use ottla_plugins::{Limits, PluginError, read_component};
use reqwest::Method;
use serde_json::Value;

use super::build::stem;
use crate::cli::{HttpArguments, Output};
use crate::failure::Failure;
use crate::output::{print_json, print_table};
use crate::rest_client::{RestClient, encoded, text};

fn at(http: &HttpArguments) -> Result<RestClient, Failure> {
    RestClient::at(&http.http, "Ottla server", "--http")
}

pub(super) async fn install(
    file: &Path,
    name: Option<String>,
    output: Output,
    http: &HttpArguments,
) -> Result<(), Failure> {
    let name = name.unwrap_or_else(|| stem(file));
    let component = read_component(file, &Limits::default())
        .map_err(|fault| Failure::wrong_words(PluginError { plugin: name.clone(), fault }))?;
    let path = format!("plugins/{}", encoded(&name));
    let (status, answer) = at(http)?.send_bytes(Method::PUT, &path, component).await?;
    if !status.is_success() {
        let message = text(&answer["message"]);
        // What is wrong with the component or its name is the user's; what else fails is not.
        return Err(match status.as_u16() {
            422 => Failure::wrong_words(format!("{}: {message}", file.display())),
            _ => RestClient::failure(status, &answer),
        });
    }
    if output == Output::Json {
        return Ok(print_json(&answer)?);
    }
    println!(
        "installed {name}: {}, {} bytes, sha256 {}",
        text(&answer["world"]),
        answer["bytes"],
        text(&answer["sha256"])
    );
    answer["functions"]
        .as_array()
        .into_iter()
        .flatten()
        .for_each(|function| println!("  {}", text(function)));
    Ok(())
}

pub(super) async fn list(output: Output, http: &HttpArguments) -> Result<(), Failure> {
    let all = at(http)?.get("plugins").await?;
    if output == Output::Json {
        return Ok(print_json(&all)?);
    }
    let row = |one: &Value| {
        let users = one["used_by"].as_array().into_iter().flatten();
        let users: Vec<String> =
            users.map(|user| format!("{} {}", text(&user["kind"]), text(&user["name"]))).collect();
        let cell = |field: &str| text(&one[field]);
        let mut cells = ["name", "world", "bytes", "sha256"].map(cell).to_vec();
        cells.push(users.join(", "));
        cells
    };
    let rows: Vec<Vec<String>> = all.as_array().into_iter().flatten().map(row).collect();
    Ok(print_table(&["name", "world", "bytes", "sha256", "used by"], &rows)?)
}

pub(super) async fn uninstall(names: &[String], http: &HttpArguments) -> Result<(), Failure> {
    let server = at(http)?;
    for name in names {
        server.call(Method::DELETE, &format!("plugins/{}", encoded(name)), None).await?;
        println!("uninstalled {name}");
    }
    Ok(())
}
