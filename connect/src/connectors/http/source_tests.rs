//! The HTTP source against a real server: paging of every kind, what is new, restarts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use ottla_formats::schema_of;
use serde_json::{Value, json};

use super::config::HttpSourceConfig;
use super::tests::{Seen, Server};
use crate::connector::{Rows, Source, SourceContext, SourceOffset};
use crate::registry::{CheckConfig as _, ConnectorKind, SourceConfig as _, connector_type};
use crate::worker::memory_cluster::{MemoryCluster, Storage};
use crate::worker::{OnError, SourceTask, SourceTaskConfig, TransactionBoundary};

fn config(url: &str, more: Value) -> Value {
    let mut config =
        json!({"url": url, "retry_backoff_ms": 1, "retry_backoff_max_ms": 5, "retry_timeout_ms": 300_000});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

fn open(url: &str, more: Value, offset: Option<SourceOffset>) -> Box<dyn Source> {
    let config: HttpSourceConfig = serde_json::from_value(config(url, more)).unwrap();
    assert_eq!(config.check(), []);
    config.open(SourceContext { name: "api".to_owned(), schema: None, offset }).unwrap()
}

/// Everything until the source ends, and where to go on.
async fn drain(source: &mut dyn Source) -> (Vec<String>, Option<SourceOffset>) {
    let (mut all, mut resume) = (Vec::new(), None);
    let mut last = 0;
    while let Some(batch) = source.poll().await.unwrap() {
        let Rows::Raw(values) = batch.rows else { panic!("no schema was given") };
        assert_eq!(values.len(), batch.positions.len());
        for position in batch.positions {
            assert!(position > last);
            last = position;
        }
        all.extend(values.iter().map(|value| String::from_utf8(value.to_vec()).unwrap()));
        assert!(batch.resume.position >= last);
        resume = Some(batch.resume);
    }
    (all, resume)
}

fn query(seen: &Seen) -> BTreeMap<String, String> {
    let pairs = seen.uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A list that grows, given in pages of two in the way that `paging` names.
fn paged(paging: &'static str, list: Arc<Mutex<Vec<i64>>>) -> impl FnMut(&Seen) -> Response + Send + 'static {
    move |seen| {
        let list = list.lock().unwrap().clone();
        let query = query(seen);
        let number =
            |name: &str, default: usize| query.get(name).map_or(default, |text| text.parse().unwrap());
        let rows = |from: usize, to: usize| -> Vec<Value> {
            let some = list.get(from.min(list.len())..to.min(list.len())).unwrap();
            some.iter().map(|id| json!({"id": id, "n": 1.10})).collect()
        };
        let after = |id: usize, inclusive: bool| {
            let is_after = |one: &i64| {
                let one = usize::try_from(*one).unwrap();
                one > id || inclusive && one == id
            };
            list.iter().position(is_after).unwrap_or(list.len())
        };
        match paging {
            "none" => Json(json!(rows(0, list.len()))).into_response(),
            "since" => {
                let from = after(number("after", 0), false);
                Json(json!({"data": {"items": rows(from, from + 2)}})).into_response()
            }
            "from" => {
                let from = after(number("from", 0), true);
                Json(json!(rows(from, from + 2))).into_response()
            }
            "page" => {
                assert_eq!(query["per_page"], "2");
                let page = number("page", 99);
                Json(json!(rows(page * 2 - 2, page * 2))).into_response()
            }
            "offset" => Json(json!(rows(number("offset", 99), number("offset", 99) + 2))).into_response(),
            "cursor" => {
                let from = number("cursor", 0);
                let next = (from + 2 < list.len()).then(|| format!("{}", from + 2));
                Json(json!({"data": rows(from, from + 2), "meta": {"next": next}})).into_response()
            }
            _ => {
                let from = number("from", 0);
                let body = Json(json!(rows(from, from + 2)));
                let link = format!("</in?from=0>; rel=\"first, of all\", </in?from={}>; rel=next", from + 2);
                match from + 2 < list.len() {
                    true => ([("Link", link)], body).into_response(),
                    false => body.into_response(),
                }
            }
        }
    }
}

fn ids(values: &[String]) -> Vec<i64> {
    values.iter().map(|value| serde_json::from_str::<Value>(value).unwrap()["id"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn pages_of_every_kind_are_read_to_their_end_and_later_what_is_new() {
    for (paging, options) in [
        ("none", json!({"id": "/id"})),
        ("since", json!({"records": "/data/items", "cursor": "/id", "cursor_param": "after"})),
        ("from", json!({"paging": "since", "cursor": "/id", "cursor_param": "from"})),
        ("page", json!({"page_size": 2, "limit_param": "per_page"})),
        ("offset", json!({})),
        ("cursor", json!({"records": "/data", "cursor": "/meta/next"})),
        ("cursor", json!({"records": "/data", "cursor": "/meta/next", "id": "/id"})),
        ("link", json!({})),
    ] {
        let mut options = options;
        if paging != "from" {
            options["paging"] = json!(paging);
        }
        let list = Arc::new(Mutex::new(Vec::new()));
        let server = Server::start(paged(paging, Arc::clone(&list))).await;
        let url = format!("{}/in?tenant=7", server.url);
        let (mut offset, mut all) = (None, Vec::new());
        let mut read = Vec::new();
        // Some steps end at the end of a page and some within it.
        for step in [0, 1, 1, 3, 4, 0, 5, 2] {
            let from = i64::try_from(all.len()).unwrap();
            all.extend(from + 1..=from + step);
            list.lock().unwrap().clone_from(&all);
            let (values, resume) = drain(&mut *open(&url, options.clone(), offset.clone())).await;
            read.extend(ids(&values));
            assert_eq!(read, all, "{paging} {options}");
            offset = resume.or(offset);
        }
        if paging != "link" {
            assert!(server.seen().iter().all(|seen| query(seen)["tenant"] == "7"), "{paging}");
        }
    }
}

#[tokio::test]
async fn a_page_that_has_not_changed_is_not_sent_again_and_a_document_is_taken_when_it_changes() {
    let answer = |etag: &'static str, body: &'static str| ([("ETag", etag)], body).into_response();
    let server = Server::start(move |seen| match seen.header("if-none-match") {
        "\"v1\"" => StatusCode::NOT_MODIFIED.into_response(),
        _ => answer("\"v1\"", "[1]"),
    })
    .await;
    let (values, offset) = drain(&mut *open(&server.url, json!({}), None)).await;
    assert_eq!(values, ["1"]);
    let (values, resume) = drain(&mut *open(&server.url, json!({}), offset.clone())).await;
    assert_eq!((values.len(), resume), (0, None));
    assert_eq!(server.seen()[1].header("if-none-match"), "\"v1\"");
    server.become_(move |_| answer("\"v2\"", "[1,  2.50]"));
    let (values, offset) = drain(&mut *open(&server.url, json!({}), offset)).await;
    assert_eq!(values, ["1", "2.50"], "as they are written");
    // A server without ETags sends the same again.
    server.become_(|_| "[1,  2.50]".into_response());
    assert_eq!(drain(&mut *open(&server.url, json!({}), offset)).await.0.len(), 0);
}

#[tokio::test]
async fn a_source_that_follows_asks_again_and_its_rows_have_the_schemas_columns() {
    let list = Arc::new(Mutex::new(vec![1, 2, 3]));
    let server = Server::start(paged("offset", Arc::clone(&list))).await;
    let schema = Some(schema_of([("id", "int"), ("n", "decimal(4,2)")]).unwrap());
    let options = config(&server.url, json!({"paging": "offset", "poll_interval_ms": 1}));
    let config: HttpSourceConfig = serde_json::from_value(options).unwrap();
    let mut source = config.open(SourceContext { name: "api".to_owned(), schema, offset: None }).unwrap();
    let mut rows = 0;
    for more in [3, 4] {
        list.lock().unwrap().clone_from(&(1..=more).collect());
        while rows < usize::try_from(more).unwrap() {
            // A poll may be dropped at any time.
            let polled = tokio::time::timeout(Duration::from_micros(200), source.poll()).await;
            let Ok(batch) = polled else { continue };
            let batch = batch.unwrap().unwrap();
            assert!(batch.bad.is_empty() && matches!(batch.rows, Rows::Arrow(_)), "{:?}", batch.bad);
            rows += batch.rows.len();
        }
    }
    assert_eq!(rows, 4);
}

#[tokio::test]
async fn what_a_server_does_wrong_is_told_and_is_no_end() {
    let many = format!("[{}1]", "1,".repeat(600));
    for (body, options, retriable, told) in [
        ("<html>", json!({}), true, "is no JSON"),
        ("{\"a\": []}", json!({"records": "/data"}), true, "nothing at \"/data\""),
        ("[{}]", json!({"id": "/id"}), true, "nothing at \"/id\""),
        ("[{}]", json!({"paging": "since", "cursor": "/at"}), true, "\"/at\""),
        (&many, json!({"response_bytes_max": 1000}), false, "more than 1000 bytes"),
    ] {
        let body = body.to_owned();
        let server = Server::start(move |_| body.clone().into_response()).await;
        let error = open(&server.url, options, None).poll().await.unwrap_err();
        assert!(error.retriable == retriable && error.to_string().contains(told), "{error}");
    }
    let elsewhere = || ([("Link", "<http://127.0.0.2:9/x>; rel=next")], "[1]").into_response();
    let server = Server::start(move |_| elsewhere()).await;
    let error = open(&server.url, json!({"paging": "link"}), None).poll().await.unwrap_err();
    assert!(error.to_string().contains("leads to another server, http://127.0.0.2:9"), "{error}");
    let server = Server::start(|_| StatusCode::BAD_REQUEST.into_response()).await;
    let error = open(&server.url, json!({}), None).poll().await.unwrap_err();
    assert!(!error.retriable && error.to_string().contains("400"), "{error}");
}

#[test]
fn what_is_wrong_with_a_config_is_told_by_field() {
    let source = connector_type(ConnectorKind::Source, "http").unwrap();
    for (more, beginning) in [
        (
            json!({"records": "data.items"}),
            "records: must be a JSON pointer: empty for the whole, or /data/items",
        ),
        (json!({"paging": "cursor"}), "cursor: is needed"),
        (json!({"paging": "page"}), "page_size: is needed"),
        (json!({"paging": "pages"}), "paging: unknown variant"),
        (json!({"dedup_size": 0}), "dedup_size: must be"),
        (json!({"poll_interval_ms": 0}), "poll_interval_ms: must be"),
    ] {
        let found = source.validate(&config("http://a", more));
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(found.len() == 1 && found[0].starts_with(beginning), "{beginning}: {found:?}");
    }
    let with_key: HttpSourceConfig = serde_json::from_value(config("http://a/b?key=k3y", json!({}))).unwrap();
    let partition = format!("{:?}", with_key.partition());
    assert!(partition.contains("http://a/b") && !partition.contains("k3y"), "{partition}");
}

/// Runs the source into a topic until it ends, or its cluster dies after so many calls.
async fn run(storage: &Storage, url: &str, calls: Option<usize>) {
    let cluster = MemoryCluster::new(storage, calls);
    let fuse = cluster.fuse();
    let options = config(url, json!({"paging": "cursor", "records": "/data", "cursor": "/meta/next"}));
    let config = SourceTaskConfig {
        schema: Some(schema_of([("id", "int"), ("n", "double")]).unwrap()),
        on_error: OnError::DeadLetter { topic: "dlq".to_owned() },
        transaction_boundary: TransactionBoundary::Poll,
        ..SourceTaskConfig::new("api", "http", options, "t")
    };
    let handle = SourceTask::start_on(Arc::new(cluster), config).unwrap();
    tokio::select! {
        outcome = handle.wait() => drop(outcome.unwrap()),
        () = fuse.died() => {}
    }
}

#[tokio::test]
async fn a_source_that_dies_anywhere_writes_each_record_of_a_stable_endpoint_once() {
    let list = Arc::new(Mutex::new((1..=13).collect::<Vec<i64>>()));
    let server = Server::start(paged("cursor", Arc::clone(&list))).await;
    for calls in (5..60).step_by(5) {
        let storage = Storage::default();
        run(&storage, &server.url, Some(calls)).await;
        run(&storage, &server.url, Some(calls / 2 + 5)).await;
        run(&storage, &server.url, None).await;
        let mut found = ids(&storage.values("t"));
        found.sort_unstable();
        assert_eq!(found, (1..=13).collect::<Vec<_>>(), "after {calls} calls");
    }
}

#[tokio::test]
async fn what_was_read_and_not_committed_is_what_the_endpoint_says_after_a_restart() {
    let list = Arc::new(Mutex::new(Vec::new()));
    let server = Server::start(paged("cursor", Arc::clone(&list))).await;
    for calls in 1.. {
        let storage = Storage::default();
        *list.lock().unwrap() = vec![1, 2];
        run(&storage, &server.url, Some(calls)).await;
        if !storage.values("t").is_empty() {
            assert!(calls > 5, "it has died amid a start, after each call of it");
            break;
        }
        assert!(storage.values("connect-offsets").is_empty());
        *list.lock().unwrap() = vec![9, 1];
        run(&storage, &server.url, None).await;
        let mut found = ids(&storage.values("t"));
        found.sort_unstable();
        assert_eq!(found, [1, 9], "after {calls} calls");
    }
}
