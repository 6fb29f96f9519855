//! Pipelines whose queries call functions of plugins, and tests made of what a server has.

mod support;

use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::serving::{expect, produce, server};
use support::{ottla, root, text};

/// A file with comments and a shape of its own, which stay.
const PIPELINE: &str = "\
# Names, masked.
version: ottla/v1
name: people
plugins:
  texts: { path: TEXT_FUNCTIONS }   # of the examples
functions:
  mask: { plugin: texts }
  host_of: { plugin: texts, function: url_host }
schemas: { person: { name: string, home: \"string?\" } }
topics: { people: { partitions: 3, schema: person } }
transforms:
  masked:
    sql: SELECT mask(name, 1) AS name, host_of(home) AS host FROM people
  hosts:
    sql: SELECT host, COUNT(*) AS people FROM masked GROUP BY host
tests:
  # The first one.
  - name: a name is masked
    given: { people: [ { name: Zoë, home: null } ] }
    expect: { masked: [ { name: Z**, host: null } ] }

# No sinks: what comes out is read from the topics.
on_error: { to: people.dlq }
";

/// The newest counts: an update of a row is a record of its topic.
const HOSTS: &str = "SELECT host, MAX(people) AS people FROM hosts GROUP BY host ORDER BY host";

fn pipeline(folder: &Path, kafka: &str, http: &str, words: &[&str]) -> Output {
    let mut command = ottla();
    command
        .current_dir(folder)
        .env("OTTLA_BOOTSTRAP_SERVER", kafka)
        .env("OTTLA_HTTP", format!("http://{http}"));
    command.arg("pipeline").args(words).output().unwrap()
}

fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn functions_run_on_a_server_and_its_records_become_a_test() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let (mut running, kafka, http) = server(&folder.join("data"));
    let functions = root().join("plugins/examples/text-functions/text-functions.wasm");
    let written = PIPELINE.replace("TEXT_FUNCTIONS", functions.to_str().unwrap());
    let file = folder.join("pipeline.yaml");
    std::fs::write(&file, &written).unwrap();
    let run = |words: &[&str]| pipeline(folder, &kafka, &http, words);

    assert_eq!(json_of(&run(&["test", "pipeline.yaml", "-o", "json"]))["failed"], 0);
    let none = run(&["test", "pipeline.yaml", "--record", "2"]);
    assert_eq!(none.status.code(), Some(1), "nothing is there yet: {}", text(&none));
    let planned = json_of(&run(&["plan", "pipeline.yaml", "-o", "json"]));
    assert!(
        planned
            .to_string()
            .contains("calls url_host(utf8) -> utf8 of plugin texts, mask(utf8, int64) -> utf8"),
        "{planned}"
    );
    let applied = run(&["apply", "pipeline.yaml"]);
    assert!(applied.status.success(), "{}", text(&applied));
    let described = json_of(&run(&["describe", "people", "-o", "json"]));
    assert_eq!(described["functions"][0]["signature"], "url_host(utf8) -> utf8", "{described}");
    assert!(
        text(&run(&["describe", "people"]))
            .contains("function mask: mask(utf8, int64) -> utf8 of plugin texts")
    );

    let people = [
        "1#{\"name\":\"Ada\",\"home\":\"https://a.example/x\",\"more\":1}",
        "2#{\"name\":\"Bob\",\"home\":null}",
        "3#no person",
        "4#{\"name\":\"Cy: #1, 'x' \\\"y\\\"\",\"home\":\"http://a.example:80/\"}",
    ];
    produce(&kafka, "people", &people);
    let counted = "{\"host\":\"a.example\",\"people\":2}\n{\"host\":null,\"people\":1}\n";
    expect(&http, HOSTS, counted);

    let recorded = json_of(&run(&["test", "pipeline.yaml", "--record", "4", "-o", "json"]));
    assert_eq!(recorded["test"], "the last 4 records of people");
    assert_eq!(
        (&recorded["given"]["people"], &recorded["expect"]["masked"]),
        (&4.into(), &3.into()),
        "{recorded}"
    );
    let again = run(&[
        "test",
        "pipeline.yaml",
        "--record",
        "1",
        "--topic",
        "masked",
        "--topic",
        "masked",
        "--name",
        "one: only",
    ]);
    assert!(again.status.success(), "{}", text(&again));
    let taken = run(&["test", "pipeline.yaml", "--record", "1", "--name", "one: only"]);
    assert_eq!(taken.status.code(), Some(2), "{}", text(&taken));

    let now = std::fs::read_to_string(&file).unwrap();
    let (before, after) = written.split_once("\n# No sinks").unwrap();
    assert!(now.starts_with(before) && now.ends_with(&format!("\n# No sinks{after}")), "{now}");
    assert!(now.contains("        - \"no person\"\n"), "{now}");
    let tested = json_of(&run(&["test", "pipeline.yaml", "-o", "json"]));
    let names: Vec<&Value> = tested["tests"].as_array().unwrap().iter().map(|test| &test["test"]).collect();
    assert_eq!(names, ["a name is masked", "the last 4 records of people", "one: only"]);
    assert_eq!(tested["failed"], 0, "{tested}");

    // The functions are there after a kill, and the pipeline goes when it is deleted.
    running.kill();
    let (_running, kafka, http) = server(&folder.join("data"));
    produce(&kafka, "people", &["5#{\"name\":\"Di\",\"home\":null}"]);
    let counted = "{\"host\":\"a.example\",\"people\":2}\n{\"host\":null,\"people\":2}\n";
    expect(&http, HOSTS, counted);
    let deleted = pipeline(folder, &kafka, &http, &["delete", "people", "--topics"]);
    assert!(deleted.status.success(), "{}", text(&deleted));
    let gone = Instant::now();
    while !text(&pipeline(folder, &kafka, &http, &["list"])).lines().all(|line| !line.contains("people")) {
        assert!(gone.elapsed() < Duration::from_secs(30));
    }
}
