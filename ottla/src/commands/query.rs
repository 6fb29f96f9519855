//! `ottla query …`: the queries that run on a server, those of SQL and those of its pipelines.

use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::{HttpArguments, Output, QueryCommand};
use crate::failure::Failure;
use crate::output::{print_json, print_table};
use crate::rest_client::{RestClient, text};

const FIELDS: [&str; 10] =
    ["name", "pipeline", "phase", "topic", "mode", "rows_in", "rows_out", "lag", "state_rows", "state_bytes"];

pub async fn run(command: QueryCommand) -> Result<(), Failure> {
    match command {
        QueryCommand::List { output, http } => list(&at(&http)?, output).await,
        QueryCommand::Describe { name, output, http } => describe(&at(&http)?, &name, output).await,
        QueryCommand::Explain { sql, output, http } => {
            let sql = sql.trim().trim_end_matches(';');
            show_plan(&statement(&at(&http)?, &format!("EXPLAIN {sql}")).await?, output)
        }
        QueryCommand::Pause { names, http } => each(&at(&http)?, &names, "PAUSE").await,
        QueryCommand::Resume { names, http } => each(&at(&http)?, &names, "RESUME").await,
        QueryCommand::Drop { names, http } => drop_each(&at(&http)?, &names).await,
    }
}

fn at(http: &HttpArguments) -> Result<RestClient, Failure> {
    RestClient::at(&http.http, "Ottla server", "--http")
}

/// What a statement gives: an object a line.
async fn statement(server: &RestClient, sql: &str) -> Result<Vec<Value>, Failure> {
    let (status, answer) = server.send_text(Method::POST, "sql", sql).await?;
    if !status.is_success() {
        let told: Value = serde_json::from_str(&answer).unwrap_or_default();
        let reason = told["error"].as_str().map_or_else(|| format!("{status} {answer}"), str::to_owned);
        // What is wrong with a name is the user's; what else fails is not.
        return Err(if status.as_u16() == 400 {
            Failure::wrong_words(reason)
        } else {
            Failure::failed(reason)
        });
    }
    Ok(answer.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

/// The queries of SQL, then those of pipelines.
async fn queries(server: &RestClient) -> Result<Vec<Value>, Failure> {
    let mut queries = statement(server, "SHOW QUERIES").await?;
    let pipelines = server.get("pipelines").await?;
    for pipeline in pipelines.as_array().into_iter().flatten() {
        let stages = pipeline["stages"].as_array().into_iter().flatten();
        queries.extend(stages.filter(|stage| stage["kind"] == "query").map(|stage| {
            let name = format!("{}.{}", text(&pipeline["pipeline"]), text(&stage["stage"]));
            json!({ "name": name, "pipeline": pipeline["pipeline"], "phase": stage["state"], "rows_in": stage["in"],
                    "rows_out": stage["out"] })
        }));
    }
    Ok(queries)
}

async fn list(server: &RestClient, output: Output) -> Result<(), Failure> {
    let queries = queries(server).await?;
    if output == Output::Json {
        return Ok(print_json(&json!(queries))?);
    }
    let cell = |value: &Value| if value.is_null() { "-".to_owned() } else { text(value) };
    let rows: Vec<Vec<String>> =
        queries.iter().map(|query| FIELDS.iter().map(|field| cell(&query[*field])).collect()).collect();
    Ok(print_table(&FIELDS.map(|field| field), &rows)?)
}

async fn describe(server: &RestClient, name: &str, output: Output) -> Result<(), Failure> {
    refuse_of_pipeline(server, name).await?;
    let plan = statement(server, &format!("EXPLAIN QUERY {}", quoted(name))).await?;
    let queries = statement(server, "SHOW QUERIES").await?;
    let query = queries.into_iter().find(|query| query["name"] == name).unwrap_or_default();
    if output == Output::Json {
        let lines: Vec<&Value> = plan.iter().map(|line| &line["plan"]).collect();
        let mut told = query;
        told["plan"] = json!(lines);
        return Ok(print_json(&told)?);
    }
    for field in FIELDS.iter().filter(|field| !query[**field].is_null()) {
        println!("{field:<12} {}", text(&query[*field]));
    }
    println!();
    show_plan(&plan, output)
}

fn show_plan(plan: &[Value], output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        let lines: Vec<&Value> = plan.iter().map(|line| &line["plan"]).collect();
        return Ok(print_json(&json!(lines))?);
    }
    plan.iter().for_each(|line| println!("{}", text(&line["plan"])));
    Ok(())
}

async fn each(server: &RestClient, names: &[String], order: &str) -> Result<(), Failure> {
    for name in names {
        refuse_of_pipeline(server, name).await?;
        tell(&statement(server, &format!("{order} QUERY {}", quoted(name))).await?);
    }
    Ok(())
}

async fn drop_each(server: &RestClient, names: &[String]) -> Result<(), Failure> {
    for name in names {
        refuse_of_pipeline(server, name).await?;
        // The query of a view goes with it, and is dropped by the view's word.
        let views = statement(server, "SHOW VIEWS").await?;
        let word = if views.iter().any(|view| view["name"] == *name) { "MATERIALIZED VIEW" } else { "QUERY" };
        tell(&statement(server, &format!("DROP {word} {}", quoted(name))).await?);
    }
    Ok(())
}

fn tell(done: &[Value]) {
    done.iter().for_each(|done| println!("{}", text(&done["done"])));
}

/// A pipeline's queries are what its file says.
async fn refuse_of_pipeline(server: &RestClient, name: &str) -> Result<(), Failure> {
    let queries = queries(server).await?;
    match queries.iter().find(|query| query["name"] == name && !query["pipeline"].is_null()) {
        None => Ok(()),
        Some(query) => Err(Failure::failed(format!(
            "`{name}` belongs to the pipeline {}: change its file and apply it, or see `ottla pipeline describe`",
            text(&query["pipeline"])
        ))),
    }
}

/// A name as SQL takes any.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_one_word_of_sql() {
        assert_eq!(quoted("totals.insert.1"), "\"totals.insert.1\"");
        assert_eq!(quoted("a\"; DROP"), "\"a\"\"; DROP\"");
    }
}
