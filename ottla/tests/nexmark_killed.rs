//! All queries of Nexmark at once on a server that is killed at random moments: in the end each result is the batch answer.
//!
//! `OTTLA_NEXMARK_EVENTS` sets how many events, `OTTLA_NEXMARK_KILLS` how many kills (0 for none), `OTTLA_LIFE_MAX` the longest
//! time in milliseconds from the server's being ready to its end, `OTTLA_SEED` the moments, `OTTLA_NEXMARK_QUERY` one query.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use ottla_client::{Client, ClientConfig, NewTopic, ProducerConfig, Record};
use ottla_streams::{Catalog, QueryPlan, Stream, history, nexmark, plan};
use serde_json::Value;
use support::serving::{post, server};
use support::{Random, Running};

const PARTITIONS: i32 = 2;
/// Few enough that few events span many windows.
const EVENTS_PER_SECOND: usize = 100;
const BATCH: usize = 2_000;

/// The last event of every partition, in 2033: of nobody else's keys, and so late that what came before is complete.
const CLOSERS: [(&str, &str); 3] = [
    (
        "person",
        r#"{"id":900001,"name":"last","emailAddress":"","creditCard":"","city":"","state":"","dateTime":2000000000000,"extra":""}"#,
    ),
    (
        "auction",
        r#"{"id":900002,"itemName":"last","description":"","initialBid":1,"reserve":1,"dateTime":2000000000000,"expires":2000000001000,"seller":900003,"category":900,"extra":""}"#,
    ),
    (
        "bid",
        r#"{"auction":900004,"bidder":900005,"price":1,"channel":"","url":"","dateTime":2000000000000,"extra":""}"#,
    ),
];

/// What the last bids are for.
const CLOSING_AUCTION: u32 = 900_004;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

struct Case {
    name: &'static str,
    sql: String,
    planned: QueryPlan,
}

impl Case {
    /// The batch answer over what the topics have now. What is given only when its window is complete is never given of
    /// the closers.
    async fn answer(&self, client: &Client, catalog: &Catalog) -> Vec<String> {
        let sql = self.sql.replace("EMIT FINAL", "");
        let answer = history::query(client, &sql, catalog).await;
        let mut rows = shown(&answer.unwrap_or_else(|error| panic!("{sql}: {error}")).batches);
        if self.sql.contains("EMIT FINAL") {
            rows.retain(|row| !row.starts_with(&format!("{CLOSING_AUCTION} |")));
        }
        rows
    }

    /// What the query has written.
    async fn result(&self, client: &Client) -> Vec<String> {
        let written = Stream::of_result(&self.planned, self.name.to_owned(), "json");
        let sql = format!("SELECT * FROM {}", self.name);
        let catalog = Catalog::new().with(self.name, written);
        let result =
            history::query(client, &sql, &catalog).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(result.bad_records, 0, "{}", self.name);
        shown(&result.batches)
    }
}

fn shown(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("∅");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<ArrayFormatter<'_>> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
            rows.push(cells.join(" | "));
        }
    }
    rows.sort();
    rows
}

fn catalog() -> Catalog {
    let mut catalog = Catalog::new();
    for statement in ottla_streams::sql::parse(nexmark::STREAMS).unwrap() {
        if let ottla_streams::sql::Statement::CreateStream(create) = statement {
            catalog.declare(create).unwrap();
        }
    }
    catalog
}

fn cases(catalog: &Catalog) -> Vec<Case> {
    let only = std::env::var("OTTLA_NEXMARK_QUERY").ok();
    let of_nexmark = |name: &str| !name.contains(' ') && only.as_ref().is_none_or(|only| only == name);
    let case = |(name, sql): (&'static str, String)| {
        let planned = plan(&sql, catalog).unwrap();
        Case { name, sql, planned }
    };
    nexmark::queries().into_iter().filter(|(name, _)| of_nexmark(name)).map(case).collect()
}

async fn client(kafka: &str) -> Client {
    let config = ClientConfig { bootstrap_servers: vec![kafka.to_owned()], ..ClientConfig::default() };
    Client::connect(config).await.unwrap()
}

/// Writes records, some at a time, and counts those of each stream.
async fn produce(
    client: &Client,
    records: impl Iterator<Item = (&'static str, i32, Bytes)>,
    counts: &mut BTreeMap<String, u64>,
) {
    let producer = client.producer(ProducerConfig::default()).await.unwrap();
    let mut batches: BTreeMap<(&str, i32), Vec<Record>> = BTreeMap::new();
    for (stream, partition, value) in records {
        *counts.entry(stream.to_owned()).or_default() += 1;
        let batch = batches.entry((stream, partition)).or_default();
        batch.push(Record::of_value(value));
        if batch.len() == BATCH {
            producer.send_batch(stream, partition, std::mem::take(batch)).await.unwrap().await.unwrap();
        }
    }
    for ((stream, partition), batch) in batches {
        if !batch.is_empty() {
            producer.send_batch(stream, partition, batch).await.unwrap().await.unwrap();
        }
    }
    producer.close().await.unwrap();
}

/// The queries of a server by name: the rows they have read, and what they are doing.
fn queries(http: &str) -> BTreeMap<String, (u64, String)> {
    let (status, body) = post(http, "SHOW QUERIES");
    assert_eq!(status, 200, "{body}");
    let query = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        (text("name"), (text("rows_in").parse().unwrap(), text("phase")))
    };
    body.lines().map(query).collect()
}

/// How many rows the queries have still to read.
fn left(found: &BTreeMap<String, (u64, String)>, expected: &BTreeMap<String, u64>) -> u64 {
    expected.iter().map(|(name, rows)| rows - found.get(name).map_or(0, |(read, _)| *read)).sum()
}

/// Waits until the queries have read everything.
fn drain(http: &str, expected: &BTreeMap<String, u64>) {
    let began = Instant::now();
    loop {
        let found = queries(http);
        for (name, (_, phase)) in &found {
            assert!(!phase.starts_with("failed"), "{name}: {phase}");
        }
        if left(&found, expected) == 0 {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(900), "they do not come to an end: {found:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Runs the queries with so many kills and compares.
fn check(folder: &Path, kills: u64, random: &mut Random) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let events = number("OTTLA_NEXMARK_EVENTS", 3_000) as usize;
    let life_max = number("OTTLA_LIFE_MAX", 300);
    let catalog = catalog();
    let cases = cases(&catalog);
    let (mut running, mut kafka, mut http): (Running, String, String) = server(folder);
    let declared: String = cases.iter().fold(nexmark::STREAMS.to_owned(), |text, case| {
        format!("{text}\nCREATE MATERIALIZED VIEW {} AS {};", case.name, case.sql)
    });
    let made = nexmark::events(events, EVENTS_PER_SECOND);
    let mut made = (0..).zip(made).map(|(number, (stream, event))| (stream, number % PARTITIONS, event));
    let closers = (0..PARTITIONS).flat_map(|partition| {
        CLOSERS.map(|(stream, event)| (stream, partition, Bytes::from_static(event.as_bytes())))
    });
    let mut counts = BTreeMap::new();
    runtime.block_on(async {
        let client = client(&kafka).await;
        for stream in ["person", "auction", "bid"] {
            client.admin().create_topics(&[NewTopic::new(stream, PARTITIONS)]).await.unwrap();
        }
        produce(&client, made.by_ref().take(events / 10), &mut counts).await;
        let (status, body) = post(&http, &declared);
        assert_eq!(status, 200, "{body}");
        produce(&client, made.chain(closers), &mut counts).await;
    });
    let read = |case: &Case| -> (String, u64) {
        let streams = case.planned.sources.iter().map(|source| counts[&source.stream]);
        (case.name.to_owned(), streams.sum())
    };
    let expected: BTreeMap<String, u64> = cases.iter().map(read).collect();
    for kill in 0..kills {
        std::thread::sleep(Duration::from_millis(random.below(life_max)));
        // Asking waits until the queries have been started, and a kill should come before that, too.
        if kill % 2 == 0 {
            println!("kill {kill}: {} rows are to be read", left(&queries(&http), &expected));
        }
        running.kill();
        (running, kafka, http) = server(folder);
    }
    drain(&http, &expected);
    println!("{events} events, {kills} kills");
    runtime.block_on(async {
        let client = client(&kafka).await;
        for case in &cases {
            let expected = case.answer(&client, &catalog).await;
            let found = case.result(&client).await;
            assert!(!expected.is_empty() || events < 10_000, "{} has an answer", case.name);
            assert_eq!(found.len(), expected.len(), "{}: rows", case.name);
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found, expected, "{}", case.name);
            }
            println!("{}: {} rows", case.name, found.len());
        }
    });
}

#[test]
fn nexmark_gives_the_batch_answer_on_a_server_that_is_killed() {
    let seed = number("OTTLA_SEED", u64::from(std::process::id()));
    println!("OTTLA_SEED={seed}");
    let folder = tempfile::tempdir().unwrap();
    check(folder.path(), number("OTTLA_NEXMARK_KILLS", 3), &mut Random(seed | 1));
}
