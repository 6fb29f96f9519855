//! Queries over a real cluster, whichever `OTTLA_TEST_BOOTSTRAP` names. Without it the suite says that it is skipped.
//! Topics have random names, so that it can run twice against the same cluster.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use ottla_client::{Client, ClientConfig, NewTopic, ProducerConfig, Record};
use ottla_streams::{Catalog, Query, QueryConfig, QueryPhase, history, plan};

const RECORDS: i64 = 20_000;

fn bootstrap() -> Option<String> {
    let bootstrap = std::env::var("OTTLA_TEST_BOOTSTRAP").ok();
    if bootstrap.is_none() {
        eprintln!("skipped: OTTLA_TEST_BOOTSTRAP names no cluster");
    }
    bootstrap
}

async fn client(bootstrap: &str) -> Client {
    let config = ClientConfig { bootstrap_servers: vec![bootstrap.to_owned()], ..ClientConfig::default() };
    Client::connect(config).await.unwrap()
}

fn unique(name: &str) -> String {
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    format!("{name}-{random:016x}")
}

fn stream(topic: &str) -> String {
    format!(
        "CREATE STREAM flights (origin STRING NOT NULL, delay INT, at TIMESTAMP NOT NULL) WITH (topic = '{topic}'); "
    )
}

const HOURLY: &str = "SELECT origin, window_start, COUNT(*) AS flights, SUM(delay) AS delays \
     FROM TUMBLE(TABLE flights, DESCRIPTOR(at), INTERVAL '1' HOUR) GROUP BY origin, window_start, window_end";

async fn produce(client: &Client, topic: &str) {
    client.admin().create_topics(&[NewTopic::new(topic, 3)]).await.unwrap();
    let producer = client.producer(ProducerConfig::default()).await.unwrap();
    let mut batches: BTreeMap<i32, Vec<Record>> = BTreeMap::new();
    for number in 0..RECORDS {
        let origin = format!("A{}", number % 7);
        let partition = producer.partition_for(topic, Some(origin.as_bytes())).await.unwrap();
        let value = match number % 1_000 {
            999 => "{\"origin\": broken".to_owned(),
            _ => format!(
                "{{\"origin\":\"{origin}\",\"delay\":{},\"at\":\"2013-01-{:02}T{:02}:30:00Z\"}}",
                number % 50 - 10,
                1 + number % 3,
                number % 24
            ),
        };
        batches.entry(partition).or_default().push(Record::new(origin, value));
    }
    for (partition, records) in batches {
        producer.send_batch(topic, partition, records).await.unwrap().await.unwrap();
    }
    producer.close().await.unwrap();
}

/// One column of a result.
fn sum(batches: &[RecordBatch], column: usize) -> i64 {
    batches
        .iter()
        .flat_map(|batch| {
            batch.column(column).as_primitive::<Int64Type>().iter().flatten().collect::<Vec<_>>()
        })
        .sum()
}

#[test]
fn a_query_that_is_torn_down_again_and_again_answers_as_if_it_had_not_been() {
    let Some(bootstrap) = bootstrap() else { return };
    let (topic, query) = (unique("flights"), unique("hourly"));
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config = || {
        let mut config =
            QueryConfig::new(&query, plan(&format!("{}{HOURLY}", stream(&topic)), &Catalog::new()).unwrap());
        config.output_partitions = 2;
        config.pace.limits.records_max = 1_500;
        config
    };
    runtime().block_on(async { produce(&client(&bootstrap).await, &topic).await });
    for life_ms in [30, 5, 60, 90, 20] {
        let torn = runtime();
        torn.block_on(async {
            let client = client(&bootstrap).await;
            let handle = Query::start(&client, config()).await.unwrap();
            // The process may die at any moment, so how long it lives is the one thing here that is not decided.
            let _ = tokio::time::timeout(Duration::from_millis(life_ms), handle.wait()).await;
            std::mem::forget(handle);
        });
        torn.shutdown_background();
    }
    runtime().block_on(async {
        let client = client(&bootstrap).await;
        let handle = Query::start(&client, config()).await.unwrap();
        let status = handle.finish().await.unwrap();
        assert_eq!(status.phase, QueryPhase::Finished);
        assert_eq!((status.totals.rows_in, status.totals.rows_bad, status.lag()), (RECORDS as u64, RECORDS as u64 / 1_000, 0));

        // Every output once: as many records as the query counted, each with its own epoch and number.
        let sql = format!("SELECT COUNT(*) FROM \"{query}\"");
        let written = history::query(&client, &sql, &Catalog::new()).await.unwrap();
        assert_eq!(sum(&written.batches, 0), status.totals.rows_out as i64);
        let letters = history::query(&client, &format!("SELECT COUNT(*) FROM \"{query}.dlq\""), &Catalog::new()).await.unwrap();
        assert_eq!(sum(&letters.batches, 0), status.totals.rows_bad as i64);

        // The last row of every key is the batch answer.
        let last = format!(
            "SELECT origin, window_start, flights, delays FROM \
             (SELECT *, ROW_NUMBER() OVER (PARTITION BY _key ORDER BY _offset DESC) AS newest FROM \"{query}\") \
             WHERE newest = 1 ORDER BY origin, window_start"
        );
        let found = history::query(&client, &last, &Catalog::new()).await.unwrap();
        let batch = format!(
            "{}SELECT origin, to_char(window_start, '%Y-%m-%dT%H:%M:%SZ') AS window_start, flights, delays FROM ({HOURLY}) ORDER BY origin, window_start",
            stream(&topic)
        );
        let expected = history::query(&client, &batch, &Catalog::new()).await.unwrap();
        assert_eq!(expected.bad_records, status.totals.rows_bad);
        let show = |batches: &[RecordBatch]| arrow::util::pretty::pretty_format_batches(batches).unwrap().to_string();
        assert_eq!(show(&found.batches), show(&expected.batches));
        assert_eq!(sum(&found.batches, 2), RECORDS - RECORDS / 1_000);
    });
}

#[tokio::test]
async fn a_batch_query_over_a_topic_that_does_not_exist_names_the_nearest_one() {
    let Some(bootstrap) = bootstrap() else { return };
    let client = client(&bootstrap).await;
    let topic = unique("nearest");
    client.admin().create_topics(&[NewTopic::new(&topic, 1)]).await.unwrap();
    let wrong = format!("SELECT *\nFROM \"{}x\"", &topic[..topic.len() - 1]);
    let error = history::query(&client, &wrong, &Catalog::new()).await.unwrap_err();
    let history::HistoryError::Sql(error) = error else { panic!("{error}") };
    assert_eq!((error.position.line, error.position.column), (2, 6));
    assert!(error.to_string().ends_with(&format!("did you mean `{topic}`?")), "{error}");
}
