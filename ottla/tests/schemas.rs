//! The schema registry of a running server, across kill -9.

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use support::{Running, ottla, text};

struct Server {
    running: Running,
    kafka: String,
    registry: String,
    client: reqwest::Client,
}

fn start(data_dir: &Path) -> Server {
    let mut command = ottla();
    command.args(["server", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
    command.args(["--connect-listen", "127.0.0.1:0", "--registry-listen", "127.0.0.1:0", "--data-dir"]);
    command.arg(data_dir).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = Running(command.spawn().expect("the binary runs"));
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let place = |name: &str| {
        let found = line.trim().split(' ').find_map(|word| word.strip_prefix(name));
        found.unwrap_or_else(|| panic!("{name} in {line}")).to_owned()
    };
    // The process has one TLS, whoever of the tests comes first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (kafka, registry) = (place("kafka="), format!("http://{}", place("registry=")));
    Server { running, kafka, registry, client: reqwest::Client::new() }
}

impl Server {
    async fn register(&self, subject: &str, schema: &str) -> Value {
        let request = self.client.post(format!("{}/subjects/{subject}/versions", self.registry));
        let request = request.header("Content-Type", "application/vnd.schemaregistry.v1+json");
        let answer = request.body(json!({ "schema": schema }).to_string()).send().await.unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.client.get(format!("{}{path}", self.registry)).send().await.unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }

    fn consumed(&self) -> String {
        let mut command = ottla();
        command.args(["consume", "_schemas", "--from-beginning", "--max-records", "3"]);
        text(&command.args(["--bootstrap-server", &self.kafka]).output().unwrap())
    }
}

#[tokio::test]
async fn a_schema_that_was_acknowledged_is_there_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = start(dir.path());
    assert_eq!(server.get("/subjects").await, json!([]));
    for (index, name) in ["int", "long", "double"].into_iter().enumerate() {
        let registered = server.register("orders-value", &format!("[\"null\",\"{name}\"]")).await;
        let refused = registered["error_code"] == 409;
        // A double reads longs, a long reads ints.
        assert!(!refused && registered["id"] == index + 1, "{registered}");
        server.running.kill();
        server = start(dir.path());
    }
    assert_eq!(server.get("/subjects/orders-value/versions").await, json!([1, 2, 3]));
    assert_eq!(server.get("/schemas/ids/2").await["schema"], r#"["null","long"]"#);
    assert_eq!(server.register("orders-value", "\"string\"").await["error_code"], 409);
    assert_eq!(server.register("orders-key", "\"string\"").await["id"], 4);
    let consumed = server.consumed();
    assert!(consumed.contains(r#""subject":"orders-value","version":2"#), "{consumed}");
}

#[test]
fn schemas_are_registered_checked_and_deleted_from_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir.path().join("data"));
    let schema = |arguments: &[&str]| {
        let mut command = ottla();
        let output =
            command.arg("schema").args(arguments).args(["--registry", &server.registry]).output().unwrap();
        (output.status.code(), text(&output))
    };
    let file = |name: &str, fields: &str| {
        let path = dir.path().join(name);
        let text = format!("{{\"type\": \"record\", \"name\": \"Order\", \"fields\": [{fields}]}}");
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let one = file("one.avsc", r#"{"name": "id", "type": "long"}"#);
    let two = file("two.avsc", r#"{"name": "id", "type": "long"}, {"name": "note", "type": "string"}"#);
    let (code, said) = schema(&["register", "orders-value", &one]);
    assert!(code == Some(0) && said.contains("id 1"), "{said}");
    let (code, said) = schema(&["check", "orders-value", &two]);
    assert!(code == Some(1) && said.contains("'note'"), "{said}");
    assert_eq!(schema(&["compatibility", "orders-value", "--set", "forward"]).1.trim(), "FORWARD");
    assert_eq!(schema(&["check", "orders-value", &two]).0, Some(0));
    assert_eq!(schema(&["register", "orders-value", &two]).0, Some(0));
    let (_, listed) = schema(&["list"]);
    assert!(listed.contains("orders-value") && listed.contains("AVRO"), "{listed}");
    let (_, got) = schema(&["get", "orders-value", "1"]);
    assert_eq!(serde_json::from_str::<Value>(&got).unwrap()["fields"][0]["name"], "id");
    let (code, said) = schema(&["delete", "orders-value", "--only", "2"]);
    assert!(code == Some(0) && said.contains("deleted orders-value: 2"), "{said}");
    let (code, said) = schema(&["get", "orders-key"]);
    assert!(code == Some(1) && said.contains("Subject 'orders-key' not found."), "{said}");
}

#[test]
fn a_server_whose_port_for_schemas_is_taken_says_so_if_it_was_chosen() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = ottla();
    command.args(["server", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--registry-listen"]);
    let output = command.arg(&address).arg("--data-dir").arg(dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("--registry-listen"), "{}", text(&output));
}
