//! The webhook source with real requests: what is answered, and when.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ottla_formats::schema_of;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::config::WebhookSourceConfig;
use super::source::WebhookSource;
use crate::connector::{Rows, Source as _, SourceContext, SourceOffset};
use crate::registry::{CheckConfig as _, ConnectorKind, connector_type};
use crate::worker::memory_cluster::{MemoryCluster, Storage};
use crate::worker::{SourceTask, SourceTaskConfig, TransactionBoundary};

fn open(more: Value, schema: Option<&[(&str, &str)]>, offset: Option<u64>) -> (WebhookSource, String) {
    let mut config = json!({"listen": "127.0.0.1:0", "path": "/in"});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let config: WebhookSourceConfig = serde_json::from_value(config).unwrap();
    assert_eq!(config.check(), []);
    let schema = schema.map(|columns| schema_of(columns.iter().copied()).unwrap());
    let offset = offset.map(|position| SourceOffset { position, state: serde_json::Map::new() });
    let context = SourceContext { name: "hook".to_owned(), schema, offset };
    let source = WebhookSource::open(&config, context).unwrap();
    let url = format!("http://{}/in", source.address());
    (source, url)
}

fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::new()
}

/// Sends in the background.
fn send(request: RequestBuilder) -> tokio::task::JoinHandle<(StatusCode, Value)> {
    tokio::spawn(async move {
        let response = request.send().await.unwrap();
        let status = response.status();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
    })
}

#[tokio::test]
async fn a_request_is_answered_when_its_records_are_acknowledged_and_not_before() {
    let (mut source, url) = open(json!({}), Some(&[("n", "int")]), Some(9));
    let client = client();
    let first = send(client.post(&url).body("[{\"n\": 1}, {\"n\": 2}]"));
    let batch = source.poll().await.unwrap().unwrap();
    // Above everything that was written.
    assert_eq!((batch.positions, batch.resume.position), (vec![10, 11], 11));
    assert!(matches!(batch.rows, Rows::Arrow(_)));
    let second = send(client.put(&url).body("{\"n\": 3}"));
    assert_eq!(source.poll().await.unwrap().unwrap().positions, [12]);
    source.acknowledged(10);
    assert!(!first.is_finished() && !second.is_finished());
    source.acknowledged(11);
    assert_eq!(first.await.unwrap(), (StatusCode::OK, json!({"records": 2})));
    assert!(!second.is_finished());
    source.acknowledged(12);
    assert_eq!(second.await.unwrap(), (StatusCode::OK, json!({"records": 1})));
    // Without records there is nothing to wait for.
    assert_eq!(send(client.post(&url).body("[]")).await.unwrap(), (StatusCode::OK, json!({"records": 0})));
    // When the source goes, who waits is told to come again.
    let third = send(client.post(&url).body("{\"n\": 4}"));
    source.poll().await.unwrap();
    drop(source);
    assert_eq!(third.await.unwrap().0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn what_is_wrong_is_answered_at_once_and_gives_no_record() {
    let options = json!({"bearer_token": "t0ken", "body_bytes_max": 100, "timeout_ms": 300_000});
    let (mut source, url) = open(options, Some(&[("n", "int")]), None);
    let client = client();
    let known = |request: RequestBuilder| request.bearer_auth("t0ken");
    let large = "x".repeat(101);
    for (request, status, told) in [
        (client.post(&url).body("{\"n\": 1}"), 401, "token"),
        (client.post(&url).bearer_auth("t0kem").body("{\"n\": 1}"), 401, "token"),
        (client.post(&url).basic_auth("a", Some("b")), 401, "token"),
        (known(client.post(url.replace("/in", "/other"))), 404, "/in"),
        (known(client.get(&url)), 405, "POST"),
        (known(client.post(&url)).body("{\"n\""), 400, "no JSON"),
        (known(client.post(&url)).body("[{\"n\": 1}, {\"n\": null}]"), 400, "record 2"),
        (known(client.post(&url)).body(large.clone()), 413, "100 bytes"),
    ] {
        let (found, said) = send(request).await.unwrap();
        assert!(
            found.as_u16() == status && said["error"].as_str().unwrap().contains(told),
            "{found}: {said}"
        );
    }
    // Nor is one read to its end that does not say how large it is.
    let mut endless = tokio::net::TcpStream::connect(source.address()).await.unwrap();
    let head =
        "POST /in HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer t0ken\r\nTransfer-Encoding: chunked\r\n\r\n";
    endless.write_all(head.as_bytes()).await.unwrap();
    endless.write_all(format!("65\r\n{large}\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    endless.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let nothing = tokio::time::timeout(Duration::from_millis(1), source.poll()).await;
    assert!(nothing.is_err());
}

#[tokio::test]
async fn a_body_must_be_signed_where_that_is_asked_for() {
    let (mut source, url) =
        open(json!({"hmac_secret": "It's a Secret to Everybody", "format": "raw"}), None, None);
    let client = client();
    // The example of GitHub's documentation.
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let signed = send(client.post(&url).header("X-Hub-Signature-256", signature).body("Hello, World!"));
    let Rows::Raw(values) = source.poll().await.unwrap().unwrap().rows else {
        panic!("raw records have no columns")
    };
    assert_eq!(values, ["Hello, World!"]);
    source.acknowledged(1);
    assert_eq!(signed.await.unwrap().0, StatusCode::OK);
    for (header, body) in
        [(signature, "Hello, World?"), ("sha256=", "Hello, World!"), ("zz", "Hello, World!")]
    {
        let wrong = client.post(&url).header("X-Hub-Signature-256", header).body(body);
        assert_eq!(send(wrong).await.unwrap().0, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn who_comes_when_there_is_no_room_is_sent_away() {
    let (mut source, url) = open(json!({"requests_max": 2, "timeout_ms": 300_000}), None, None);
    let client = client();
    let waiting: Vec<_> = (0..2).map(|number| send(client.post(&url).body(number.to_string()))).collect();
    let mut taken = 0;
    while taken < 2 {
        taken += source.poll().await.unwrap().unwrap().positions.len();
    }
    let response = client.post(&url).body("3").send().await.unwrap();
    let after = response.headers()["retry-after"].to_str().unwrap();
    assert_eq!((response.status().as_u16(), after), (503, "1"));
    source.acknowledged(2);
    for waits in waiting {
        assert_eq!(waits.await.unwrap().0, StatusCode::OK);
    }
}

#[tokio::test]
async fn nobody_waits_for_ever_and_nobody_is_waited_for() {
    let (source, url) = open(json!({"timeout_ms": 200}), None, None);
    // Nothing takes it.
    let (status, said) = send(client().post(&url).body("1")).await.unwrap();
    assert!(status == 503 && said["error"].as_str().unwrap().contains("too long"), "{said}");
    let mut slow = tokio::net::TcpStream::connect(source.address()).await.unwrap();
    slow.write_all(b"POST /in HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc").await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[test]
fn what_is_wrong_with_a_config_is_told_by_field() {
    let source = connector_type(ConnectorKind::Source, "webhook").unwrap();
    for (config, beginning) in [
        (json!({"listen": "8090"}), "listen: must be an address"),
        (json!({"listen": "0.0.0.0:8090"}), "listen: others than this machine"),
        (json!({"listen": "127.0.0.1:1", "path": "in"}), "path: must begin"),
        (json!({"listen": "127.0.0.1:1", "bearer_token": ""}), "bearer_token: must not"),
        (json!({"listen": "127.0.0.1:1", "hmac_header": "a b"}), "hmac_header: must be"),
        (json!({"listen": "127.0.0.1:1", "requests_max": 0}), "requests_max: must be"),
    ] {
        let found: Vec<String> = source.validate(&config).iter().map(ToString::to_string).collect();
        assert!(found.len() == 1 && found[0].starts_with(beginning), "{beginning}: {found:?}");
    }
    assert_eq!(source.validate(&json!({"listen": "0.0.0.0:1", "anonymous": true})), []);
    assert_eq!(source.validate(&json!({"listen": "0.0.0.0:1", "hmac_secret": "s"})), []);
}

#[tokio::test]
async fn what_was_answered_with_200_is_in_the_topic_once_across_restarts() {
    let storage = Storage::default();
    // An address that no other test of this machine has.
    let [low, high, ..] = std::process::id().to_le_bytes();
    let listen = format!("127.77.{high}.{low}:18090");
    let url = format!("http://{listen}/");
    let client = client();
    let mut answered = BTreeSet::new();
    for round in 0..3 {
        let config = json!({"listen": listen});
        let config = SourceTaskConfig {
            transaction_boundary: TransactionBoundary::Interval(Duration::from_secs(3600)),
            ..SourceTaskConfig::new("hook", "webhook", config, "t")
        };
        let handle = SourceTask::start_on(Arc::new(MemoryCluster::new(&storage, None)), config).unwrap();
        for number in 0..5 {
            let text = (round * 5 + number).to_string();
            let request = || client.post(&url).body(text.clone()).send();
            let mut response = request().await;
            while !response.as_ref().is_ok_and(|response| response.status() == StatusCode::OK) {
                tokio::time::sleep(Duration::from_millis(2)).await;
                response = request().await;
            }
            answered.insert(text.clone());
            assert!(storage.values("t").contains(&text));
        }
        handle.stop().await.unwrap();
    }
    let found = storage.values("t");
    assert_eq!(found.iter().cloned().collect::<BTreeSet<_>>(), answered);
    assert_eq!(found.len(), 15);
}
