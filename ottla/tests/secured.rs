//! Commands at a server that asks who they are, and `ottla transaction`.

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use ottla_client::{Client, ClientConfig, Producer, ProducerConfig, Record};
use support::{Running, ottla, text};

/// A server on a free port, and its address.
fn started(arguments: &[&str], data_dir: &Path) -> (Running, String) {
    let mut command = ottla();
    command.arg("server").args(arguments).arg("--data-dir").arg(data_dir);
    command.args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = Running(command.spawn().expect("the binary runs"));
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.split(' ').find_map(|word| word.strip_prefix("kafka=")).expect("a ready line");
    let address = address.trim().to_owned();
    (running, address)
}

fn run(arguments: &[&str], address: &str) -> Output {
    ottla().args(arguments).args(["--bootstrap-server", address]).output().unwrap()
}

fn succeed(arguments: &[&str], address: &str) -> String {
    let output = run(arguments, address);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn json(arguments: &[&str], address: &str) -> serde_json::Value {
    serde_json::from_str(&succeed(arguments, address)).unwrap()
}

#[test]
fn commands_come_in_with_the_properties_that_kafkas_tools_take() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let server = file(
        "ottla.toml",
        "[broker]\nlisteners = \"SASL_PLAINTEXT://127.0.0.1:0\"\n\"sasl.enabled.mechanisms\" = \"PLAIN\"\n\
         \"listener.name.sasl_plaintext.plain.sasl.jaas.config\" = 'PlainLoginModule required user_alice=\"right-one\";'\n",
    );
    let properties = |password: &str| {
        format!(
            "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n\
             sasl.jaas.config=PlainLoginModule required username=\"alice\" password=\"{password}\";\n"
        )
    };
    let (right, wrong) = (
        file("right.properties", &properties("right-one")),
        file("wrong.properties", &properties("wrong-one")),
    );
    let mut command = ottla();
    command.args(["server", "--config", &server]).arg("--data-dir").arg(dir.path().join("data"));
    command.args(["--http-listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = Running(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.split(' ').find_map(|word| word.strip_prefix("kafka=")).unwrap().trim().to_owned();
    succeed(&["topic", "create", "t", "--command-config", &right], &address);
    assert!(succeed(&["topic", "list", "--command-config", &right], &address).contains('t'));
    succeed(&["bench", "produce", "-n", "100", "--topic", "t", "--command-config", &right], &address);
    succeed(&["bench", "consume", "--topic", "t", "--command-config", &right], &address);
    let refused = run(&["topic", "list", "--command-config", &wrong], &address);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused);
    assert!(said.contains("PLAIN") && said.contains("--command-config"), "{said}");
    assert!(!said.contains("wrong-one"), "{said}");
    let damaged = file("damaged.properties", "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=GSSAPI\n");
    let wrong_words = run(&["topic", "list", "--command-config", &damaged], &address);
    assert_eq!(wrong_words.status.code(), Some(2));
    assert!(text(&wrong_words).contains("damaged.properties: sasl.mechanism"), "{}", text(&wrong_words));
}

async fn open_transaction(address: &str) -> Producer {
    let config = ClientConfig { bootstrap_servers: vec![address.to_owned()], ..ClientConfig::default() };
    let client = Client::connect(config).await.unwrap();
    let config = ProducerConfig { transactional_id: Some("copier".to_owned()), ..ProducerConfig::default() };
    let producer = client.producer(config).await.unwrap();
    producer.init_transactions().await.unwrap();
    producer.begin_transaction().unwrap();
    producer.send("t", Some(0), Record::of_value("open")).await.unwrap().await.unwrap();
    producer
}

#[test]
fn transactions_are_shown_and_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (_running, address) = started(&[], dir.path());
    succeed(&["topic", "create", "t"], &address);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let producer = runtime.block_on(open_transaction(&address));
    let listed = json(&["transaction", "list", "--state", "Ongoing", "-o", "json"], &address);
    assert_eq!(listed[0]["transactional_id"], "copier", "{listed}");
    assert!(!succeed(&["transaction", "list", "--state", "Empty"], &address).contains("copier"));
    assert!(!run(&["transaction", "list", "--state", "Nothing"], &address).status.success());
    let described = json(&["transaction", "describe", "copier", "-o", "json"], &address);
    assert_eq!(described["state"], "Ongoing", "{described}");
    assert_eq!(described["partitions"], serde_json::json!([{ "topic": "t", "partition": 0 }]));
    let producers = json(&["transaction", "producers", "t", "0", "-o", "json"], &address);
    assert_eq!(producers[0]["open_since_offset"], 0, "{producers}");
    assert_eq!(producers[0]["producer_id"], described["producer_id"]);
    let hanging = json(&["transaction", "find-hanging", "-o", "json"], &address);
    assert_eq!(hanging, serde_json::json!([]), "its coordinator knows it");
    let unknown = run(&["transaction", "abort", "nobody"], &address);
    assert!(!unknown.status.success() && text(&unknown).contains("TRANSACTIONAL_ID_NOT_FOUND"));
    succeed(&["transaction", "abort", "copier"], &address);
    let error = runtime.block_on(producer.commit_transaction()).unwrap_err();
    assert!(error.is_fatal(), "{error}");
    // The marker is written after the answer.
    let deadline = Instant::now() + Duration::from_secs(30);
    while json(&["transaction", "producers", "t", "0", "-o", "json"], &address)[0]["open_since_offset"] == 0 {
        assert!(Instant::now() < deadline, "the transaction is still open");
    }
    let read = ["consume", "t", "--from-beginning", "--exit-at-end"];
    assert_eq!(succeed(&read, &address).lines().count(), 1, "who reads everything sees it all the same");

    // Ended in one partition, as if it were one that nobody knows.
    let _producer = runtime.block_on(open_transaction(&address));
    let producers = json(&["transaction", "producers", "t", "0", "-o", "json"], &address);
    let open =
        producers.as_array().unwrap().iter().find_map(|producer| producer["open_since_offset"].as_i64());
    let start = open.expect("one is open").to_string();
    let abort =
        ["transaction", "abort", "--topic", "t", "--partition", "0", "--start-offset", start.as_str()];
    succeed(&abort, &address);
    assert!(!run(&abort, &address).status.success(), "it is not open any more");
}
