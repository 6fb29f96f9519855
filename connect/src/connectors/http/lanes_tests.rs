//! The HTTP sink with several requests under way, against a real server that takes its time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use ottla_client::Record;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use super::tests::{open, sink_config, until};
use crate::connector::{Answers, Operation, Rows, SinkBatch};
use crate::worker::memory_cluster::{MemoryCluster, Storage, header};
use crate::worker::{OnError, RetryPolicy, SinkTask, SinkTaskConfig, TaskHandle};

/// A record: its key and its number.
type Sent = (String, u64);
type Answering = Box<dyn Fn(Vec<Sent>) -> BoxFuture<'static, StatusCode> + Send + Sync>;

#[derive(Default)]
struct Watched {
    /// Records that were taken, in the order of the answers.
    taken: Vec<Sent>,
    requests: usize,
    under_way: usize,
    under_way_max: usize,
    keys_under_way: Vec<String>,
    /// A key of which two requests were under way at a time.
    overlap: Option<String>,
}

struct Shared {
    watched: Mutex<Watched>,
    answering: Answering,
}

/// A request as long as it is under way, also when who sent it goes away.
struct UnderWay(Arc<Shared>, Vec<Sent>);

impl UnderWay {
    fn begin(shared: &Arc<Shared>, sent: Vec<Sent>) -> Self {
        let mut watched = shared.watched.lock().unwrap();
        watched.requests += 1;
        watched.under_way += 1;
        watched.under_way_max = watched.under_way_max.max(watched.under_way);
        for key in keys(&sent) {
            if watched.keys_under_way.contains(&key) {
                watched.overlap = Some(key.clone());
            }
            watched.keys_under_way.push(key);
        }
        Self(Arc::clone(shared), sent)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut watched = self.0.watched.lock().unwrap();
        watched.under_way -= 1;
        for key in keys(&self.1) {
            let at = watched.keys_under_way.iter().position(|under_way| *under_way == key).unwrap();
            watched.keys_under_way.swap_remove(at);
        }
    }
}

fn keys(sent: &[Sent]) -> BTreeSet<String> {
    sent.iter().map(|(key, _)| key.clone()).collect()
}

struct Server {
    url: String,
    shared: Arc<Shared>,
}

impl Server {
    async fn start<F>(answering: impl Fn(Vec<Sent>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = StatusCode> + Send + 'static,
    {
        let answering: Answering = Box::new(move |sent| answering(sent).boxed());
        let shared = Arc::new(Shared { watched: Mutex::default(), answering });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    /// Answers after chance, and not always with success.
    async fn moody(seed: u64) -> Self {
        let chance = Arc::new(Mutex::new(StdRng::seed_from_u64(seed)));
        Self::start(move |_| {
            let (delay, fails) = {
                let mut chance = chance.lock().unwrap();
                (Duration::from_micros(chance.random_range(0..5_000)), chance.random_bool(0.2))
            };
            async move {
                tokio::time::sleep(delay).await;
                if fails { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
            }
        })
        .await
    }

    fn watched<T>(&self, look: impl FnOnce(&Watched) -> T) -> T {
        look(&self.shared.watched.lock().unwrap())
    }

    /// The numbers that were taken, in their order, by key.
    fn by_key(&self) -> BTreeMap<String, Vec<u64>> {
        let mut by_key: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let taken = self.watched(|watched| watched.taken.clone());
        taken.into_iter().for_each(|(key, number)| by_key.entry(key).or_default().push(number));
        by_key
    }
}

async fn answer(State(shared): State<Arc<Shared>>, body: Bytes) -> StatusCode {
    let rows: Value = serde_json::from_slice(&body).unwrap();
    let sent_of = |row: &Value| (row["k"].as_str().unwrap().to_owned(), row["n"].as_u64().unwrap());
    let sent: Vec<Sent> = match &rows {
        Value::Array(rows) => rows.iter().map(sent_of).collect(),
        row => vec![sent_of(row)],
    };
    let under_way = UnderWay::begin(&shared, sent.clone());
    let status = (shared.answering)(sent.clone()).await;
    if status.is_success() {
        shared.watched.lock().unwrap().taken.extend(sent);
    }
    drop(under_way);
    status
}

fn value(key: &str, number: u64) -> String {
    format!("{{\"k\":\"{key}\",\"n\":{number}}}")
}

/// Records with the keys that `key` gives.
fn batch(numbers: std::ops::Range<u64>, key: impl Fn(u64) -> String) -> SinkBatch {
    let values = numbers.clone().map(|number| Bytes::from(value(&key(number), number))).collect();
    let mut batch = SinkBatch::new(Operation::Write, Rows::Raw(values));
    batch.keys = numbers.map(|number| Some(Bytes::from(key(number)))).collect();
    batch
}

fn one_of(keys: u64) -> impl Fn(u64) -> String {
    move |number| format!("k{}", number * 7 % keys)
}

#[tokio::test]
async fn records_of_a_key_keep_their_order_whatever_the_endpoint_does() {
    for (lanes, body) in [(1, "single"), (3, "json_array"), (8, "single"), (8, "json_array")] {
        let seed = rand::random();
        println!("seed {seed}");
        let server = Server::moody(seed).await;
        let more = json!({"max_in_flight_requests": lanes, "body": body, "batch_size": 7});
        let mut sink = open(&server.url, more);
        let mut answers: Vec<Answers> = Vec::new();
        for from in (0..200).step_by(20) {
            answers.push(sink.take(0, batch(from..from + 20, one_of(12))).await.unwrap());
        }
        for answer in answers {
            assert_eq!(answer.await.unwrap(), []);
        }
        for (key, numbers) in server.by_key() {
            let expected: Vec<u64> = (0..200).filter(|number| one_of(12)(*number) == key).collect();
            assert_eq!(numbers, expected, "{key}");
        }
        server.watched(|watched| {
            assert_eq!(watched.overlap, None);
            assert!(watched.under_way_max <= lanes, "{} of {lanes}", watched.under_way_max);
        });
    }
}

#[tokio::test]
async fn records_without_a_key_keep_the_order_of_their_partition() {
    let server = Server::moody(7).await;
    let mut sink = open(&server.url, json!({"max_in_flight_requests": 8, "body": "single"}));
    let mut answers = Vec::new();
    for (partition, from) in [(0, 0), (1, 100), (0, 10), (1, 110)] {
        let mut batch = batch(from..from + 10, |_| format!("partition {partition}"));
        batch.keys = Vec::new();
        answers.push(sink.take(partition, batch).await.unwrap());
    }
    futures::future::try_join_all(answers).await.unwrap();
    let by_key: Vec<Vec<u64>> = server.by_key().into_values().collect();
    assert_eq!(by_key, [(0..20).collect::<Vec<_>>(), (100..120).collect()]);
}

#[tokio::test]
async fn as_many_requests_are_under_way_as_are_allowed() {
    // The server answers when eight are there: with seven at a time nothing would ever be.
    let meeting = Arc::new(tokio::sync::Barrier::new(8));
    let server = Server::start(move |_| {
        let meeting = Arc::clone(&meeting);
        async move {
            meeting.wait().await;
            StatusCode::OK
        }
    })
    .await;
    let more = json!({"max_in_flight_requests": 8, "order": "none", "body": "single"});
    let mut sink = open(&server.url, more);
    let writing = sink.write(batch(0..64, |_| "same".to_owned()));
    let rejected = tokio::time::timeout(Duration::from_secs(60), writing).await.expect("eight are under way");
    assert_eq!(rejected.unwrap(), []);
    server.watched(|watched| assert_eq!((watched.under_way_max, watched.taken.len()), (8, 64)));
}

#[tokio::test]
async fn what_latency_costs_is_divided_by_the_requests_under_way() {
    let mut times = Vec::new();
    for lanes in [1, 8] {
        let server = Server::start(|_| async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            StatusCode::OK
        })
        .await;
        let mut sink = open(&server.url, json!({"max_in_flight_requests": lanes, "body": "single"}));
        let started = Instant::now();
        sink.write(batch(0..48, one_of(48))).await.unwrap();
        times.push(started.elapsed());
        assert_eq!(server.watched(|watched| watched.taken.len()), 48);
    }
    println!("48 requests of 50 ms: {times:?}");
    assert!(times[0] >= Duration::from_millis(48 * 50), "{times:?}");
    assert!(times[1] < times[0] / 2, "{times:?}");
}

#[tokio::test]
async fn the_pace_is_that_of_all_lanes_together() {
    let server = Server::start(|_| async { StatusCode::OK }).await;
    let more = json!({"max_in_flight_requests": 4, "order": "none", "body": "single",
                      "requests_per_second": 20.0});
    let mut sink = open(&server.url, more);
    let started = Instant::now();
    sink.write(batch(0..5, one_of(5))).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(200), "{:?}", started.elapsed());
}

#[tokio::test]
async fn what_waits_goes_in_one_request_and_each_batch_hears_of_its_own_records() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let opens = Arc::clone(&gate);
    let server = Server::start(move |sent| {
        let gate = Arc::clone(&gate);
        async move {
            let _open = gate.acquire().await.unwrap();
            let is_bad = sent.iter().any(|(_, number)| [2, 4, 5].contains(number));
            if is_bad { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK }
        }
    })
    .await;
    let mut sink = open(&server.url, json!({}));
    let first = sink.take(0, batch(0..1, one_of(3))).await.unwrap();
    until("the first is under way", || server.watched(|watched| watched.requests) == 1).await;
    let second = sink.take(0, batch(1..4, one_of(3))).await.unwrap();
    let third = sink.take(1, batch(4..6, one_of(3))).await.unwrap();
    let fourth = sink.take(0, batch(6..6, one_of(3))).await.unwrap();
    assert_eq!(fourth.await.unwrap(), []);
    opens.add_permits(1);
    let mut rows = Vec::new();
    for answers in [first, second, third] {
        rows.push(answers.await.unwrap().iter().map(|rejected| rejected.row).collect::<Vec<_>>());
    }
    assert_eq!(rows, [vec![], vec![1], vec![0, 1]]);
    assert_eq!(
        server.watched(|watched| watched.taken.iter().map(|(_, n)| *n).collect::<Vec<_>>()),
        [0, 1, 3]
    );
}

#[tokio::test]
async fn an_endpoint_that_is_wrong_is_told_though_other_lanes_try_again() {
    let server = Server::start(|sent| async move {
        if sent[0].0 == "k0" { StatusCode::UNAUTHORIZED } else { StatusCode::SERVICE_UNAVAILABLE }
    })
    .await;
    let mut sink = open(&server.url, json!({"max_in_flight_requests": 8, "body": "single"}));
    let writing = sink.write(batch(0..32, one_of(16)));
    let error =
        tokio::time::timeout(Duration::from_secs(60), writing).await.expect("it is told").unwrap_err();
    assert!(!error.retriable && error.to_string().contains("401"), "{error}");
}

/// A task that reads the topic `t`, on a cluster that may die after some calls.
fn task(
    storage: &Storage,
    url: &str,
    calls: Option<usize>,
) -> (TaskHandle, Arc<crate::worker::memory_cluster::Fuse>) {
    let cluster = MemoryCluster::new(storage, calls);
    let fuse = cluster.fuse();
    let config = sink_config(url, json!({"max_in_flight_requests": 6, "batch_size": 3}));
    let config = SinkTaskConfig {
        on_error: OnError::DeadLetter { topic: "dlq".to_owned() },
        retry: RetryPolicy { timeout: None, pause_max: Duration::from_millis(5) },
        ..SinkTaskConfig::new("hook", "http", config, "t")
    };
    (SinkTask::start_on(Arc::new(cluster), config).unwrap(), fuse)
}

/// Puts records into the partitions of their keys.
fn fill(storage: &Storage, numbers: std::ops::Range<u64>) {
    storage.create("t", 2);
    for number in numbers {
        let key = one_of(12)(number);
        let partition = i32::from(key.len() > 2);
        storage.append("t", partition, Record::new(key.clone(), value(&key, number)));
    }
}

#[tokio::test]
async fn a_lane_that_tries_again_holds_the_offsets_and_no_other_lane() {
    let storage = Storage::default();
    fill(&storage, 0..120);
    let stuck = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_stuck = Arc::clone(&stuck);
    let server = Server::start(move |sent| {
        let held = is_stuck.load(std::sync::atomic::Ordering::SeqCst) && keys(&sent).contains("k0");
        async move { if held { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK } }
    })
    .await;
    let (handle, _) = task(&storage, &server.url, None);
    handle.finish();
    // Whatever shares the lane of that key waits with it; all others are past it.
    until("other lanes go on", || {
        server.by_key().values().filter(|numbers| numbers.len() == 10).count() >= 6
    })
    .await;
    assert_eq!(storage.group("connect-hook"), [("t".to_owned(), 0, 0), ("t".to_owned(), 1, 0)]);
    assert!(!server.by_key().contains_key("k0"));
    stuck.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(handle.wait().await.unwrap().records_out, 120);
    assert_eq!(storage.group("connect-hook"), [("t".to_owned(), 0, 100), ("t".to_owned(), 1, 20)]);
    for numbers in server.by_key().values() {
        assert!(numbers.len() == 10 && numbers.is_sorted(), "{numbers:?}");
    }
}

#[tokio::test]
async fn a_sink_that_dies_in_mid_flight_loses_nothing_and_commits_no_gap() {
    for calls in (3..60).step_by(4) {
        let seed = rand::random();
        println!("seed {seed}");
        let storage = Storage::default();
        fill(&storage, 0..100);
        let dying_server = Server::moody(seed).await;
        let (dying, fuse) = task(&storage, &dying_server.url, Some(calls));
        tokio::select! {
            () = until("it has taken all", || dying.status().records_out == 100) => {}
            () = fuse.died() => {}
        }
        // As with SIGKILL: nothing that is in memory counts any more.
        drop(dying);
        let taken: BTreeSet<Sent> = dying_server.watched(|watched| watched.taken.iter().cloned().collect());
        let records = storage.records("t");
        for (_, partition, offset) in storage.group("connect-hook") {
            let of_partition = records
                .iter()
                .filter(|record| i32::from(record.key.as_ref().unwrap().len() > 2) == partition);
            for record in of_partition.take(usize::try_from(offset).unwrap()) {
                let row: Value = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
                let sent = (row["k"].as_str().unwrap().to_owned(), row["n"].as_u64().unwrap());
                assert!(taken.contains(&sent), "{sent:?} is committed and was not delivered");
            }
        }
        let server = Server::moody(seed ^ 1).await;
        let (handle, _) = task(&storage, &server.url, None);
        handle.finish();
        handle.wait().await.unwrap();
        let again: BTreeSet<Sent> = server.watched(|watched| watched.taken.iter().cloned().collect());
        let all: BTreeSet<u64> = taken.union(&again).map(|(_, number)| *number).collect();
        assert_eq!(all, (0..100).collect(), "after {calls} calls");
        for numbers in server.by_key().values() {
            assert!(numbers.is_sorted(), "{numbers:?}");
        }
    }
}

#[tokio::test]
async fn a_record_that_is_refused_is_a_dead_letter_before_its_offset_is_committed() {
    let storage = Storage::default();
    fill(&storage, 0..60);
    let server = Server::start(|sent| async move {
        let is_bad = sent.iter().any(|(_, number)| number % 17 == 5);
        if is_bad { StatusCode::BAD_REQUEST } else { StatusCode::OK }
    })
    .await;
    let (handle, _) = task(&storage, &server.url, None);
    handle.finish();
    let status = handle.wait().await.unwrap();
    assert_eq!((status.records_in, status.records_out, status.records_bad), (60, 56, 4));
    let letters = storage.records("dlq");
    assert_eq!(letters.len(), 4);
    for letter in letters {
        assert_eq!(header(&letter.headers, "__connect.errors.stage").as_deref(), Some("TASK_PUT"));
        let row: Value = serde_json::from_slice(letter.value.as_ref().unwrap()).unwrap();
        assert_eq!(row["n"].as_u64().unwrap() % 17, 5);
    }
}
