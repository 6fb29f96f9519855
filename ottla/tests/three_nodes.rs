//! Three nodes as processes: a topic through each, records through all, and what goes on without the one that decides.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use support::{Running, ottla, root, serving, text};

/// Long enough for the slowest machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// So many ports in a row that nothing uses, below those that the system gives to whoever asks for any. Tests that run at the same
/// time look in places of their own.
fn ports(place: u16, count: u16) -> u16 {
    let mut port = 10_000 + place + (std::process::id() % 1_000) as u16 * 20;
    while (port..port + count).any(|port| TcpListener::bind(("127.0.0.1", port)).is_err()) {
        port += 7;
    }
    port
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A node, started from a file of settings.
fn start(dir: &Path, id: u16, controllers: &str) -> Child {
    let file = dir.join(format!("node-{id}.toml"));
    let data = dir.join(format!("node-{id}"));
    let settings = format!(
        "node-id = {id}\ncontrollers = {controllers:?}\ndata-dir = {data:?}\nlisten = \"127.0.0.1:0\"\n\
         http-listen = \"127.0.0.1:0\"\n[broker]\nbroker.session.timeout.ms = 3000\nbroker.heartbeat.interval.ms = 500\n\
         default.replication.factor = 1\n"
    );
    std::fs::write(&file, settings).unwrap();
    let mut command = ottla();
    command.args(["server", "--config"]).arg(&file).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().expect("the binary runs")
}

/// The Kafka address of a node, once it is ready.
fn ready(node: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(node.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains(" controller=127.0.0.1:"), "{line:?}");
    line.split(' ').find_map(|word| word.strip_prefix("kafka=")).expect("kafka=").to_owned()
}

fn run(arguments: &[&str], address: &str) -> (bool, String) {
    let output = ottla().args(arguments).args(["--bootstrap-server", address]).output().unwrap();
    (output.status.success(), text(&output))
}

fn produce(topic: &str, address: &str, lines: &str) {
    let mut command = ottla();
    command.args(["produce", topic, "--bootstrap-server", address]).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{topic} at {address}");
}

/// Makes a topic through one node, writes through it and reads through another.
fn works(topic: &str, at: &str, elsewhere: &str) {
    let (made, said) = run(&["topic", "create", topic, "-p", "4"], at);
    assert!(made, "{topic} at {at}: {said}");
    produce(topic, at, "one\ntwo\nthree\n");
    until("what was written at one node is read at another", || {
        let consume = ["consume", topic, "--from-beginning", "--exit-at-end"];
        let (read, said) = run(&consume, elsewhere);
        read && ["one", "two", "three"].iter().all(|word| said.lines().any(|line| line.ends_with(word)))
    });
}

/// Ids of the brokers that serve and of the controller, as a node tells them.
fn described(address: &str) -> Option<(Vec<u64>, u64)> {
    let output =
        ottla().args(["cluster", "describe", "-o", "json", "--bootstrap-server", address]).output().unwrap();
    let cluster: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let serving = cluster["brokers"].as_array()?.iter().filter(|broker| broker["fenced"] == false);
    let ids = serving.filter_map(|broker| broker["id"].as_u64());
    Some((ids.collect(), cluster["controller"].as_u64()?))
}

/// The script that starts three nodes, told to stop them when it goes out of scope: killed, it would leave them behind.
struct Script(Child);

impl Script {
    fn stop(&mut self) -> ExitStatus {
        if self.0.try_wait().unwrap().is_none() {
            Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap();
        }
        self.0.wait().unwrap()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.stop();
    }
}

/// How many replicas a topic's first partition has.
fn replicas(topic: &str, address: &str) -> usize {
    let (described, said) = run(&["topic", "describe", topic, "-o", "json"], address);
    assert!(described, "{topic}: {said}");
    let topic: serde_json::Value = serde_json::from_str(&said).unwrap();
    topic["partitions"][0]["replicas"].as_array().unwrap().len()
}

#[test]
fn three_processes_are_one_cluster_that_goes_on_without_the_one_that_decides() {
    let dir = tempfile::tempdir().unwrap();
    let port = ports(0, 3);
    let controller = |id: u16| format!("{id}@127.0.0.1:{}", port + id);
    let controllers = (0..3).map(controller).collect::<Vec<_>>().join(",");
    let mut nodes: Vec<Running> = (0..3).map(|id| Running(start(dir.path(), id, &controllers))).collect();
    let mut addresses: Vec<String> = nodes.iter_mut().map(|node| ready(&mut node.0)).collect();
    for address in &addresses {
        until("every node tells of all three", || {
            described(address).is_some_and(|(brokers, _)| brokers.len() == 3)
        });
    }
    for at in 0..3 {
        works(&format!("through-{at}"), &addresses[at], &addresses[(at + 1) % 3]);
    }
    let (_, active) = described(&addresses[0]).unwrap();
    let killed = usize::try_from(active).unwrap();
    nodes[killed].kill();
    let left: Vec<String> = (0..3).filter(|at| *at != killed).map(|at| addresses[at].clone()).collect();
    for address in &left {
        until("every node that is left tells of those that are, and of another controller", || {
            described(address).is_some_and(|(brokers, now)| brokers.len() == 2 && now != active)
        });
    }
    works("without-it", &left[0], &left[1]);
    let again = u16::try_from(active).unwrap();
    nodes[killed] = Running(start(dir.path(), again, &controllers));
    addresses[killed] = ready(&mut nodes[killed].0);
    until("the one that was killed is back", || {
        described(&addresses[killed]).is_some_and(|(brokers, _)| brokers.len() == 3)
    });
    works("with-it", &addresses[killed], &left[0]);
    let (listed, topics) = run(&["topic", "list"], &addresses[killed]);
    assert!(listed && topics.contains("without-it") && topics.contains("through-1"), "{topics}");
}

#[test]
fn the_script_starts_three_nodes_and_stops_them_all() {
    let dir = tempfile::tempdir().unwrap();
    let port = ports(1_000, 23);
    let mut command = Command::new(root().join("scripts/three-nodes.sh"));
    command.arg(dir.path()).arg(port.to_string()).env("OTTLA", env!("CARGO_BIN_EXE_ottla"));
    let mut script = Script(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
    let lines = BufReader::new(script.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    let said: Vec<String> = lines.take(4).collect();
    assert!(said.last().is_some_and(|line| line.starts_with("all three are there")), "{said:?}");
    let address = format!("127.0.0.1:{port}");
    until("every node is told of", || described(&address).is_some_and(|(brokers, _)| brokers.len() == 3));
    let controllers = (1..=3).map(|node| format!("{node}@127.0.0.1:{}", port + 9 + node)).collect::<Vec<_>>();
    let controllers = controllers.join(",");
    let arguments = ["--node-id", "4", "--roles", "broker,streams", "--controllers", &controllers];
    let (streams, ready) = serving::start(&dir.path().join("node-4"), &arguments);
    let http = ready.address("http");
    let (status, told) = serving::post(
        &http,
        "CREATE STREAM n (v INT); CREATE MATERIALIZED VIEW s AS SELECT SUM(v) AS s FROM n",
    );
    assert_eq!(status, 200, "{told}");
    for topic in ["n", "s", "s-changelog", "s.dlq", "ottla-sql"] {
        assert_eq!(replicas(topic, &address), 3, "{topic}: what SQL keeps outlives a node");
    }
    drop(streams);
    assert!(script.stop().success());
    for node in 0..3 {
        assert!(TcpStream::connect(("127.0.0.1", port + node)).is_err(), "node {node} is still there");
    }
}

#[test]
fn wrong_words_about_the_cluster_are_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    for (arguments, expected) in [
        (&["--roles", "broker"][..], "--controllers"),
        (&["--controllers", "1@127.0.0.1"], "ID@HOST:PORT"),
        (
            &["--controllers", "1@127.0.0.1:1", "--node-id", "2", "--roles", "controller"],
            "does not name node 2",
        ),
        (&["--controllers", "1@127.0.0.1:1", "--roles", "broker"], "must have controller"),
        (&["--controllers", "1@127.0.0.1:1", "--roles", "controller,streams"], "add broker"),
    ] {
        let output = ottla().args(["server", "--data-dir"]).arg(&data).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output));
        assert!(text(&output).contains(expected), "{arguments:?}: {}", text(&output));
    }
    assert!(!data.exists());
}
