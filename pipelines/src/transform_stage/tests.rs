//! The stage as a whole, on a cluster in memory that is killed at every effect there is.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ottla_client::{ConsumerRecord, Record, TopicPartition};
use ottla_plugins::{PluginError, PluginFault, Record as PluginRecord};

use super::apply::BatchFunction;
use super::memory_cluster::{Disk, MemoryCluster, append};
use super::{StageConfig, StageError, StageState, StageStatus, start};
use crate::resolve::ErrorPolicy;

/// Gives `n` records for a record with value `n`; refuses `!`.
struct Repeat;

impl BatchFunction for Repeat {
    fn call(&self, records: &[PluginRecord]) -> Result<Vec<PluginRecord>, PluginError> {
        let mut outputs = Vec::new();
        for (source, record) in (0..).zip(records) {
            let value = record.value.as_deref().unwrap_or_default();
            if value == b"!" {
                return Err(PluginError {
                    plugin: "repeat".to_owned(),
                    fault: PluginFault::Refused("a shout".to_owned()),
                });
            }
            let times = value.first().map_or(0, |digit| usize::from(digit - b'0'));
            outputs.extend((0..times).map(|number| PluginRecord {
                source,
                value: Some(Bytes::from(format!(
                    "{}#{number}",
                    String::from_utf8_lossy(record.key.as_deref().unwrap_or(b"-"))
                ))),
                ..record.clone()
            }));
        }
        Ok(outputs)
    }
}

fn partition(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

/// Two input partitions whose records are told apart by their keys, two of output, one of dead letters.
fn disk() -> Disk {
    let mut disk = Disk::default();
    for name in [
        partition("in", 0),
        partition("in", 1),
        partition("out", 0),
        partition("out", 1),
        partition("dlq", 0),
    ] {
        disk.logs.insert(name, Vec::new());
    }
    for (at, value) in ["1", "3", "!", "0", "2", "1", "1", "!", "4", "1"].into_iter().enumerate() {
        append(&mut disk, &partition("in", at as i32 % 2), Record::new(format!("k{at}"), value));
    }
    disk
}

fn config(on_error: ErrorPolicy) -> StageConfig {
    StageConfig {
        id: "p.repeat".to_owned(),
        inputs: vec!["in".to_owned()],
        output: "out".to_owned(),
        on_error,
    }
}

fn dead_letters() -> ErrorPolicy {
    ErrorPolicy::DeadLetter { topic: "dlq".to_owned() }
}

async fn run(cluster: &MemoryCluster, on_error: ErrorPolicy) -> StageStatus {
    let stage = start(Arc::new(cluster.clone()), Arc::new(Repeat), config(on_error));
    stage.finish();
    stage.wait().await
}

fn values<'a>(disk: &'a Disk, topic: &str) -> Vec<(TopicPartition, &'a ConsumerRecord)> {
    let of_topic = disk.logs.iter().filter(|(partition, _)| partition.topic == topic);
    of_topic.flat_map(|(partition, log)| log.iter().map(move |record| (partition.clone(), record))).collect()
}

fn text(bytes: &Option<Bytes>) -> String {
    String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned()
}

/// The outputs of each input record, in the order of the log: what must be the same however often the stage
/// is killed.
fn outputs_by_key(disk: &Disk) -> BTreeMap<String, Vec<String>> {
    let mut outputs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (_, record) in values(disk, "out") {
        outputs.entry(text(&record.key)).or_default().push(text(&record.value));
    }
    outputs
}

#[tokio::test]
async fn every_record_is_transformed_and_the_bad_ones_are_dead_letters_with_their_place() {
    let cluster = MemoryCluster::new(disk(), u32::MAX);
    let status = run(&cluster, dead_letters()).await;
    assert!(matches!(status.state, StageState::Done), "{status:?}");
    assert_eq!((status.records_in, status.records_out, status.records_bad), (10, 13, 2));
    let disk = cluster.kill(|| false);
    let outputs = outputs_by_key(&disk);
    assert_eq!(outputs["k1"], ["k1#0", "k1#1", "k1#2"]);
    assert!(!outputs.contains_key("k3"), "it asked for none");
    let letters = values(&disk, "dlq");
    let headers: BTreeMap<String, String> = letters[0]
        .1
        .headers
        .iter()
        .map(|header| (text(&Some(header.key.clone())), text(&header.value)))
        .collect();
    assert_eq!(headers["__connect.errors.topic"], "in");
    assert_eq!(
        headers["__connect.errors.exception.message"],
        "plugin `repeat`: it refused the batch: a shout"
    );
    assert_eq!(disk.commits[&partition("in", 0)], 5);
}

#[tokio::test]
async fn killed_at_any_effect_it_neither_loses_nor_doubles_a_record() {
    let whole = MemoryCluster::new(disk(), u32::MAX);
    run(&whole, dead_letters()).await;
    let whole = whole.kill(|| false);
    let expected = (outputs_by_key(&whole), values(&whole, "dlq").len());

    // Each life is so long; a commit on its way at its end happens as a seed says.
    for life in 5..60 {
        let mut disk = disk();
        let mut seed = u64::from(life);
        let mut lives = 0;
        loop {
            lives += 1;
            // Long lives at last: a start alone takes some effects, and a life that is too short for it
            // changes nothing.
            let cluster = MemoryCluster::new(disk, if lives > 40 { u32::MAX } else { life });
            let status = run(&cluster, dead_letters()).await;
            disk = cluster.kill(|| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                seed >> 63 == 1
            });
            match status.state {
                StageState::Done => break,
                StageState::Failed(StageError::Client { .. }) => {}
                other => panic!("life {life}: {other:?}"),
            }
        }
        assert_eq!(
            (outputs_by_key(&disk), values(&disk, "dlq").len()),
            expected,
            "lives of {life} effects, {lives} of them"
        );
    }
}

#[tokio::test]
async fn a_second_run_has_nothing_to_do() {
    let cluster = MemoryCluster::new(disk(), u32::MAX);
    run(&cluster, dead_letters()).await;
    let cluster = MemoryCluster::new(cluster.kill(|| false), u32::MAX);
    let status = run(&cluster, dead_letters()).await;
    assert_eq!((status.records_in, status.records_out), (0, 0));
}

#[tokio::test]
async fn with_the_policy_to_stop_the_first_bad_record_ends_it_with_its_place() {
    let cluster = MemoryCluster::new(disk(), u32::MAX);
    let status = run(&cluster, ErrorPolicy::Stop).await;
    let StageState::Failed(error) = status.state else { panic!("{status:?}") };
    let expected =
        "in-0@1: plugin `repeat`: it refused the batch: a shout; the policy is to stop (on_error: stop)";
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn a_stage_whose_handles_are_gone_stops() {
    let cluster = MemoryCluster::new(disk(), u32::MAX);
    let stage = start(Arc::new(cluster.clone()), Arc::new(Repeat), config(dead_letters()));
    let status = stage.stop().await;
    assert!(matches!(status.state, StageState::Stopped), "{status:?}");
}
