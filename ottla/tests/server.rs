//! `ottla server` as a process: its ready line, its errors, SIGTERM, and kill -9 under load.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::{Random, Running, ottla, text};

fn server(data_dir: &Path) -> (Running, String) {
    let (running, address, _) = server_with_http(data_dir);
    (running, address)
}

fn server_with_http(data_dir: &Path) -> (Running, String, String) {
    let mut command = ottla();
    started(command.args(["server", "--data-dir"]).arg(data_dir))
}

/// A server on free ports, with its addresses.
fn started(command: &mut Command) -> (Running, String, String) {
    command.args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = Running(command.spawn().expect("the binary runs"));
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let words: Vec<&str> = line.trim().split(' ').collect();
    assert_eq!(words[0], "ready", "{line:?}");
    let word = |name: &str| words.iter().find_map(|word| word.strip_prefix(name)).expect(name).to_owned();
    let (address, http) = (word("kafka="), word("http="));
    (running, address, http)
}

fn succeed(arguments: &[&str], address: &str) -> String {
    let output = ottla().args(arguments).args(["--bootstrap-server", address]).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn produce(topic: &str, lines: &[String], address: &str) -> bool {
    let mut command = ottla();
    command.args(["produce", topic, "--key-separator", ":", "--bootstrap-server", address]);
    command.stdin(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    for line in lines {
        if writeln!(input, "{line}").is_err() {
            break;
        }
    }
    drop(input);
    child.wait().unwrap().success()
}

/// Status and body of a GET.
fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn health_and_metrics_are_served_over_http() {
    let parent = tempfile::tempdir().unwrap();
    let (dir, aside) = (parent.path().join("data"), parent.path().join("aside"));
    let (_server, address, http) = server_with_http(&dir);
    succeed(&["topic", "create", "t"], &address);
    assert_eq!(get(&http, "/health"), (200, "{\"status\":\"ok\"}".to_owned()));
    let (status, metrics) = get(&http, "/metrics");
    assert_eq!(status, 200);
    assert!(metrics.contains("ottla_log_end_offset{topic=\"t\",partition=\"0\"} 0"), "{metrics}");
    assert!(!get(&http, "/metrics?partitions=none").1.contains("ottla_log_end_offset{"));
    assert_eq!(get(&http, "/metrics?partitions=some").0, 400);
    std::fs::rename(&dir, &aside).unwrap();
    let (status, body) = get(&http, "/health");
    std::fs::rename(&aside, &dir).unwrap();
    assert_eq!(status, 503);
    assert!(body.contains("cannot be written"), "{body}");
}

#[test]
fn configs_are_shown_and_changed_and_the_cluster_is_described() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, address) = server(dir.path());
    succeed(&["topic", "create", "t", "-p", "2"], &address);
    succeed(&["config", "set", "--topic", "t", "retention.ms=5000", "segment.ms=9000"], &address);
    let set = succeed(&["config", "describe", "--topic", "t"], &address);
    assert!(set.contains("retention.ms") && set.contains("5000") && !set.contains("cleanup.policy"), "{set}");
    succeed(&["config", "unset", "--topic", "t", "segment.ms"], &address);
    let set = succeed(&["config", "describe", "--topic", "t", "-o", "json"], &address);
    let set: serde_json::Value = serde_json::from_str(&set).unwrap();
    assert_eq!(set.as_array().unwrap().len(), 1, "{set}");
    succeed(&["config", "set", "--all-brokers", "log.retention.ms=7000"], &address);
    assert!(succeed(&["config", "describe", "--all-brokers"], &address).contains("7000"));
    let all = succeed(&["config", "describe", "--broker", "1", "--all"], &address);
    assert!(all.contains("log.retention.ms") && all.contains("num.partitions"), "{all}");
    let unknown = ["config", "describe", "--broker", "9", "--bootstrap-server", &address];
    let unknown = ottla().args(unknown).output().unwrap();
    assert!(text(&unknown).contains("broker 9 is not in the cluster; there is 1"), "{}", text(&unknown));
    let cluster = succeed(&["cluster", "describe", "-o", "json"], &address);
    let cluster: serde_json::Value = serde_json::from_str(&cluster).unwrap();
    assert_eq!(
        (cluster["controller"].as_i64(), cluster["partitions"].as_i64()),
        (Some(1), Some(2)),
        "{cluster}"
    );
    assert_eq!(cluster["brokers"][0]["leads"], 2);
    assert!(succeed(&["cluster", "describe"], &address).contains("offline: none"));
    let topic = succeed(&["topic", "describe", "t", "-o", "json"], &address);
    let topic: serde_json::Value = serde_json::from_str(&topic).unwrap();
    assert_eq!(topic["partitions"][1]["size_bytes"], 0, "{topic}");
}

#[test]
fn users_and_entries_are_managed_where_an_authorizer_is_on() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("ottla.toml");
    let authorizer =
        "\"authorizer.class.name\" = \"org.apache.kafka.metadata.authorizer.StandardAuthorizer\"";
    std::fs::write(&config, format!("[broker]\n{authorizer}\n\"super.users\" = \"User:ANONYMOUS\"\n"))
        .unwrap();
    let data = dir.path().join("data");
    let (_running, address, _) =
        started(ottla().arg("server").arg("--config").arg(&config).arg("--data-dir").arg(&data));
    let set = ["user", "set-password", "alice", "--bootstrap-server", &address];
    let mut child = ottla().args(set).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"secret\n").unwrap();
    assert!(child.wait().unwrap().success());
    let users = succeed(&["user", "list"], &address);
    assert!(users.contains("alice") && users.contains("SCRAM-SHA-256, SCRAM-SHA-512"), "{users}");
    succeed(&["user", "delete", "alice"], &address);
    assert!(!succeed(&["user", "list"], &address).contains("alice"));
    succeed(&["acl", "allow", "User:alice", "read,describe-configs", "topic:orders*"], &address);
    succeed(&["acl", "deny", "User:*", "alter", "cluster", "--host", "10.0.0.1"], &address);
    let listed: serde_json::Value =
        serde_json::from_str(&succeed(&["acl", "list", "-o", "json"], &address)).unwrap();
    let of_alice = serde_json::json!({
        "permission": "allow", "principal": "User:alice", "operation": "read", "resource": "topic:orders*", "host": "*",
    });
    assert_eq!(listed.as_array().unwrap().len(), 3);
    assert!(listed.as_array().unwrap().contains(&of_alice), "{listed}");
    assert!(succeed(&["acl", "remove", "--principal", "User:alice"], &address).contains("removed 2"));
    assert_eq!(succeed(&["acl", "list"], &address).lines().count(), 2);
}

#[test]
fn loads_are_measured() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, address) = server(dir.path());
    let produced = succeed(&["bench", "produce", "-n", "1000", "-p", "2", "-o", "json"], &address);
    let produced: serde_json::Value = serde_json::from_str(&produced).unwrap();
    assert!(produced["records"].as_u64().unwrap() >= 1000, "{produced}");
    let consumed = succeed(&["bench", "consume"], &address);
    assert!(consumed.contains(&format!("{} records, ", produced["records"])), "{consumed}");
}

#[test]
fn the_verbs_work_together() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, address) = server(dir.path());
    succeed(&["topic", "create", "orders", "--partitions", "3", "--config", "retention.ms=1000"], &address);
    let lines: Vec<String> =
        (0..300).map(|i| format!("k{i}:{{\"id\":{i},\"city\":\"c{}\"}}", i % 7)).collect();
    assert!(produce("orders", &lines, &address));
    assert!(succeed(&["topic", "list"], &address).contains("orders"));
    let described = succeed(&["topic", "describe", "orders"], &address);
    assert!(described.contains("retention.ms=1000"), "{described}");
    let mut consumed: Vec<String> = succeed(
        &["consume", "orders", "--from-beginning", "--exit-at-end", "--key-separator", ":"],
        &address,
    )
    .lines()
    .map(str::to_owned)
    .collect();
    let mut expected = lines.clone();
    consumed.sort();
    expected.sort();
    assert_eq!(consumed, expected);
    let grouped = ["consume", "orders", "--group", "g", "--from-beginning", "-n", "300"];
    assert_eq!(succeed(&grouped, &address).lines().count(), 300);
    let group = succeed(&["group", "describe", "g", "-o", "json"], &address);
    let group: serde_json::Value = serde_json::from_str(&group).unwrap();
    let lag: i64 =
        group["offsets"].as_array().unwrap().iter().map(|offset| offset["lag"].as_i64().unwrap()).sum();
    assert_eq!(lag, 0, "{group}");
    assert!(succeed(&["group", "list"], &address).contains('g'));
    let reset = |words: &[&str]| -> serde_json::Value {
        let words = [&["group", "reset-offsets", "g", "-o", "json"][..], words].concat();
        serde_json::from_str(&succeed(&words, &address)).unwrap()
    };
    let sum = |reset: &serde_json::Value, side: &str| -> i64 {
        reset["offsets"].as_array().unwrap().iter().map(|offset| offset[side].as_i64().unwrap()).sum()
    };
    let shown = reset(&["--to-earliest"]);
    assert_eq!((sum(&shown, "before"), sum(&shown, "after"), &shown["executed"]), (300, 0, &false.into()));
    assert_eq!(sum(&reset(&["--to-datetime", "2013-01-01T00:00:00Z", "--execute"]), "before"), 300);
    let shifted = reset(&["--shift-by", "-1000", "--topic", "orders"]);
    assert_eq!(
        (sum(&shifted, "before"), sum(&shifted, "after")),
        (0, 0),
        "it was done, and ends at the start"
    );
    assert_eq!(sum(&reset(&["--to-latest"]), "after"), 300);
    let sql = "SELECT city, COUNT(*) AS n, MAX(id) AS newest FROM orders GROUP BY city ORDER BY city";
    let answer = succeed(&["sql", "-o", "csv", "-e", sql], &address);
    assert_eq!(answer.lines().nth(1), Some("c0,43,294"), "{answer}");
    succeed(&["topic", "alter", "orders", "--partitions", "5"], &address);
    succeed(&["topic", "delete", "orders"], &address);
    assert!(!succeed(&["topic", "list"], &address).contains("orders"));
}

#[test]
fn what_was_acknowledged_survives_kill_9_and_nothing_is_doubled() {
    let seed = std::env::var("OTTLA_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(4242);
    println!("OTTLA_SEED={seed}");
    let mut random = Random(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<String> = Vec::new();
    let mut attempted = 0;
    for round in 0..5 {
        let (mut running, address) = server(dir.path());
        if round == 0 {
            succeed(&["topic", "create", "log", "--partitions", "2"], &address);
        }
        let delay = Duration::from_millis(random.below(400));
        let lines: Vec<Vec<String>> = (0..30)
            .map(|chunk| (0..50).map(|i| format!("k{}:{round}-{chunk}-{i}", i % 5)).collect())
            .collect();
        std::thread::scope(|scope| {
            let (tell_acknowledged, told_acknowledged) = std::sync::mpsc::channel();
            let killer = scope.spawn(move || {
                // Some kills wait for something to lose, however slow the machine is; some come at any moment.
                if round % 2 == 0 {
                    let _ = told_acknowledged.recv();
                }
                std::thread::sleep(Duration::from_millis(100) + delay);
                running.kill();
            });
            for chunk in lines {
                attempted += chunk.len();
                // A chunk is acknowledged when the producer says so; what a kill interrupts may or may not be there.
                if killer.is_finished() || !produce_until_killed(&chunk, &address, || killer.is_finished()) {
                    break;
                }
                let _ = tell_acknowledged.send(());
                acknowledged.extend(chunk);
            }
            drop(tell_acknowledged);
            killer.join().unwrap();
        });
    }
    let (_server, address) = server(dir.path());
    let stored: Vec<String> =
        succeed(&["consume", "log", "--from-beginning", "--exit-at-end", "--key-separator", ":"], &address)
            .lines()
            .map(str::to_owned)
            .collect();
    let unique: std::collections::BTreeSet<&String> = stored.iter().collect();
    assert_eq!(unique.len(), stored.len(), "nothing is doubled");
    let lost: Vec<&String> = acknowledged.iter().filter(|line| !unique.contains(line)).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged records are lost", lost.len(), acknowledged.len());
    assert!(!acknowledged.is_empty() && stored.len() <= attempted);
}

/// Like [`produce`], but gives up soon when the server is gone.
fn produce_until_killed(lines: &[String], address: &str, is_killed: impl Fn() -> bool) -> bool {
    let mut command = ottla();
    command.args(["produce", "log", "--key-separator", ":", "--bootstrap-server", address]);
    command.stdin(Stdio::piped()).stderr(Stdio::null()).stdout(Stdio::null());
    let mut running = Running(command.spawn().unwrap());
    let mut input = running.0.stdin.take().unwrap();
    for line in lines {
        if writeln!(input, "{line}").is_err() {
            return false;
        }
    }
    drop(input);
    let mut polls_since_kill = 0;
    while polls_since_kill < 300 {
        if let Some(status) = running.0.try_wait().unwrap() {
            return status.success();
        }
        polls_since_kill += u32::from(is_killed());
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

#[test]
fn sigterm_drains_and_exits_0() {
    let dir = tempfile::tempdir().unwrap();
    let (mut running, address) = server(dir.path());
    assert!(produce("t", &["k:v".to_owned()], &address));
    let terminated = std::process::Command::new("kill").arg(running.0.id().to_string()).status().unwrap();
    assert!(terminated.success());
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
    assert!(dir.path().join(".kafka_cleanshutdown").exists());
}

#[test]
fn a_taken_port_and_an_unusable_directory_are_clear_errors() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, address) = server(&dir.path().join("first"));
    let second = dir.path().join("second");
    let taken = ottla()
        .args(["server", "--listen", &address, "--http-listen", "127.0.0.1:0", "--data-dir"])
        .arg(&second)
        .output();
    let taken = taken.unwrap();
    assert_eq!(taken.status.code(), Some(1));
    assert!(text(&taken).contains(&address) && text(&taken).contains("--listen"), "{}", text(&taken));
    let locked = ottla()
        .args(["server", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--data-dir"])
        .arg(dir.path().join("first"))
        .output()
        .unwrap();
    assert_eq!(locked.status.code(), Some(1));
    assert!(text(&locked).contains("in use"), "{}", text(&locked));
    let file = dir.path().join("a-file");
    std::fs::write(&file, "x").unwrap();
    let unusable = ottla()
        .args(["server", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--data-dir"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(unusable.status.code(), Some(1));
    assert!(text(&unusable).contains("--data-dir"), "{}", text(&unusable));
    let words = ottla().args(["server", "--node-id", "x"]).output().unwrap();
    assert_eq!(words.status.code(), Some(2));
}
