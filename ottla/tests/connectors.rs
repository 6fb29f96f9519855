//! Connectors of a running server: from table to topic to table by `ottla connector`, across kill -9.

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use support::{Running, ottla, serving, text};

/// A server on free ports, with where its connectors are asked for.
fn server(data_dir: &Path) -> (Running, String) {
    let (running, ready) = serving::start(data_dir, &["--connect-listen", "127.0.0.1:0"]);
    (running, format!("http://{}", ready.address("connect")))
}

fn connector(url: &str, arguments: &[&str]) -> (bool, String) {
    let output = ottla().arg("connector").args(arguments).args(["--connect", url]).output().unwrap();
    (output.status.success(), text(&output))
}

fn succeed(url: &str, arguments: &[&str]) -> String {
    let (succeeded, said) = connector(url, arguments);
    assert!(succeeded, "{arguments:?}: {said}");
    said
}

fn count(path: &Path) -> (i64, i64) {
    let counted = Connection::open(path).and_then(|connection| {
        connection.query_row("SELECT count(*), count(DISTINCT id) FROM copied", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
    });
    counted.unwrap_or_default()
}

#[test]
fn rows_are_copied_once_although_the_server_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let (data, from, to) = (dir.path().join("data"), dir.path().join("from.db"), dir.path().join("to.db"));
    let table = Connection::open(&from).unwrap();
    table
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT);")
        .unwrap();
    let insert = |rows: std::ops::Range<u32>| {
        table.execute_batch("BEGIN").unwrap();
        for row in rows {
            table.execute("INSERT INTO t VALUES (?1, ?2)", (row + 1, format!("row {row}"))).unwrap();
        }
        table.execute_batch("COMMIT").unwrap();
    };
    insert(0..5_000);
    let (mut running, mut url) = server(&data);
    let property = |name: &str, value: &Path| format!("{name}={}", value.display());
    let schema = r#"value.schema={"id": "int", "name": "string?"}"#;
    let (path, wanted) = (property("path", &from), "tabel=t");
    let source = ["-p", "connector.class=SqliteSource", "-p", "topic=rows", "-p", &path, "-p"];
    let (succeeded, said) = connector(&url, &[&["apply", "read"], &source[..], &[wanted]].concat());
    assert!(!succeeded && said.contains("did you mean 'table'?"), "{said}");
    let rest = ["table=t", "-p", "poll_interval_ms=10"];
    succeed(&url, &[&["apply", "read"], &source[..], &rest].concat());
    let path = property("path", &to);
    let sink = ["apply", "write", "-p", "connector.class=SqliteSink", "-p", "topics=rows", "-p", &path];
    succeed(&url, &[&sink[..], &["-p", "table=copied", "-p", schema]].concat());

    for round in 1..4u32 {
        insert(round * 5_000..(round + 1) * 5_000);
        running.0.kill().unwrap();
        running.0.wait().unwrap();
        (running, url) = server(&data);
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while count(&to).0 < 20_000 {
        assert!(Instant::now() < deadline, "{:?}: {}", count(&to), succeed(&url, &["describe", "write"]));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(count(&to), (20_000, 20_000));

    let listed = succeed(&url, &["list"]);
    assert!(listed.contains("read") && listed.contains("RUNNING") && listed.contains("1/1"), "{listed}");
    succeed(&url, &["stop", "read"]);
    let described = succeed(&url, &["describe", "read", "-o", "json"]);
    let described: serde_json::Value = serde_json::from_str(&described).unwrap();
    assert_eq!(described["connector"]["state"], "STOPPED");
    assert_eq!(described["offsets"][0]["offset"]["position"], 20_000);
    assert!(succeed(&url, &["plugins", "SqliteSource"]).contains("poll_interval_ms"));
    succeed(&url, &["delete", "read", "write"]);
    assert_eq!(succeed(&url, &["list", "-o", "json"]).trim(), "[]");
    let (succeeded, said) = connector(&url, &["describe", "read"]);
    assert!(!succeeded && said.contains("Connector read not found"), "{said}");
}

#[test]
fn a_server_whose_port_for_connectors_is_taken_says_so_only_if_it_was_chosen() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = ottla();
    command.args(["server", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--connect-listen"]);
    let output = command.arg(&address).arg("--data-dir").arg(dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("--connect-listen"), "{}", text(&output));
}
