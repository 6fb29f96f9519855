//! `POST /sql` of a server as a process: statements that last, over a kill and a restart.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::{Running, ottla};

/// A server on free ports, its Kafka and its HTTP address.
fn server(data_dir: &Path) -> (Running, String, String) {
    let mut command = ottla();
    command.args(["server", "--data-dir"]).arg(data_dir);
    command.args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = Running(command.spawn().expect("the binary runs"));
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let word =
        |name: &str| line.trim().split(' ').find_map(|word| word.strip_prefix(name)).expect(name).to_owned();
    let (kafka, http) = (word("kafka="), word("http="));
    (running, kafka, http)
}

/// Status and body of a POST to /sql.
fn post(http: &str, sql: &str) -> (u16, String) {
    post_with(http, "", sql)
}

/// As [`post`], with further header lines.
fn post_with(http: &str, headers: &str, sql: &str) -> (u16, String) {
    let mut stream = std::net::TcpStream::connect(http).unwrap();
    let length = sql.len();
    write!(
        stream,
        "POST /sql HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\nContent-Type: text/plain\r\n{headers}Content-Length: {length}\r\n\r\n{sql}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn produce(kafka: &str, topic: &str, lines: &[&str]) {
    let mut command = ottla();
    command.args(["produce", topic, "--key-separator", "#", "--bootstrap-server", kafka]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    lines.iter().for_each(|line| writeln!(input, "{line}").unwrap());
    drop(input);
    assert!(child.wait().unwrap().success());
}

/// Asks until the answer is this one.
fn expect(http: &str, sql: &str, expected: &str) {
    let started = Instant::now();
    loop {
        let (status, body) = post(http, sql);
        if (status, body.as_str()) == (200, expected) {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{sql}: {status} {body}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

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
