//! `POST /sql` of a server as a process: statements that last, over a kill and a restart.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use support::serving::{expect, post, post_with, produce, server};
use support::{Running, ottla};

const VIEW: &str = "CREATE STREAM orders (customer INT, amount INT);
CREATE TABLE customers (id INT PRIMARY KEY, name STRING);
CREATE MATERIALIZED VIEW spent AS SELECT customer, SUM(amount) AS total FROM orders GROUP BY customer;
CREATE MATERIALIZED VIEW named AS
  SELECT c.id, c.name, s.total FROM customers AS c LEFT JOIN spent AS s ON c.id = s.customer";

const NAMED: &str = "SELECT name, total FROM named ORDER BY name";

#[test]
fn views_on_views_go_on_after_a_kill_and_are_read_and_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let (mut running, kafka, http) = server(dir.path());
    let (status, body) = post(&http, VIEW);
    assert_eq!(status, 200, "{body}");
    assert_eq!(body.lines().count(), 4, "{body}");
    produce(&kafka, "customers", &["1#{\"id\":1,\"name\":\"Ann\"}", "2#{\"id\":2,\"name\":\"Bob\"}"]);
    produce(&kafka, "orders", &["a#{\"customer\":1,\"amount\":5}", "b#{\"customer\":1,\"amount\":6}"]);
    expect(&http, NAMED, "{\"name\":\"Ann\",\"total\":11}\n{\"name\":\"Bob\",\"total\":null}\n");

    running.kill();
    let (_running, kafka, http) = server(dir.path());
    produce(&kafka, "orders", &["c#{\"customer\":2,\"amount\":7}", "d#{\"customer\":1,\"amount\":1}"]);
    expect(&http, NAMED, "{\"name\":\"Ann\",\"total\":12}\n{\"name\":\"Bob\",\"total\":7}\n");

    let (_, described) = post(&http, "DESCRIBE named; SHOW TABLES; SHOW QUERIES");
    assert!(described.contains("\"column\":\"id\"") && described.contains("primary key"), "{described}");
    assert!(described.contains("\"name\":\"customers\"") && described.contains("running"), "{described}");
    let (_, explained) = post(&http, "EXPLAIN SELECT customer, MAX(amount) FROM orders GROUP BY customer");
    assert!(
        explained.contains("Output upsert key=[customer]") && explained.contains("warning"),
        "{explained}"
    );

    let (status, refused) = post(&http, "DROP VIEW spent");
    assert_eq!(status, 400, "{refused}");
    assert!(refused.contains("`spent` is used by named") && refused.contains("\"column\":11"), "{refused}");
    let (status, dropped) = post(&http, "DROP VIEW named; DROP VIEW spent; SHOW VIEWS");
    assert_eq!((status, dropped.lines().count()), (200, 2), "{dropped}");
}

/// Runs `ottla sql` against the server; gives exit code, output and errors.
fn shell(http: &str, words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = ottla();
    command.args(["sql", "--http", &format!("http://{http}")]).args(words);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn changes_come_as_they_are_made_until_the_client_goes_away() {
    let dir = tempfile::tempdir().unwrap();
    let (_running, kafka, http) = server(dir.path());
    assert_eq!(post(&http, "CREATE STREAM orders (customer INT, amount INT)").0, 200);
    // Nothing in the result tells its rows apart, so it could not go to a topic.
    let sql = "SELECT SUM(amount) AS total FROM orders GROUP BY customer EMIT CHANGES";
    let mut command = ottla();
    command.args(["sql", "--http", &format!("http://{http}"), "-o", "json", "-e", sql]);
    let mut listener = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(listener.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    produce(&kafka, "orders", &["a#{\"customer\":1,\"amount\":5}"]);
    assert_eq!(lines.next().unwrap(), r#"{"weight":1,"row":{"total":5}}"#);
    produce(&kafka, "orders", &["a#{\"customer\":1,\"amount\":2}"]);
    assert_eq!(lines.next().unwrap(), r#"{"weight":-1,"row":{"total":5}}"#);
    assert_eq!(lines.next().unwrap(), r#"{"weight":1,"row":{"total":7}}"#);
    listener.kill();
    let (status, refused) = post(&http, &format!("{sql}; SHOW STREAMS"));
    assert_eq!(status, 400, "{refused}");
    assert!(refused.contains("does not end") && refused.contains("\"column\":59"), "{refused}");

    // Those who have gone make room for others: more come one after the other than may be there at a time.
    for _ in 0..70 {
        let mut stream = std::net::TcpStream::connect(&http).unwrap();
        let sql = "SELECT amount FROM orders EMIT CHANGES";
        let length = sql.len();
        write!(stream, "POST /sql HTTP/1.1\r\nHost: {http}\r\nContent-Length: {length}\r\n\r\n{sql}")
            .unwrap();
        let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
        assert!(lines.next().unwrap().contains("200"));
        assert_eq!(lines.find(|line| line.contains("row")).unwrap(), r#"{"weight":1,"row":{"amount":5}}"#);
    }
}

#[test]
fn the_shell_prints_tables_json_and_csv_and_tells_where_a_text_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let (_running, kafka, http) = server(dir.path());
    let (code, out, _) = shell(&http, &["-e", "CREATE STREAM s (b STRING, a INT); SHOW STREAMS"]);
    assert_eq!((code, out.lines().count()), (Some(0), 3), "{out}");
    produce(&kafka, "s", &["1#{\"b\":\"x, \\\"y\\\"\",\"a\":1}", "2#{\"b\":null,\"a\":2}"]);
    let select = "SELECT b, a FROM s ORDER BY a";
    let (_, json, _) = shell(&http, &["-o", "json", "-e", select]);
    assert_eq!(json, "{\"b\":\"x, \\\"y\\\"\",\"a\":1}\n{\"b\":null,\"a\":2}\n");
    let (_, csv, _) = shell(&http, &["-o", "csv", "-e", select]);
    assert_eq!(csv, "b,a\n\"x, \"\"y\"\"\",1\n,2\n");
    let file = dir.path().join("statements.sql");
    std::fs::write(&file, "SELECT a FROM s WHERE a > 1;").unwrap();
    let (_, table, _) = shell(&http, &["-f", file.to_str().unwrap()]);
    assert_eq!(table.split_whitespace().collect::<Vec<_>>(), ["A", "2"]);
    let (code, _, error) = shell(&http, &["-e", "SHOW STREAMS;\nSELECT nothing FROM s"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("-e:2:8: "), "{error}");
    let (code, _, error) = shell("127.0.0.1:1", &["-e", "SHOW STREAMS"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("no server answers at http://127.0.0.1:1"), "{error}");
}

#[test]
fn one_query_that_cannot_start_keeps_nobody_else_from_running() {
    let dir = tempfile::tempdir().unwrap();
    let (mut running, kafka, http) = server(dir.path());
    let sql = "CREATE STREAM a (v INT); CREATE STREAM b (v INT);
        CREATE MATERIALIZED VIEW sa AS SELECT SUM(v) AS s FROM a;
        CREATE MATERIALIZED VIEW sb AS SELECT SUM(v) AS s FROM b";
    assert_eq!(post(&http, sql).0, 200);
    produce(&kafka, "b", &["1#{\"v\":4}"]);
    expect(&http, "SELECT s FROM sb", "{\"s\":4}\n");
    let deleted = ottla().args(["topic", "delete", "a", "--bootstrap-server", &kafka]).output().unwrap();
    assert!(deleted.status.success(), "{deleted:?}");
    running.kill();
    let (_running, kafka, http) = server(dir.path());
    produce(&kafka, "b", &["1#{\"v\":3}"]);
    expect(&http, "SELECT s FROM sb", "{\"s\":7}\n");
    let (_, shown) = post(&http, "SHOW QUERIES");
    assert!(shown.contains("\"name\":\"sa\",\"phase\":\"failed: "), "{shown}");
    assert_eq!(post(&http, "DROP VIEW sa; DROP STREAM a").0, 200);
}

#[test]
fn what_a_transaction_took_back_is_no_row() {
    let dir = tempfile::tempdir().unwrap();
    let (_running, kafka, http) = server(dir.path());
    assert_eq!(
        post(&http, "CREATE STREAM t (v INT); CREATE MATERIALIZED VIEW s AS SELECT SUM(v) AS s FROM t").0,
        200
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let config = ottla_client::ClientConfig { bootstrap_servers: vec![kafka], ..Default::default() };
        let client = ottla_client::Client::connect(config).await.unwrap();
        let transactional_id = Some("t".to_owned());
        let producer = client
            .producer(ottla_client::ProducerConfig { transactional_id, ..Default::default() })
            .await
            .unwrap();
        producer.init_transactions().await.unwrap();
        for (value, is_kept) in [("{\"v\":1}", true), ("{\"v\":10}", false), ("{\"v\":100}", true)] {
            producer.begin_transaction().unwrap();
            let record = ottla_client::Record::of_value(value);
            producer.send_batch("t", 0, vec![record]).await.unwrap().await.unwrap();
            match is_kept {
                true => producer.commit_transaction().await.unwrap(),
                false => producer.abort_transaction().await.unwrap(),
            }
        }
        // The topic ends in what is no record, and a query of it comes to its end all the same.
        let plan =
            ottla_streams::plan("CREATE STREAM t (v INT); SELECT v FROM t", &Default::default()).unwrap();
        let query = ottla_streams::Query::start(&client, ottla_streams::QueryConfig::new("copy", plan))
            .await
            .unwrap();
        let status = query.finish().await.unwrap();
        assert_eq!((status.totals.rows_in, status.lag()), (2, 0));
    });
    expect(&http, "SELECT s FROM s", "{\"s\":101}\n");
    expect(&http, "SELECT COUNT(*) AS c FROM t", "{\"c\":2}\n");
}

#[test]
fn a_query_inserts_into_a_declared_stream() {
    let dir = tempfile::tempdir().unwrap();
    let (_running, kafka, http) = server(dir.path());
    let sql =
        "CREATE STREAM readings (sensor STRING, value DOUBLE); CREATE STREAM hot (sensor STRING, value INT);
        INSERT INTO hot SELECT sensor, value FROM readings WHERE value > 30";
    assert_eq!(post(&http, sql).0, 200);
    produce(&kafka, "readings", &["a#{\"sensor\":\"a\",\"value\":31.7}", "b#{\"sensor\":\"b\",\"value\":3}"]);
    expect(&http, "SELECT * FROM hot", "{\"sensor\":\"a\",\"value\":31}\n");
    // What a page of another site has a browser send.
    assert_eq!(post_with(&http, "Origin: http://example.com\r\n", "DROP STREAM hot").0, 403);
    assert_eq!(post_with(&http, "Origin: null\r\n", "DROP STREAM hot").0, 403);
    assert_eq!(post_with(&http, &format!("Origin: http://{http}\r\n"), "SELECT * FROM hot").0, 200);
    let (status, wrong) = post(&http, "SELEC 1");
    assert_eq!(status, 400);
    assert!(wrong.contains("did you mean `SELECT`?"), "{wrong}");
}
