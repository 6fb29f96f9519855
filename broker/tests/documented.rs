//! `docs/protocol.md` says which APIs are served and which tests call them, `docs/metrics.md` what is measured.
//! `UPDATE_DOCS=1 cargo test -p ottla-broker --test documented` writes both anew.

mod wire;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use ottla_broker::metrics::PartitionSeries;
use ottla_broker::server::SERVED;
use ottla_broker::{Broker, BrokerConfig};
use ottla_protocol::ApiKey;
use wire::Wire;
use wire::requests::{batch, create, produce};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Test files of the broker and of the client that name an API's request.
fn tests_of(key: ApiKey) -> Vec<String> {
    let word = format!("{}Request", key.name());
    let mut found = Vec::new();
    for dir in
        ["broker/tests", "broker/tests/cluster", "broker/src/groups/tests", "broker/src/coordinator/tests"]
    {
        for entry in fs::read_dir(root().join(dir)).unwrap() {
            let path = entry.unwrap().path();
            let is_test = path.extension().is_some_and(|extension| extension == "rs");
            let text = if is_test { fs::read_to_string(&path).unwrap() } else { String::new() };
            let names = text.split(|c: char| !c.is_ascii_alphanumeric());
            if names.into_iter().any(|name| name == word) {
                found.push(format!("{dir}/{}", path.file_name().unwrap().to_str().unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn table() -> String {
    let mut text = String::from(
        "# The protocol: APIs that are served\n\n\
         Produce 0 to 2 are advertised and refused: old librdkafka turns compression off where version 0 is missing. What\n\
         clients of other languages and Kafka's own tools call is under `tests/conformance/`. This table is made from the\n\
         code by `UPDATE_DOCS=1 cargo test -p ottla-broker --test documented`.\n\n\
         In a cluster every broker may be asked everything: what the active controller decides (topics, partitions, configs,\n\
         access control, credentials, quotas, features, elections, reassignments) is passed on to it with the client's principal and\n\
         address, which it judges by (KIP-590), and the broker that was asked knows of the result when it answers.\n\n\
         | key | API | versions | tests |\n|---|---|---|---|\n",
    );
    for served in SERVED {
        let tests: Vec<String> = tests_of(served.key).iter().map(|test| format!("`{test}`")).collect();
        let (first, last) = served.versions;
        let (key, name) = (served.key.code(), served.key.name());
        writeln!(text, "| {key} | {name} | {first} to {last} | {} |", tests.join(", ")).unwrap();
    }
    text
}

#[test]
fn every_api_has_a_test_and_the_document_says_so() {
    for served in SERVED {
        assert!(!tests_of(served.key).is_empty(), "no test calls {}", served.key.name());
    }
    check("docs/protocol.md", &table());
}

/// Compares a document with what it must be, or writes it.
fn check(document: &str, expected: &str) {
    let path = root().join(document);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, expected).unwrap();
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(found, expected, "run it once with UPDATE_DOCS=1");
}

const METRICS_INTRODUCTION: &str = "\
# Metrics

`ottla server` serves them at `/metrics` of its HTTP address in OpenMetrics text, which Prometheus reads as it is:

```yaml
scrape_configs:
  - job_name: ottla
    static_configs: [{ targets: [\"localhost:8080\"] }]
```

`/health` beside it answers 200 while the broker can do its work, and 503 with the reasons when partitions are offline
or a log dir cannot be written; each time, it tries to write a small file.

Partitions have series of their own as long as there are at most 2,000; beyond that only sums over each topic's
partitions, and beyond 2,000 topics only what concerns the whole broker, so that a scrape stays small.
`/metrics?partitions=all` and `?partitions=none` ask for all or for none: with 20,000 partitions an answer has 18 kB, with
the series of all of them 6.7 MB. An API has series once it was called.

The time of a request is the sum of its stages: `queue` from its whole frame until it is handled, `local` the work
itself, `fsync` until the disk has its records, `wait` with nothing to answer (long polls), `send` until the kernel has
the reply. Offsets count records; a rate of `ottla_topic_log_end_offsets` is records per second into a topic.

This table is made from the code by `UPDATE_DOCS=1 cargo test -p ottla-broker --test documented`.

| metric | type | labels | what |
|---|---|---|---|
";

/// A table of the metrics in a scrape.
fn metrics_table(scrape: &str) -> String {
    let mut text = METRICS_INTRODUCTION.to_owned();
    let mut lines = scrape.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) else {
            continue;
        };
        let kind = lines.next_if(|line| line.starts_with("# TYPE ")).expect("a type follows the help");
        let kind = kind.rsplit(' ').next().unwrap_or_default();
        lines.next_if(|line| line.starts_with("# UNIT "));
        let mut labels = BTreeSet::new();
        while let Some(sample) = lines.next_if(|line| !line.starts_with('#')) {
            let Some((_, rest)) = sample.split_once('{') else { continue };
            let inside = rest.rsplit_once('}').map_or(rest, |(inside, _)| inside);
            let names = inside.split("\",").filter_map(|label| label.split_once("=\"")).map(|(name, _)| name);
            labels.extend(names.filter(|name| *name != "le").map(|name| format!("`{name}`")));
        }
        let labels: Vec<String> = labels.into_iter().collect();
        let suffix = if kind == "counter" { "_total" } else { "" };
        let help = help.trim_end_matches('.');
        writeln!(text, "| `{name}{suffix}` | {kind} | {} | {help} |", labels.join(", ")).unwrap();
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_documented() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(BrokerConfig::new(dir.path())).await.unwrap();
    let mut wire = Wire::connect(broker.address()).await;
    wire.call(7, &create("t")).await;
    wire.call(9, &produce("t", batch(&["x"], None), -1)).await;
    check("docs/metrics.md", &metrics_table(&broker.monitor().metrics(PartitionSeries::Auto).await));
    broker.shutdown().await.unwrap();
}
