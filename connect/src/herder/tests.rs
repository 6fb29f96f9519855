//! Connectors through the REST API, over a cluster in memory.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use axum::response::IntoResponse as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::Herder;
use crate::plugins::tests::MemoryPlugins;
use crate::worker::memory_cluster::{MemoryCluster, Storage};

/// A worker of its own, as after a restart of the process.
struct Worker {
    herder: Herder,
    router: Router,
}

impl Worker {
    fn start(storage: &Storage) -> Worker {
        Worker::start_with(storage, MemoryPlugins::new([]))
    }

    fn start_with(storage: &Storage, plugins: Arc<MemoryPlugins>) -> Worker {
        let cluster = Arc::new(MemoryCluster::new(storage, None));
        let herder = Herder::start_on(cluster, "127.0.0.1:8083".to_owned(), plugins);
        Worker { router: herder.clone().router("a-cluster".to_owned()), herder }
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = Request::builder().method(method).uri(path);
        let request = request.header("Content-Type", "application/json").body(body).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.call(Method::GET, path, Value::Null).await
    }

    async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::PUT, path, body).await
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect(what);
}

fn source(path: &Path) -> Value {
    json!({
        "connector.class": "FileSource",
        "tasks.max": 1,
        "topic": "t",
        "path": path,
        "format": "csv",
    })
}

#[tokio::test]
async fn a_connector_is_made_runs_is_back_after_a_restart_and_goes() {
    let (storage, dir) = (Storage::default(), tempfile::tempdir().unwrap());
    let (from, to) = (dir.path().join("from.csv"), dir.path().join("to.json"));
    fs::write(&from, "a,b\n1,x\n2,y\n").unwrap();
    let worker = Worker::start(&storage);
    assert_eq!(worker.get("/connectors").await, (200, json!([])));
    assert_eq!(worker.get("/").await.1["kafka_cluster_id"], "a-cluster");

    let create = json!({ "name": "read", "config": source(&from) });
    let (status, made) = worker.call(Method::POST, "/connectors", create.clone()).await;
    assert_eq!((status, &made["type"], &made["config"]["tasks.max"]), (201, &json!("source"), &json!("1")));
    assert_eq!(made["tasks"], json!([{ "connector": "read", "task": 0 }]));
    let (status, error) = worker.call(Method::POST, "/connectors", create).await;
    assert_eq!((status, &error["message"]), (409, &json!("Connector read already exists")));
    until("the file is read", || storage.records("t").len() == 2).await;

    let sink = json!({ "connector.class": "FileSink", "topics": "t", "path": to });
    assert_eq!(worker.put("/connectors/write/config", sink.clone()).await.0, 201);
    assert_eq!(worker.put("/connectors/write/config", sink).await.0, 200);
    let lines = || fs::read_to_string(&to).unwrap_or_default().lines().count();
    until("the file is written", || lines() == 2).await;
    let (_, status) = worker.get("/connectors/write/status").await;
    assert_eq!(
        (&status["connector"]["state"], &status["tasks"][0]["state"], &status["type"]),
        (&json!("RUNNING"), &json!("RUNNING"), &json!("sink"))
    );
    assert_eq!(worker.put("/connectors/write/pause", Value::Null).await.0, 202);
    worker.herder.stop().await;

    // What it shall do outlives the worker, and nothing is read twice.
    let worker = Worker::start(&storage);
    assert_eq!(worker.get("/connectors").await.1, json!(["read", "write"]));
    let (_, all) = worker.get("/connectors?expand=status&expand=info").await;
    assert_eq!(all["write"]["status"]["connector"]["state"], "PAUSED");
    assert_eq!(all["write"]["status"]["tasks"][0]["state"], "PAUSED");
    assert_eq!(all["read"]["info"]["config"]["topic"], "t");
    fs::write(&from, "a,b\n1,x\n2,y\n3,z\n").unwrap();
    let restart = "/connectors/read/restart?includeTasks=true";
    assert_eq!(worker.call(Method::POST, restart, Value::Null).await.0, 202);
    until("the file is read on", || storage.records("t").len() >= 3).await;
    assert_eq!((storage.records("t").len(), lines()), (3, 2));
    assert_eq!(worker.put("/connectors/write/resume", Value::Null).await.0, 202);
    until("the file is written on", || lines() == 3).await;

    assert_eq!(worker.call(Method::DELETE, "/connectors/read", Value::Null).await.0, 204);
    let (status, error) = worker.get("/connectors/read").await;
    assert_eq!((status, &error["message"]), (404, &json!("Connector read not found")));
    worker.herder.stop().await;
    assert_eq!(Worker::start(&storage).get("/connectors").await.1, json!(["write"]));
}

#[tokio::test]
async fn the_state_of_connectors_and_tasks_is_kept_in_the_status_topic() {
    let (storage, dir) = (Storage::default(), tempfile::tempdir().unwrap());
    let last = |key: &str| {
        let records = storage.records("connect-status").into_iter();
        let last = records.filter(|record| record.key.as_deref() == Some(key.as_bytes())).last();
        let value = last.and_then(|record| record.value);
        value.map(|value| serde_json::from_slice::<Value>(&value).unwrap()["state"].clone())
    };
    let worker = Worker::start(&storage);
    let missing = dir.path().join("none.csv");
    assert_eq!(worker.put("/connectors/read/config", source(&missing)).await.0, 201);
    until("the task has failed", || last("status-task-read-0") == Some(json!("FAILED"))).await;
    assert_eq!(last("status-connector-read"), Some(json!("RUNNING")));
    assert_eq!(worker.put("/connectors/read/pause", Value::Null).await.0, 202);
    until("it is paused", || last("status-connector-read") == Some(json!("PAUSED"))).await;
    assert_eq!(worker.put("/connectors/read/resume", Value::Null).await.0, 202);
    until("it runs", || last("status-connector-read") == Some(json!("RUNNING"))).await;
    worker.herder.stop().await;
    assert_eq!(last("status-connector-read"), Some(json!("UNASSIGNED")));

    // What a worker before has left is put right.
    let worker = Worker::start(&storage);
    until("it runs again", || last("status-connector-read") == Some(json!("RUNNING"))).await;
    assert_eq!(worker.call(Method::DELETE, "/connectors/read", Value::Null).await.0, 204);
    until("it is gone", || last("status-connector-read").is_none() && last("status-task-read-0").is_none())
        .await;
    worker.herder.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_told_and_changes_nothing() {
    let storage = Storage::default();
    let worker = Worker::start(&storage);
    let wrong = json!({ "connector.class": "FileSource", "topic": "t", "pth": "/x" });
    let (status, error) = worker.put("/connectors/a/config", wrong.clone()).await;
    let message = error["message"].as_str().unwrap();
    assert_eq!(status, 400);
    assert!(message.contains("3 error(s)") && message.contains("did you mean 'path'?"), "{message}");
    let (status, found) = worker.put("/connector-plugins/FileSource/config/validate", wrong).await;
    // With the name, that is missing here.
    assert_eq!((status, &found["error_count"]), (200, &json!(4)));
    for (method, path, body) in [
        (Method::POST, "/connectors", json!({ "name": "a", "config": { "name": "b" } })),
        (Method::POST, "/connectors", json!([])),
        (Method::PUT, "/connectors/a/config", json!({ "topic": { "no": "text" } })),
        (Method::PUT, "/connector-plugins/None/config/validate", json!({})),
    ] {
        assert_eq!(worker.call(method, path, body).await.0, 400, "{path}");
    }
    // As a page of another site would have a browser send it.
    let request = Request::post("/connectors").header("Content-Type", "text/plain");
    let request = request.body(Body::from(r#"{"name": "a", "config": {}}"#)).unwrap();
    assert_eq!(worker.router.clone().oneshot(request).await.unwrap().status(), 415);
    for path in ["/connectors/a", "/connectors/a/status", "/connectors/a/tasks/0/status", "/nowhere"] {
        assert_eq!(worker.get(path).await.0, 404, "{path}");
    }
    assert_eq!(worker.get("/connectors").await.1, json!([]));
    assert_eq!(storage.records("connect-configs").len(), 0);
}

#[tokio::test]
async fn a_secret_is_never_shown_and_stays_when_what_was_shown_comes_back() {
    let storage = Storage::default();
    let worker = Worker::start(&storage);
    let sink = json!({"connector.class": "HttpSink", "topics": "t", "url": "http://127.0.0.1:9/", "bearer_token": "t0ken",
                      "headers": "{\"X-Key\": \"k3y\"}"});
    assert_eq!(worker.put("/connectors/hook/config", sink.clone()).await.0, 201);
    let paths = ["", "/config", "/tasks", "/status"];
    for path in paths {
        let (status, found) = worker.get(&format!("/connectors/hook{path}")).await;
        let text = found.to_string();
        assert!(status == 200 && !text.contains("t0ken") && !text.contains("k3y"), "{text}");
    }
    let (_, mut shown) = worker.get("/connectors/hook/config").await;
    assert_eq!((&shown["bearer_token"], &shown["headers"]), (&json!("[hidden]"), &json!("[hidden]")));
    shown["url"] = json!("http://127.0.0.1:9/other");
    assert_eq!(worker.put("/connectors/hook/config", shown).await.0, 200);
    let patch = json!({"batch_size": 3});
    assert_eq!(worker.call(Method::PATCH, "/connectors/hook/config", patch).await.0, 200);
    let stored = storage.values("connect-configs").pop().unwrap();
    assert!(stored.contains("t0ken") && stored.contains("k3y") && stored.contains("other"), "{stored}");
    let (_, found) = worker.put("/connector-plugins/HttpSink/config/validate", sink).await;
    assert!(!found.to_string().contains("t0ken"), "{found}");
    let (_, keys) = worker.get("/connector-plugins/HttpSink/config").await;
    let of =
        |name: &str| keys.as_array().unwrap().iter().find(|key| key["name"] == name).unwrap()["type"].clone();
    assert_eq!(
        (of("bearer_token"), of("headers"), of("batch_size")),
        (json!("PASSWORD"), json!("PASSWORD"), json!("LONG"))
    );
    assert_eq!((of("requests_per_second"), of("username")), (json!("DOUBLE"), json!("STRING")));
    // A wrong value is not repeated.
    let wrong = json!({"connector.class": "HttpSink", "topics": "t", "url": "http://a", "headers": "k3y"});
    let (status, error) = worker.put("/connectors/wrong/config", wrong).await;
    assert!(status == 400 && !error.to_string().contains("k3y"), "{error}");
    worker.herder.stop().await;
}

#[tokio::test]
async fn the_offsets_of_a_sink_without_a_store_are_those_of_its_group() {
    let storage = Storage::default();
    storage.create("t", 2);
    for number in 0..3 {
        storage.append("t", 0, ottla_client::Record::of_value(format!("{{\"n\":{number}}}")));
    }
    let worker = Worker::start(&storage);
    let server =
        crate::connectors::http::tests::Server::start(|_| axum::http::StatusCode::OK.into_response()).await;
    let sink = json!({"connector.class": "HttpSink", "topics": "t", "url": server.url, "body": "single"});
    assert_eq!(worker.put("/connectors/hook/config", sink).await.0, 201);
    until("all is sent", || storage.group("connect-hook").contains(&("t".to_owned(), 0, 3))).await;
    let path = "/connectors/hook/offsets";
    let at = |partition: i32, offset: Value| json!({"partition": {"kafka_topic": "t", "kafka_partition": partition}, "offset": offset});
    let sent = json!({"offsets": [at(0, json!({"kafka_offset": 3})), at(1, json!({"kafka_offset": 0}))]});
    assert_eq!(worker.get(path).await, (200, sent));
    assert_eq!(worker.put("/connectors/hook/stop", Value::Null).await.0, 204);
    let back = json!({"offsets": [at(0, json!({"kafka_offset": 2}))]});
    assert_eq!(worker.call(Method::PATCH, path, back).await.0, 200);
    assert_eq!(worker.put("/connectors/hook/resume", Value::Null).await.0, 202);
    until("the last is sent again", || server.seen().len() == 4).await;
    assert_eq!(worker.put("/connectors/hook/stop", Value::Null).await.0, 204);
    for wrong in [
        json!({"offsets": [at(0, json!({"position": 1}))]}),
        json!({"offsets": [{"partition": {"kafka_topic": "u", "kafka_partition": 0}, "offset": null}]}),
    ] {
        assert_eq!(worker.call(Method::PATCH, path, wrong).await.0, 400);
    }
    assert_eq!(worker.call(Method::DELETE, path, Value::Null).await.0, 200);
    assert_eq!(worker.get(path).await.1, json!({"offsets": []}));
    assert_eq!(worker.put("/connectors/hook/resume", Value::Null).await.0, 202);
    until("all is sent again", || server.seen().len() == 7).await;
    worker.herder.stop().await;
}

#[tokio::test]
async fn the_offsets_of_a_stopped_source_can_be_changed() {
    let (storage, dir) = (Storage::default(), tempfile::tempdir().unwrap());
    let from = dir.path().join("from.csv");
    fs::write(&from, "a\n1\n2\n").unwrap();
    let worker = Worker::start(&storage);
    assert_eq!(worker.put("/connectors/read/config", source(&from)).await.0, 201);
    until("the file is read", || storage.records("t").len() == 2).await;
    let path = "/connectors/read/offsets";
    let (status, error) = worker.call(Method::DELETE, path, Value::Null).await;
    assert!(status == 400 && error["message"].as_str().unwrap().contains("STOPPED"), "{error}");
    assert_eq!(worker.put("/connectors/read/stop", Value::Null).await.0, 204);
    let (_, status) = worker.get("/connectors/read/status").await;
    assert_eq!((&status["connector"]["state"], &status["tasks"]), (&json!("STOPPED"), &json!([])));
    let (_, offsets) = worker.get(path).await;
    let offset = &offsets["offsets"][0];
    assert_eq!(offset["partition"], json!({ "filename": from }));
    assert_eq!(offset["offset"]["position"], 6, "{offsets}");

    // Back to the beginning: everything comes once more.
    assert_eq!(worker.call(Method::DELETE, path, Value::Null).await.0, 200);
    assert_eq!(worker.get(path).await.1, json!({ "offsets": [] }));
    assert_eq!(worker.put("/connectors/read/resume", Value::Null).await.0, 202);
    until("the file is read again", || storage.records("t").len() == 4).await;

    // To where it was: nothing comes.
    assert_eq!(worker.put("/connectors/read/stop", Value::Null).await.0, 204);
    assert_eq!(worker.call(Method::PATCH, path, offsets.clone()).await.0, 200);
    assert_eq!(worker.get(path).await.1, offsets);
    fs::write(&from, "a\n1\n2\n3\n").unwrap();
    assert_eq!(worker.put("/connectors/read/resume", Value::Null).await.0, 202);
    until("the file is read on", || storage.records("t").len() >= 5).await;
    assert_eq!(storage.records("t").len(), 5);
}

#[tokio::test]
async fn transforms_change_what_a_source_writes_and_what_a_sink_gets() {
    let (storage, dir) = (Storage::default(), tempfile::tempdir().unwrap());
    let (from, to) = (dir.path().join("from.csv"), dir.path().join("to.json"));
    fs::write(&from, "id,secret,price\n1,x,2.5\n2,y,much\n3,z,4\n").unwrap();
    let worker = Worker::start(&storage);
    let class = |name: &str| format!("org.apache.kafka.connect.transforms.{name}");
    let mut source = source(&from);
    source.as_object_mut().unwrap().extend(
        json!({
            "errors.tolerance": "all",
            "transforms": "mask, cast, route, key, text, sign",
            "transforms.sign.type": class("InsertHeader"),
            "transforms.sign.header": "from",
            "transforms.sign.value.literal": "a file",
            "transforms.mask.type": class("MaskField$Value"),
            "transforms.mask.fields": "secret",
            "transforms.mask.replacement": "*",
            "transforms.cast.type": class("Cast$Value"),
            "transforms.cast.spec": "price:float64",
            "transforms.route.type": class("RegexRouter"),
            "transforms.route.regex": "(.*)",
            "transforms.route.replacement": "shop-$1",
            "transforms.key.type": class("ValueToKey"),
            "transforms.key.fields": "id",
            "transforms.text.type": class("ExtractField$Key"),
            "transforms.text.field": "id",
        })
        .as_object()
        .unwrap()
        .clone(),
    );
    assert_eq!(worker.put("/connectors/read/config", source).await.0, 201);
    until("the file is read", || storage.records("shop-t").len() == 2).await;
    until("the bad row is there", || storage.records("read-dead-letters").len() == 1).await;
    let first = r#"{"id":"1","secret":"*","price":2.5}"#;
    assert!(storage.values("shop-t").contains(&first.to_owned()), "{:?}", storage.values("shop-t"));
    assert!(storage.records("shop-t").iter().any(|record| record.key.as_deref() == Some(b"3")));
    let signed = &storage.records("shop-t")[0].headers;
    assert_eq!(crate::worker::memory_cluster::header(signed, "from").as_deref(), Some("a file"));
    // The letter is the row as the source had it.
    assert_eq!(storage.values("read-dead-letters"), [r#"{"id":"2","secret":"y","price":"much"}"#]);
    let letter = &storage.records("read-dead-letters")[0].headers;
    let stage = crate::worker::memory_cluster::header(letter, "__connect.errors.stage");
    assert_eq!(stage.as_deref(), Some("TRANSFORMATION"));

    let sink = json!({
        "connector.class": "FileSink",
        "topics": "shop-t",
        "path": to,
        "value.schema": r#"{"id": "string", "secret": "string", "price": "double"}"#,
        "transforms": "fields",
        "transforms.fields.type": class("ReplaceField$Value"),
        "transforms.fields.exclude": "secret",
        "transforms.fields.renames": "price:cost",
    });
    assert_eq!(worker.put("/connectors/write/config", sink).await.0, 201);
    let lines = || fs::read_to_string(&to).unwrap_or_default();
    until("the file is written", || lines().lines().count() == 2).await;
    assert!(lines().contains(r#"{"id":"1","cost":2.5}"#), "{}", lines());
    worker.herder.stop().await;
}

/// A source whose records go through a plugin.
fn calling(path: &Path, plugin: &str) -> Value {
    let mut source = source(path);
    let calls = json!({ "transforms": "up", "transforms.up.type": "Wasm", "transforms.up.plugin": plugin });
    source.as_object_mut().unwrap().extend(calls.as_object().unwrap().clone());
    source
}

#[tokio::test]
async fn records_go_through_an_installed_plugin_and_a_sinks_before_it_reads_them() {
    let (storage, dir) = (Storage::default(), tempfile::tempdir().unwrap());
    let (from, to) = (dir.path().join("from.csv"), dir.path().join("to.json"));
    fs::write(&from, "a\nx\noh!\nz\n").unwrap();
    let plugins = MemoryPlugins::new([("upper", "refuse"), ("split", "split-lines")]);
    let worker = Worker::start_with(&storage, plugins);
    let mut source = calling(&from, "upper");
    source["errors.tolerance"] = json!("all");
    assert_eq!(worker.put("/connectors/read/config", source).await.0, 201);
    until("the file is read", || storage.records("read-dead-letters").len() == 1).await;
    assert_eq!(storage.values("t"), [r#"{"A":"X"}"#, r#"{"A":"Z"}"#]);
    let letter = &storage.records("read-dead-letters")[0];
    assert_eq!(letter.value.as_deref(), Some(&br#"{"a":"oh!"}"#[..]));
    let header = |name: &str| crate::worker::memory_cluster::header(&letter.headers, name).unwrap();
    assert_eq!(header("__connect.errors.stage"), "TRANSFORMATION");
    assert_eq!(header("__connect.errors.connector.name"), "read");
    assert!(header("__connect.errors.exception.message").ends_with("a value has a !"));

    storage.create("lines", 1);
    for value in [&b"{\"a\":\"1\"}\n{\"a\":\"2\"}"[..], b"\xff", b"# none"] {
        storage.append("lines", 0, ottla_client::Record::of_value(value));
    }
    let sink = json!({
        "connector.class": "FileSink", "topics": "lines", "path": to, "value.schema": r#"{"a": "string"}"#,
        "errors.tolerance": "all", "transforms": "split, name", "transforms.split.type": "Wasm",
        "transforms.split.plugin": "split", "transforms.name.type": "ReplaceField$Value",
        "transforms.name.renames": "a:b",
    });
    assert_eq!(worker.put("/connectors/write/config", sink).await.0, 201);
    until("the bad one is there", || storage.records("write-dead-letters").len() == 1).await;
    let lines = || fs::read_to_string(&to).unwrap_or_default();
    until("the file is written", || lines() == "{\"b\":\"1\"}\n{\"b\":\"2\"}\n").await;
    let letter = &storage.records("write-dead-letters")[0];
    let header = |name: &str| crate::worker::memory_cluster::header(&letter.headers, name).unwrap();
    assert_eq!(
        (header("__connect.errors.stage"), header("__connect.errors.offset")),
        ("TRANSFORMATION".to_owned(), "1".to_owned())
    );
    let users = worker.herder.plugin_users().await.unwrap();
    assert_eq!(
        (users.of("upper"), users.of("split"), users.of("other")),
        (vec!["read".to_owned()], vec!["write".to_owned()], vec![])
    );
    drop(users);
    assert_eq!(worker.put("/connectors/read/stop", Value::Null).await.0, 204);
    assert_eq!(worker.herder.plugin_users().await.unwrap().of("upper"), ["read"]);
    assert_eq!(worker.call(Method::DELETE, "/connectors/read", Value::Null).await.0, 204);
    assert_eq!(worker.herder.plugin_users().await.unwrap().of("upper"), [""; 0]);
    worker.herder.stop().await;
}

#[tokio::test]
async fn a_plugin_that_is_not_installed_is_told_with_the_nearest_that_is() {
    let storage = Storage::default();
    let plugins = MemoryPlugins::new([("upper", "uppercase"), ("score", "scalar")]);
    let worker = Worker::start_with(&storage, plugins);
    for (plugin, expected) in [
        ("uper", "no plugin `uper` is installed; did you mean `upper`?"),
        ("scores", "no plugin `scores` is installed; install it with `ottla plugin install`"),
        ("score", "the plugin `score` is of the world udf-scalar, and no transform"),
    ] {
        let wrong = calling(Path::new("/x"), plugin);
        let (status, error) = worker.put("/connectors/a/config", wrong.clone()).await;
        let message = error["message"].as_str().unwrap();
        assert!(status == 400 && message.contains(&format!("transforms.up.plugin: {expected}")), "{message}");
        let (status, found) = worker.put("/connector-plugins/FileSource/config/validate", wrong).await;
        let configs = found["configs"].as_array().unwrap();
        let config = configs.iter().find(|one| one["value"]["name"] == "transforms.up.plugin").unwrap();
        assert_eq!((status, &config["value"]["errors"]), (200, &json!([expected])));
        assert_eq!(config["definition"]["required"], true);
    }
    // Who was refused uses nothing.
    assert_eq!(worker.herder.plugin_users().await.unwrap().of("score"), [""; 0]);
    let (_, all) = worker.get("/connector-plugins?connectorsOnly=false").await;
    assert!(
        all.as_array().unwrap().iter().any(|one| one["class"] == "Wasm" && one["type"] == "transformation")
    );
    worker.herder.stop().await;
}

#[tokio::test]
async fn a_plugin_that_traps_fails_the_task_which_takes_another_when_it_is_restarted() {
    let (storage, dir) = (Storage::default(), tempfile::tempdir().unwrap());
    let from = dir.path().join("from.csv");
    fs::write(&from, "a\nx\n#\n").unwrap();
    let plugins = MemoryPlugins::new([("upper", "refuse")]);
    let worker = Worker::start_with(&storage, plugins.clone());
    let mut source = calling(&from, "upper");
    source["errors.tolerance"] = json!("all");
    assert_eq!(worker.put("/connectors/read/config", source).await.0, 201);
    let task = async || worker.get("/connectors/read/tasks/0/status").await.1;
    let waiting = async {
        while task().await["state"] != "FAILED" {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("the task fails");
    let trace = task().await["trace"].as_str().unwrap().to_owned();
    assert!(trace.starts_with("connector 'read': transforms.up: plugin `upper`: it trapped"), "{trace}");
    assert_eq!((storage.records("t").len(), storage.records("read-dead-letters").len()), (0, 0));

    plugins.install("upper", "uppercase");
    let restart = "/connectors/read/restart?includeTasks=true&onlyFailed=true";
    assert_eq!(worker.call(Method::POST, restart, Value::Null).await.0, 202);
    until("the file is read", || storage.records("t").len() == 2).await;
    assert_eq!(storage.values("t"), [r##"{"A":"#"}"##, r#"{"A":"X"}"#]);
    worker.herder.stop().await;
}

#[tokio::test]
async fn a_plugin_is_used_from_the_look_whether_it_is_installed_on() {
    let worker = Worker::start_with(&Storage::default(), MemoryPlugins::new([("upper", "uppercase")]));
    let named = [("transforms", "up"), ("transforms.up.type", "Wasm"), ("transforms.up.plugin", "upper")];
    let properties = named.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let herder = &worker.herder;
    let (coming, wrong) = herder.use_plugins("read", &properties).await.unwrap();
    assert_eq!(wrong, []);
    assert_eq!(herder.plugin_users().await.unwrap().of("upper"), ["read"], "though it does not exist yet");
    drop(coming);
    let users = herder.plugin_users().await.unwrap();
    assert_eq!(users.of("upper"), [""; 0]);
    // Who may uninstall it keeps others from looking.
    let looking = herder.use_plugins("read", &properties);
    let mut looking = std::pin::pin!(looking);
    assert!(futures::poll!(&mut looking).is_pending());
    drop(users);
    assert_eq!(looking.await.unwrap().1, []);
    herder.stop().await;
}
