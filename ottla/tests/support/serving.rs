//! A server as a process, asked by `POST /sql`.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::{Running, ottla};

/// The line in which a server says where it serves.
pub struct Ready(String);

impl Ready {
    /// The address that stands there after a name.
    pub fn address(&self, name: &str) -> String {
        let words = self.0.trim().split(' ');
        let address = words.filter_map(|word| word.strip_prefix(name)?.strip_prefix('=')).next();
        address.unwrap_or_else(|| panic!("{name} in {}", self.0)).to_owned()
    }
}

/// A server on free ports, its Kafka and its HTTP address.
pub fn server(data_dir: &Path) -> (Running, String, String) {
    let (running, ready) = start(data_dir, &[]);
    (running, ready.address("kafka"), ready.address("http"))
}

/// As [`server`], told more by its arguments.
pub fn start(data_dir: &Path, arguments: &[&str]) -> (Running, Ready) {
    let mut command = ottla();
    command.args(["server", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]).args(arguments);
    command.arg("--data-dir").arg(data_dir).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = Running(command.spawn().expect("the binary runs"));
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (running, Ready(line))
}

/// Status and body of a POST to /sql.
pub fn post(http: &str, sql: &str) -> (u16, String) {
    post_with(http, "", sql)
}

/// As [`post`], with further header lines.
pub fn post_with(http: &str, headers: &str, sql: &str) -> (u16, String) {
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

/// Produces lines of key, `#` and value.
pub fn produce(kafka: &str, topic: &str, lines: &[&str]) {
    let mut command = ottla();
    command.args(["produce", topic, "--key-separator", "#", "--bootstrap-server", kafka]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    lines.iter().for_each(|line| writeln!(input, "{line}").unwrap());
    drop(input);
    assert!(child.wait().unwrap().success());
}

/// Asks until the answer is this one.
pub fn expect(http: &str, sql: &str, expected: &str) {
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
