//! A broker with several log dirs: where partitions go, what is refused, and what is left when a disk is gone.

mod wire;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ottla_broker::{Broker, BrokerConfig, Problem};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::*;
use wire::Wire;
use wire::requests::{batch, create, fetch, produce, values};

/// The dirs of a broker; the first has the metadata log.
struct Dirs {
    root: tempfile::TempDir,
    names: Vec<&'static str>,
}

impl Dirs {
    fn new(names: &[&'static str]) -> Dirs {
        Dirs { root: tempfile::tempdir().unwrap(), names: names.to_vec() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn config(&self) -> BrokerConfig {
        let dirs: Vec<String> = self.names.iter().map(|name| self.path(name).display().to_string()).collect();
        let mut config = BrokerConfig::new("unused");
        config.set("log.dirs", &dirs.join(",")).unwrap();
        config
    }

    async fn start(&self) -> (Broker, Wire) {
        let broker = Broker::start(self.config()).await.expect("the broker starts");
        let wire = Wire::connect(broker.address()).await;
        (broker, wire)
    }

    async fn refusal(&self) -> String {
        Broker::start(self.config()).await.err().expect("it does not start").to_string()
    }

    /// A broker with one record in each of some topics, stopped again.
    async fn with_topics(names: &[&'static str], topics: &[&str]) -> Dirs {
        let dirs = Dirs::new(names);
        let (broker, mut wire) = dirs.start().await;
        for topic in topics {
            assert_eq!(wire.call(7, &create(topic)).await.topics[0].error_code, 0);
            assert_eq!(produced(&mut wire, topic).await, ErrorCode::None);
        }
        broker.shutdown().await.unwrap();
        dirs
    }
}

async fn produced(wire: &mut Wire, topic: &str) -> ErrorCode {
    let response = wire.call(9, &produce(topic, batch(&[topic], None), -1)).await;
    ErrorCode::from_code(response.responses[0].partition_responses[0].error_code)
}

async fn fetched(wire: &mut Wire, topic: &str) -> Result<Vec<String>, ErrorCode> {
    let response = wire.call(12, &fetch(topic, 0, 0)).await;
    match response.responses[0].partitions[0].error_code {
        0 => Ok(values(&response)),
        code => Err(ErrorCode::from_code(code)),
    }
}

/// The topics in each log dir, and its error, by the dir's name.
async fn described(wire: &mut Wire) -> BTreeMap<String, (ErrorCode, Vec<String>)> {
    let response = wire.call(4, &DescribeLogDirsRequest { topics: None }).await;
    let of = |dir: &k35_describe_log_dirs::DescribeLogDirsResult| {
        let name = Path::new(&*dir.log_dir).file_name().unwrap().to_string_lossy().into_owned();
        let topics = dir.topics.iter().map(|topic| topic.name.to_string()).collect();
        (name, (ErrorCode::from_code(dir.error_code), topics))
    };
    response.results.iter().map(of).collect()
}

fn topics_of(described: &BTreeMap<String, (ErrorCode, Vec<String>)>, dir: &str) -> Vec<String> {
    let (code, topics) = &described[dir];
    assert_eq!(*code, ErrorCode::None);
    topics.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_spread_over_the_log_dirs_and_stay_where_they_are() {
    let dirs = Dirs::with_topics(&["a", "b"], &["t0", "t1", "t2", "t3"]).await;
    for _ in 0..2 {
        let (broker, mut wire) = dirs.start().await;
        let described = described(&mut wire).await;
        assert_eq!(topics_of(&described, "a"), ["t0", "t2"]);
        assert_eq!(topics_of(&described, "b"), ["t1", "t3"]);
        for topic in ["t0", "t1", "t2", "t3"] {
            assert_eq!(fetched(&mut wire, topic).await, Ok(vec![topic.to_owned()]));
        }
        assert!(dirs.path("b").join("t1-0").is_dir() && !dirs.path("a").join("t1-0").exists());
        broker.shutdown().await.unwrap();
        for name in ["a", "b"] {
            assert!(dirs.path(name).join(".kafka_cleanshutdown").exists(), "{name}");
            let checkpoint = fs::read_to_string(dirs.path(name).join("recovery-point-offset-checkpoint"));
            let others = if name == "a" { "t1" } else { "t0" };
            assert!(!checkpoint.unwrap().contains(others), "{name}");
        }
    }
    assert!(dirs.path("a").join("__cluster_metadata-0").is_dir());
    let deleted = k20_delete_topics::DeleteTopicState { name: Some("t1".into()), ..Default::default() };
    let request = DeleteTopicsRequest { topics: vec![deleted], timeout_ms: 5000, ..Default::default() };
    let (broker, mut wire) = dirs.start().await;
    assert_eq!(wire.call(6, &request).await.responses[0].error_code, 0);
    assert!(!dirs.path("b").join("t1-0").exists());
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_dir_more_gets_the_next_partitions_and_the_metadata_log_may_live_apart() {
    let mut dirs = Dirs::with_topics(&["a"], &["t0", "t1"]).await;
    dirs.names.push("b");
    let (broker, mut wire) = dirs.start().await;
    for topic in ["t2", "t3"] {
        assert_eq!(wire.call(7, &create(topic)).await.topics[0].error_code, 0);
    }
    assert_eq!(topics_of(&described(&mut wire).await, "b"), ["t2", "t3"]);
    broker.shutdown().await.unwrap();

    let apart = Dirs::new(&["a", "b"]);
    let mut config = apart.config();
    config.set("metadata.log.dir", &apart.path("metadata").display().to_string()).unwrap();
    let broker = Broker::start(config).await.unwrap();
    let mut wire = Wire::connect(broker.address()).await;
    assert_eq!(wire.call(7, &create("t")).await.topics[0].error_code, 0);
    assert_eq!(described(&mut wire).await.len(), 2, "the metadata log's dir has no partitions to tell");
    assert!(apart.path("metadata").join("__cluster_metadata-0").is_dir());
    assert!(!apart.path("a").join("__cluster_metadata-0").exists());
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn log_dirs_that_do_not_belong_together_are_refused_by_name() {
    let mut dirs = Dirs::with_topics(&["a", "b"], &["t0", "t1"]).await;
    let other = Dirs::with_topics(&["c"], &[]).await;
    fs::rename(other.path("c"), dirs.path("c")).unwrap();

    dirs.names = vec!["a", "b", "c"];
    let error = dirs.refusal().await;
    assert!(error.contains("/c belongs to cluster"), "{error}");
    dirs.names = vec!["a", "b", "a/../b"];
    let error = dirs.refusal().await;
    assert!(error.contains("a/../b twice"), "{error}");
    std::os::unix::fs::symlink(dirs.path("b"), dirs.path("link")).unwrap();
    dirs.names = vec!["a", "b", "link"];
    let error = dirs.refusal().await;
    assert!(error.contains("/link twice"), "{error}");
    fs::create_dir(dirs.path("copy")).unwrap();
    fs::copy(dirs.path("b").join("meta.properties"), dirs.path("copy").join("meta.properties")).unwrap();
    dirs.names = vec!["a", "b", "copy"];
    let error = dirs.refusal().await;
    assert!(error.contains("the same directory.id"), "{error}");
    dirs.names = vec!["b", "a"];
    let error = dirs.refusal().await;
    assert!(error.contains("the metadata log is in") && error.contains("metadata.log.dir"), "{error}");
    dirs.names = vec!["a", "b"];
    let of_node_2 = BrokerConfig { node_id: ottla_broker::ids::NodeId(2), ..dirs.config() };
    let error = Broker::start(of_node_2).await.err().unwrap().to_string();
    assert!(error.contains("belongs to node 1"), "{error}");
    // A folder in two places, as after a restored backup.
    fs::create_dir(dirs.path("a").join("t1-0")).unwrap();
    for entry in fs::read_dir(dirs.path("b").join("t1-0")).unwrap() {
        let from = entry.unwrap().path();
        fs::copy(&from, dirs.path("a").join("t1-0").join(from.file_name().unwrap())).unwrap();
    }
    let error = dirs.refusal().await;
    assert!(error.contains("partition t1-0 is in both") && error.contains("/b/t1-0"), "{error}");
    fs::remove_dir_all(dirs.path("a").join("t1-0")).unwrap();
    let (broker, mut wire) = dirs.start().await;
    assert_eq!(fetched(&mut wire, "t1").await, Ok(vec!["t1".to_owned()]));
    let second = dirs.refusal().await;
    assert!(second.contains("in use by another process"), "{second}");
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_one_of_its_disks_a_broker_serves_what_is_on_the_others() {
    let dirs = Dirs::with_topics(&["a", "b", "c"], &["t0", "t1", "t2"]).await;
    let (b, aside) = (dirs.path("b"), dirs.path("aside"));
    fs::rename(&b, &aside).unwrap();
    fs::write(&b, "no folder").unwrap();
    let (broker, mut wire) = dirs.start().await;
    assert_eq!(described(&mut wire).await["b"], (ErrorCode::KafkaStorageError, Vec::new()));
    assert_eq!(produced(&mut wire, "t1").await, ErrorCode::KafkaStorageError);
    assert_eq!(fetched(&mut wire, "t1").await, Err(ErrorCode::KafkaStorageError));
    assert_eq!(produced(&mut wire, "t2").await, ErrorCode::None);
    for topic in ["t3", "t4"] {
        assert_eq!(wire.call(7, &create(topic)).await.topics[0].error_code, 0);
        assert_eq!(produced(&mut wire, topic).await, ErrorCode::None);
    }
    let problems = broker.monitor().problems().await;
    assert!(matches!(&problems[0], Problem::OfflineDir { path, .. } if *path == b), "{problems:?}");
    assert!(matches!(&problems[1], Problem::OfflinePartitions { count: 1, .. }), "{problems:?}");
    broker.shutdown().await.unwrap();

    // A disk that is not mounted is an empty folder: what was on it must not begin anew.
    fs::remove_file(&b).unwrap();
    let (broker, mut wire) = dirs.start().await;
    assert_eq!(fetched(&mut wire, "t1").await, Err(ErrorCode::KafkaStorageError));
    assert!(!b.join("t1-0").exists());
    broker.shutdown().await.unwrap();

    fs::remove_dir_all(&b).unwrap();
    fs::rename(&aside, &b).unwrap();
    let (broker, mut wire) = dirs.start().await;
    assert_eq!(fetched(&mut wire, "t1").await, Ok(vec!["t1".to_owned()]));
    assert_eq!(fetched(&mut wire, "t2").await, Ok(vec!["t2".to_owned(), "t2".to_owned()]));
    assert_eq!(fetched(&mut wire, "t4").await, Ok(vec!["t4".to_owned()]));
    assert!(broker.monitor().problems().await.is_empty());
    broker.shutdown().await.unwrap();

    fs::rename(dirs.path("a"), &aside).unwrap();
    fs::write(dirs.path("a"), "no folder").unwrap();
    let error = dirs.refusal().await;
    assert!(error.contains("/a cannot be used"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_was_moved_while_the_broker_stood_still_is_found_and_its_place_recorded() {
    let dirs = Dirs::with_topics(&["a", "b"], &["t0", "t1"]).await;
    fs::rename(dirs.path("b").join("t1-0"), dirs.path("a").join("t1-0")).unwrap();
    for starts in 2..4 {
        let (broker, mut wire) = dirs.start().await;
        assert_eq!(topics_of(&described(&mut wire).await, "a"), ["t0", "t1"]);
        assert_eq!(fetched(&mut wire, "t1").await, Ok(vec!["t1".to_owned()]));
        let quorum = broker.context().controller.log();
        quorum.watch().wait_for(|state| state.leads_from.is_some()).await.unwrap();
        // Two records for each topic, and one of each start that says who leads.
        assert_eq!(quorum.log().log_end().0, 5 + starts, "one record says where it is now");
        broker.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folder_of_an_earlier_topic_in_another_dir_is_moved_away() {
    let dirs = Dirs::with_topics(&["a", "b"], &["t0", "t1"]).await;
    // A crash between the record that removes a topic and the removal of its folder, and then a new topic.
    let metadata = dirs.path("a").join("t1-0");
    fs::create_dir(&metadata).unwrap();
    let id = "version: 0\ntopic_id: k3o_zQe0T1-9xXbYVdLmaA";
    fs::write(metadata.join("partition.metadata"), id).unwrap();
    let (broker, mut wire) = dirs.start().await;
    assert_eq!(fetched(&mut wire, "t1").await, Ok(vec!["t1".to_owned()]));
    assert!(!metadata.exists());
    broker.shutdown().await.unwrap();
}
