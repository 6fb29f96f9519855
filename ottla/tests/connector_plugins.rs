//! Connectors whose records go through a plugin that is installed on the server: what it refuses is a dead letter, a name that
//! nothing has is refused, and a plugin that a connector calls stays.

mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::serving::{self, expect};
use support::{Running, ottla, root, text};

struct Server {
    running: Running,
    kafka: String,
    http: String,
    connect: String,
}

fn server(data_dir: &Path) -> Server {
    let (running, ready) = serving::start(data_dir, &["--connect-listen", "127.0.0.1:0"]);
    let (kafka, http) = (ready.address("kafka"), ready.address("http"));
    Server { running, kafka, http, connect: format!("http://{}", ready.address("connect")) }
}

impl Server {
    fn plugin(&self, arguments: &[&str]) -> Output {
        let http = format!("http://{}", self.http);
        ottla().arg("plugin").args(arguments).args(["--http", &http]).output().unwrap()
    }

    fn connector(&self, arguments: &[&str]) -> Output {
        ottla().arg("connector").args(arguments).args(["--connect", &self.connect]).output().unwrap()
    }

    /// The only record of a topic.
    fn record(&self, topic: &str) -> Value {
        let mut command = ottla();
        command.args(["consume", topic, "--from-beginning", "-n", "1", "-o", "json"]);
        let output = command.args(["--bootstrap-server", &self.kafka]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output)))
    }
}

fn succeed(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(output));
    text(output)
}

fn refused(output: &Output, expected: &str) {
    assert!(!output.status.success() && text(output).contains(expected), "{}", text(output));
}

/// The fixture that makes letters large, refuses a value with a `!` and traps at a `#`, as a component.
fn install(server: &Server, folder: &Path) {
    let text = fs::read_to_string(root().join("plugins/tests/fixtures/refuse.wat")).unwrap();
    let said = "(module (@custom \"component-type:ottla-plugin-1.0-transform\" \"\")";
    let module = wat::parse_str(text.replacen("(module", said, 1)).unwrap();
    let file = folder.join("upper.wasm");
    fs::write(&file, ottla_plugins::component_of(&module).unwrap()).unwrap();
    succeed(&server.plugin(&["install", file.to_str().unwrap()]));
    fs::remove_file(&file).unwrap();
}

#[test]
fn a_connector_calls_a_plugin_that_stays_while_it_does() {
    let dir = tempfile::tempdir().unwrap();
    let (data, from, to) =
        (dir.path().join("data"), dir.path().join("from.json"), dir.path().join("to.json"));
    let write = |lines: &str| {
        let file = fs::OpenOptions::new().create(true).append(true).open(&from);
        file.unwrap().write_all(lines.as_bytes()).unwrap();
    };
    write("{\"a\":\"one\"}\n{\"a\":\"poison!\"}\n{\"a\":\"two\"}\n");
    let mut running = server(&data);
    install(&running, dir.path());

    let path = format!("path={}", from.display());
    let (is_wasm, schema) = ("transforms.up.type=Wasm", r#"value.schema={"a": "string"}"#);
    let words =
        ["connector.class=FileSource", "topic=large", &path, "format=json", "poll_interval_ms=10", schema];
    let more = ["errors.tolerance=all", "transforms=up", is_wasm];
    let properties = |plugin: &'static str| -> Vec<&str> {
        words.iter().chain(&more).chain([&plugin]).flat_map(|property| ["-p", *property]).collect()
    };
    let source = |plugin| [vec!["apply", "read"], properties(plugin)].concat();
    let expected = "transforms.up.plugin: no plugin `uper` is installed; did you mean `upper`?";
    refused(&running.connector(&source("transforms.up.plugin=uper")), expected);
    let validate = [vec!["validate"], properties("transforms.up.plugin=uper")].concat();
    refused(&running.connector(&validate), "did you mean `upper`?");
    succeed(&running.connector(&source("transforms.up.plugin=upper")));

    let both = "{\"A\":\"ONE\"}\n{\"A\":\"TWO\"}\n";
    expect(&running.http, "SELECT \"A\" FROM large ORDER BY \"A\"", both);
    let letter = running.record("read-dead-letters");
    assert_eq!(letter["value"], "{\"a\":\"poison!\"}");
    let headers = letter["headers"].to_string();
    for expected in [
        "__connect.errors.connector.name",
        "TRANSFORMATION",
        "transforms.up: plugin `upper`: it refused the batch: a value has a !",
    ] {
        assert!(headers.contains(expected), "{expected}: {headers}");
    }

    // After a kill it goes on, and the plugin stays.
    running.running.kill();
    write("{\"a\":\"three\"}\n");
    let running = server(&data);
    expect(&running.http, "SELECT COUNT(*) AS n FROM large", "{\"n\":3}\n");
    let listed = succeed(&running.plugin(&["list", "-o", "json"]));
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["used_by"], json!([{ "kind": "connector", "name": "read" }]));
    refused(&running.plugin(&["uninstall", "upper"]), "the plugin `upper` is used by connector read");
    let other = root().join("plugins/examples/split-lines/split-lines.wasm");
    let other = ["install", other.to_str().unwrap(), "--name", "upper"];
    refused(&running.plugin(&other), "the plugin `upper` is used by connector read");

    // A sink's records go through it before they are read.
    let path = format!("path={}", to.display());
    let mut sink = vec!["apply", "write"];
    let words = ["connector.class=FileSink", "topics=large", &path, r#"value.schema={"A": "string"}"#];
    let more = ["transforms=up", is_wasm, "transforms.up.plugin=upper"];
    sink.extend(words.iter().chain(&more).flat_map(|property| ["-p", *property]));
    succeed(&running.connector(&sink));
    let started = Instant::now();
    let lines = || fs::read_to_string(&to).unwrap_or_default();
    while lines().lines().count() < 3 {
        let told = || text(&running.connector(&["describe", "write"]));
        assert!(started.elapsed() < Duration::from_secs(30), "{}: {}", lines(), told());
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut found: Vec<String> = lines().lines().map(str::to_owned).collect();
    found.sort();
    assert_eq!(found, ["ONE", "THREE", "TWO"].map(|word| format!("{{\"A\":\"{word}\"}}")));

    // A trap is no record's fault: the task fails and says why.
    write("{\"a\":\"#\"}\n");
    let failed = || text(&running.connector(&["describe", "read"]));
    while !failed().contains("transforms.up: plugin `upper`: it trapped") {
        assert!(started.elapsed() < Duration::from_secs(60), "{}", failed());
        std::thread::sleep(Duration::from_millis(50));
    }
    succeed(&running.connector(&["delete", "read", "write"]));
    succeed(&running.plugin(&["uninstall", "upper"]));
}
