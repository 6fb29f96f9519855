//! `ottla query`: queries are listed, described, rest over a kill, go on, and end.

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::serving::{self, produce};
use support::{Running, ottla, text};

struct Server {
    running: Running,
    kafka: String,
    http: String,
}

fn server(data_dir: &Path) -> Server {
    let (running, kafka, http) = serving::server(data_dir);
    Server { running, kafka, http: format!("http://{http}") }
}

impl Server {
    fn run(&self, arguments: &[&str]) -> (bool, String) {
        let output = ottla().args(arguments).args(["--http", &self.http]).output().unwrap();
        (output.status.success(), text(&output))
    }

    fn succeed(&self, arguments: &[&str]) -> String {
        let (succeeded, said) = self.run(arguments);
        assert!(succeeded, "{arguments:?}: {said}");
        said
    }

    fn produce(&self, rows: std::ops::Range<u32>) {
        let rows: Vec<String> = rows.map(|row| format!("a#{{\"k\":\"a\",\"v\":{row}}}")).collect();
        produce(&self.kafka, "s", &rows.iter().map(String::as_str).collect::<Vec<_>>());
    }

    fn query(&self) -> Value {
        let said = self.succeed(&["query", "list", "-o", "json"]);
        let queries: Vec<Value> = serde_json::from_str(&said).unwrap();
        queries.into_iter().find(|query| query["name"] == "sums").unwrap_or_default()
    }

    /// Waits until the query has taken so many rows.
    fn until(&self, rows_in: &str) {
        let asked_at = Instant::now();
        while self.query()["rows_in"] != rows_in {
            assert!(asked_at.elapsed() < Duration::from_secs(60), "{}", self.query());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_query_rests_over_a_kill_goes_on_where_it_was_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = server(folder.path());
    server.succeed(&[
        "sql",
        "-e",
        "CREATE STREAM s (k STRING, v INT); CREATE MATERIALIZED VIEW sums AS SELECT k, SUM(v) AS total FROM s GROUP BY k; \
         CREATE MATERIALIZED VIEW large AS SELECT k, total FROM sums WHERE total > 10",
    ]);
    server.produce(0..5);
    server.until("5");
    assert!(server.succeed(&["query", "pause", "sums"]).contains("QUERY sums paused"));
    server.produce(5..10);
    server.running.kill();
    server = self::server(folder.path());
    let asked_at = Instant::now();
    // Of two that are kept, the other one runs: so the first would, too.
    while !server.run(&["query", "list"]).1.contains("running") {
        assert!(asked_at.elapsed() < Duration::from_secs(60));
    }
    assert_eq!(server.query()["phase"], "paused");

    assert!(server.succeed(&["query", "resume", "sums"]).contains("QUERY sums resumed"));
    assert!(server.succeed(&["query", "resume", "sums"]).contains("running already"));
    let asked_at = Instant::now();
    while !server.succeed(&["sql", "-e", "SELECT total FROM sums", "-o", "csv"]).contains("45") {
        assert!(asked_at.elapsed() < Duration::from_secs(60), "{}", server.succeed(&["query", "list"]));
    }

    let described = server.succeed(&["query", "describe", "sums"]);
    assert!(
        described.contains("CREATE MATERIALIZED VIEW sums") && described.contains("phase"),
        "{described}"
    );
    let explained = server.succeed(&["query", "explain", "SELECT k, COUNT(*) AS n FROM s GROUP BY k;"]);
    assert!(explained.contains("upsert"), "{explained}");
    let (succeeded, said) = server.run(&["query", "pause", "sum"]);
    assert!(!succeeded && said.contains("did you mean `sums`?"), "{said}");
    let (succeeded, said) = server.run(&["query", "drop", "sums"]);
    assert!(!succeeded && said.contains("used by large"), "{said}");
    server.succeed(&["query", "drop", "large", "sums"]);
    assert_eq!(server.succeed(&["query", "list", "-o", "json"]).trim(), "[]");
}
