//! The HTTP connectors against a real server whose failures are scripted, and whole tasks over a cluster in memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use ottla_client::Record;
use ottla_formats::{Format as _, JsonFormat, schema_of};
use serde_json::{Value, json};

use super::config::HttpSinkConfig;
use crate::connector::{Operation, Rows, Sink, SinkBatch, SinkContext};
use crate::registry::{CheckConfig as _, ConnectorKind, SinkConfig as _, connector_type};
use crate::worker::memory_cluster::{MemoryCluster, Storage, header};
use crate::worker::{OnError, RetryPolicy, SinkTask, SinkTaskConfig, TaskHandle, TaskState};

/// A request as the server saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

type Script = Box<dyn FnMut(&Seen) -> Response + Send>;

struct Scripted {
    seen: Vec<Seen>,
    script: Script,
}

/// A server on a free port, for as long as its runtime lives.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) url: String,
    state: Arc<Mutex<Scripted>>,
}

impl Server {
    /// Answers each request as the script says.
    pub(crate) async fn start(script: impl FnMut(&Seen) -> Response + Send + 'static) -> Server {
        let state = Arc::new(Mutex::new(Scripted { seen: Vec::new(), script: Box::new(script) }));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&state));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Server { url, state }
    }

    /// Answers with these, then with 200.
    async fn answering(answers: impl IntoIterator<Item = Response>) -> Server {
        let mut answers: VecDeque<Response> = answers.into_iter().collect();
        Server::start(move |_| answers.pop_front().unwrap_or_else(|| StatusCode::OK.into_response())).await
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    fn bodies(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.body).collect()
    }

    pub(crate) fn become_(&self, script: impl FnMut(&Seen) -> Response + Send + 'static) {
        self.state.lock().unwrap().script = Box::new(script);
    }
}

async fn answer(
    State(state): State<Arc<Mutex<Scripted>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let seen = Seen { method, uri, headers, body: String::from_utf8_lossy(&body).into_owned() };
    let mut state = state.lock().unwrap();
    state.seen.push(seen.clone());
    (state.script)(&seen)
}

pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect(what);
}

/// The config of a sink that is quick to try again.
pub(super) fn sink_config(url: &str, more: Value) -> Value {
    let mut config =
        json!({"url": url, "retry_backoff_ms": 1, "retry_backoff_max_ms": 5, "retry_timeout_ms": 300_000});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

pub(super) fn open(url: &str, more: Value) -> Box<dyn Sink> {
    let config: HttpSinkConfig = serde_json::from_value(sink_config(url, more)).unwrap();
    assert_eq!(config.check(), []);
    config.open(SinkContext { name: "hook".to_owned(), schema: None }).unwrap()
}

fn rows(numbers: std::ops::Range<u32>) -> SinkBatch {
    let payloads: Vec<String> = numbers.map(|number| format!("{{\"n\":{number}}}")).collect();
    let payloads: Vec<&[u8]> = payloads.iter().map(|payload| payload.as_bytes()).collect();
    let batch = JsonFormat.decode(&payloads, &schema_of([("n", "int")]).unwrap()).unwrap().batch;
    SinkBatch::new(Operation::Write, Rows::Arrow(batch))
}

fn raw(values: &[&str]) -> SinkBatch {
    let values = values.iter().map(|value| Bytes::copy_from_slice(value.as_bytes())).collect();
    SinkBatch::new(Operation::Write, Rows::Raw(values))
}

#[tokio::test]
async fn records_go_in_batches_with_the_headers_and_credentials_of_the_config() {
    let server = Server::answering([]).await;
    let url = format!("{}/in?key=k", server.url);
    let mut sink =
        open(&url, json!({"batch_size": 2, "bearer_token": "t0ken", "headers": {"X-Shop": "north"}}));
    assert_eq!(sink.write(rows(0..5)).await.unwrap(), []);
    assert_eq!(server.bodies(), [r#"[{"n":0},{"n":1}]"#, r#"[{"n":2},{"n":3}]"#, r#"[{"n":4}]"#]);
    let first = &server.seen()[0];
    assert_eq!((first.method.as_str(), first.uri.to_string().as_str()), ("POST", "/in?key=k"));
    assert_eq!((first.header("authorization"), first.header("x-shop")), ("Bearer t0ken", "north"));
    assert_eq!(first.header("content-type"), "application/json");

    let more = json!({"method": "PUT", "body": "ndjson", "username": "u", "password": "p",
                      "headers": {"Content-Type": "text/plain"}});
    let mut sink = open(&server.url, more);
    let rejected = sink.write(raw(&["{\"a\":\n1}", "no json", "2"])).await.unwrap();
    let last = server.seen().pop().unwrap();
    assert_eq!((last.method.as_str(), last.body.as_str()), ("PUT", "{\"a\": 1}\n2\n"));
    assert_eq!((last.header("authorization"), last.header("content-type")), ("Basic dTpw", "text/plain"));
    assert_eq!((rejected.len(), rejected[0].row), (1, 1));

    let mut sink = open(&server.url, json!({"body": "single"}));
    sink.write(raw(&["\u{1}a", "b"])).await.unwrap();
    assert_eq!(server.bodies().split_off(4), ["\u{1}a", "b"]);
    assert_eq!(server.seen()[4].header("content-type"), "application/octet-stream");
}

#[tokio::test]
async fn what_cannot_be_taken_now_is_sent_again_and_a_named_time_is_waited_for() {
    let busy = (StatusCode::TOO_MANY_REQUESTS, [("Retry-After", "1")]).into_response();
    let failing = StatusCode::SERVICE_UNAVAILABLE.into_response();
    let server = Server::answering([failing, busy, StatusCode::REQUEST_TIMEOUT.into_response()]).await;
    let started = std::time::Instant::now();
    let mut sink = open(&server.url, json!({}));
    assert_eq!(sink.write(rows(0..2)).await.unwrap(), []);
    assert_eq!(server.bodies(), [r#"[{"n":0},{"n":1}]"#; 4]);
    assert!(started.elapsed() >= Duration::from_secs(1));

    // When it takes too long the worker hears of it, and may begin anew.
    let gone = Server::start(|_| (StatusCode::BAD_GATEWAY, "upstream\n is away").into_response()).await;
    let mut sink = open(&format!("{}/a?key=hidden", gone.url), json!({"retry_timeout_ms": 20}));
    let error = sink.write(rows(0..1)).await.unwrap_err();
    assert!(error.retriable && !gone.seen().is_empty(), "{error}");
    let text = error.to_string();
    assert!(text.starts_with(&format!("sending records to {}/a: the answer is 502", gone.url)), "{text}");
    assert!(text.contains("upstream is away") && !text.contains("hidden"), "{text}");
    // As when nobody is there at all.
    let mut sink = open("http://127.0.0.1:9/?key=hidden", json!({"retry_timeout_ms": 1}));
    let error = sink.write(rows(0..1)).await.unwrap_err();
    assert!(error.retriable && !error.to_string().contains("hidden"), "{error}");
}

#[tokio::test]
async fn the_record_that_is_refused_is_found_and_the_others_are_delivered_once_in_order() {
    let taken = Arc::new(Mutex::new(Vec::<i64>::new()));
    let (takes, refuses) = (Arc::clone(&taken), [3, 4, 9]);
    let server = Server::start(move |seen| {
        let numbers: Vec<Value> = serde_json::from_str(&seen.body).unwrap();
        let numbers: Vec<i64> = numbers.iter().map(|row| row["n"].as_i64().unwrap()).collect();
        if numbers.iter().any(|number| refuses.contains(number)) {
            return (StatusCode::UNPROCESSABLE_ENTITY, "unlucky number").into_response();
        }
        takes.lock().unwrap().extend(numbers);
        StatusCode::NO_CONTENT.into_response()
    })
    .await;
    let mut sink = open(&server.url, json!({}));
    let rejected = sink.write(rows(0..10)).await.unwrap();
    assert_eq!(rejected.iter().map(|rejected| rejected.row).collect::<Vec<_>>(), [3, 4, 9]);
    assert_eq!(rejected[0].reason, "the answer is 422 Unprocessable Entity: unlucky number");
    assert_eq!(*taken.lock().unwrap(), [0, 1, 2, 5, 6, 7, 8]);
}

#[tokio::test]
async fn an_endpoint_that_is_not_what_the_config_says_stops_the_sink_and_loses_nothing() {
    for (status, remedy) in [(401, "bearer_token"), (404, "url"), (301, "redirects"), (415, "headers")] {
        let status = StatusCode::from_u16(status).unwrap();
        let server = Server::start(move |_| status.into_response()).await;
        let error = open(&server.url, json!({})).write(rows(0..3)).await.unwrap_err();
        assert!(!error.retriable && error.to_string().contains(remedy), "{error}");
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn requests_keep_the_pace_that_is_asked_for() {
    let server = Server::answering([]).await;
    let started = std::time::Instant::now();
    let mut sink = open(&server.url, json!({"body": "single", "requests_per_second": 20.0}));
    sink.write(rows(0..5)).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(200), "{:?}", started.elapsed());
    assert_eq!(server.seen().len(), 5);
}

#[test]
fn what_is_wrong_with_a_config_is_told_by_field_and_secrets_are_not_shown() {
    let sink = connector_type(ConnectorKind::Sink, "http").unwrap();
    for (config, beginning) in [
        (json!({"url": "example.org"}), "url: is no URL"),
        (json!({"url": "ftp://example.org"}), "url: must begin with http"),
        (json!({"url": "http://u:p@example.org"}), "url: must hold no user"),
        (json!({"url": "http://a", "method": "GET"}), "method: unknown variant"),
        (json!({"url": "http://a", "batch_size": 0}), "batch_size: must be"),
        (json!({"url": "http://a", "requests_per_second": 0}), "requests_per_second: must be"),
        (json!({"url": "http://a", "headers": {"a b": "c"}}), "headers: a b"),
        (json!({"url": "http://a", "password": "p"}), "username: is missing"),
        (json!({"url": "http://a", "bearer_token": "t", "username": "u"}), "bearer_token: is one way"),
        (json!({"url": "http://a", "bearer_token": "t\n"}), "headers: the credentials"),
    ] {
        let found: Vec<String> = sink.validate(&config).iter().map(ToString::to_string).collect();
        assert!(found.iter().any(|message| message.starts_with(beginning)), "{beginning}: {found:?}");
    }
    let config: HttpSinkConfig =
        serde_json::from_value(json!({"url": "http://a", "bearer_token": "t0ken"})).unwrap();
    assert!(!format!("{config:?}").contains("t0ken"), "{config:?}");
}

fn task(
    storage: &Storage,
    url: &str,
    calls: Option<usize>,
) -> (TaskHandle, Arc<crate::worker::memory_cluster::Fuse>) {
    let cluster = MemoryCluster::new(storage, calls);
    let fuse = cluster.fuse();
    let config = SinkTaskConfig {
        on_error: OnError::DeadLetter { topic: "dlq".to_owned() },
        retry: RetryPolicy { timeout: None, pause_max: Duration::from_millis(5) },
        ..SinkTaskConfig::new("hook", "http", sink_config(url, json!({"retry_timeout_ms": 5})), "t")
    };
    (SinkTask::start_on(Arc::new(cluster), config).unwrap(), fuse)
}

fn fill(storage: &Storage, numbers: std::ops::Range<u32>) {
    storage.create("t", 2);
    for number in numbers {
        let partition = i32::try_from(number % 2).unwrap();
        storage.append("t", partition, Record::of_value(format!("{{\"n\":{number}}}")));
    }
}

/// The numbers that a server took.
fn numbers(server: &Server) -> Vec<i64> {
    let rows = |body: &String| serde_json::from_str::<Vec<Value>>(body).unwrap();
    server.bodies().iter().flat_map(rows).map(|row| row["n"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn offsets_are_kept_in_the_group_and_a_task_goes_on_where_it_was() {
    let storage = Storage::default();
    fill(&storage, 0..10);
    storage.append("t", 0, Record::of_value("oops"));
    let server = Server::answering([]).await;
    let (handle, _) = task(&storage, &server.url, None);
    handle.finish();
    let status = handle.wait().await.unwrap();
    assert_eq!((status.records_in, status.records_out, status.records_bad), (11, 10, 1));
    assert_eq!(storage.group("connect-hook"), [("t".to_owned(), 0, 6), ("t".to_owned(), 1, 5)]);
    let letter = &storage.records("dlq")[0];
    assert_eq!(header(&letter.headers, "__connect.errors.stage").as_deref(), Some("TASK_PUT"));

    fill(&storage, 10..14);
    let fresh = Server::answering([]).await;
    let (handle, _) = task(&storage, &fresh.url, None);
    handle.finish();
    handle.wait().await.unwrap();
    let mut all = numbers(&fresh);
    all.sort_unstable();
    assert_eq!(all, [10, 11, 12, 13]);

    // A topic made anew has other records, whatever the group says.
    storage.recreate("t");
    fill(&storage, 0..2);
    let (handle, _) = task(&storage, &fresh.url, None);
    handle.finish();
    assert_eq!(handle.wait().await.unwrap().records_in, 2);
}

#[tokio::test]
async fn a_target_that_is_down_loses_nothing_is_told_and_does_not_keep_the_task_from_stopping() {
    let storage = Storage::default();
    fill(&storage, 0..40);
    let server = Server::start(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response()).await;
    let (handle, _) = task(&storage, &server.url, None);
    until("it has tried often", || handle.status().retries > 20).await;
    let status = handle.status();
    assert!(matches!(status.state, TaskState::Retrying | TaskState::Starting | TaskState::Running));
    assert!(status.last_error.unwrap().contains("500 Internal Server Error"));
    assert_eq!((status.records_in, status.records_out), (0, 0));
    let taken = Arc::new(Mutex::new(Vec::new()));
    let takes = Arc::clone(&taken);
    server.become_(move |seen| {
        let rows: Vec<Value> = serde_json::from_str(&seen.body).unwrap();
        takes.lock().unwrap().extend(rows.iter().map(|row| row["n"].as_i64().unwrap()));
        StatusCode::OK.into_response()
    });
    handle.finish();
    assert_eq!(handle.wait().await.unwrap().records_out, 40);
    let mut all = taken.lock().unwrap().clone();
    all.sort_unstable();
    assert_eq!(all, (0..40).collect::<Vec<_>>());

    // One that hangs is left when the task stops, and what it had comes again.
    fill(&storage, 40..42);
    server.become_(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response());
    let (handle, _) = task(&storage, &server.url, None);
    until("it has tried", || handle.status().retries > 0).await;
    let _ = handle.stop().await;
    assert_eq!(storage.group("connect-hook"), [("t".to_owned(), 0, 20), ("t".to_owned(), 1, 20)]);
}

#[tokio::test]
async fn a_task_that_dies_anywhere_delivers_every_record() {
    for calls in (3..40).step_by(3) {
        let storage = Storage::default();
        fill(&storage, 0..20);
        let server = Server::answering([]).await;
        let (dying, fuse) = task(&storage, &server.url, Some(calls));
        dying.finish();
        tokio::select! {
            outcome = dying.wait() => drop(outcome.unwrap()),
            () = fuse.died() => {}
        }
        let (handle, _) = task(&storage, &server.url, None);
        handle.finish();
        handle.wait().await.unwrap();
        let mut all = numbers(&server);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all, (0..20).collect::<Vec<_>>(), "after {calls} calls");
    }
}
