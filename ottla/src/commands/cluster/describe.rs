//! `ottla cluster describe`

use std::collections::BTreeMap;

use ottla_client::{ClusterDescription, ErrorCode, LogDirDescription, TopicDescription};
use serde_json::{Value, json};

use super::super::connect;
use crate::cli::{ClusterArguments, Output};
use crate::failure::Failure;
use crate::output::{print_json, print_table};

pub async fn run(output: Output, cluster: &ClusterArguments) -> Result<(), Failure> {
    let client = connect(cluster).await?;
    let admin = client.admin();
    let cluster = admin.describe_cluster().await?;
    let topics = admin.list_topics().await?;
    let features = admin.finalized_features().await?;
    let log_dirs = super::log_dirs(&admin, &cluster, true).await;
    let partitions = Partitions::of(&topics);
    match output {
        Output::Json => print_json(&as_json(&cluster, &topics, &partitions, &features, &log_dirs))?,
        Output::Table | Output::Csv => print(&cluster, &topics, &partitions, &features, &log_dirs)?,
    }
    Ok(())
}

/// How the cluster's partitions are.
#[derive(Debug, Default, PartialEq, Eq)]
struct Partitions {
    count: usize,
    /// Without a leader, by name.
    offline: Vec<String>,
    /// With fewer in-sync replicas than replicas, by name.
    under_replicated: Vec<String>,
    /// Led and kept by each broker.
    of_broker: BTreeMap<i32, (usize, usize)>,
}

impl Partitions {
    fn of(topics: &[TopicDescription]) -> Partitions {
        let mut found = Partitions::default();
        for (topic, partition) in topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(move |partition| (topic.name.as_str(), partition)))
        {
            found.count += 1;
            let name = || format!("{topic}-{}", partition.partition);
            match partition.leader {
                None => found.offline.push(name()),
                Some(leader) => found.of_broker.entry(leader).or_default().0 += 1,
            }
            if partition.isr.len() < partition.replicas.len() {
                found.under_replicated.push(name());
            }
            for replica in &partition.replicas {
                found.of_broker.entry(*replica).or_default().1 += 1;
            }
        }
        found
    }

    fn led_and_kept_by(&self, broker: i32) -> (usize, usize) {
        self.of_broker.get(&broker).copied().unwrap_or_default()
    }
}

fn size_of(dir: &LogDirDescription) -> i64 {
    dir.replicas.values().map(|replica| replica.size_bytes).sum()
}

fn as_json(
    cluster: &ClusterDescription,
    topics: &[TopicDescription],
    partitions: &Partitions,
    features: &BTreeMap<String, i16>,
    log_dirs: &BTreeMap<i32, Vec<LogDirDescription>>,
) -> Value {
    let brokers: Vec<Value> = cluster
        .brokers
        .iter()
        .map(|broker| {
            let (led, kept) = partitions.led_and_kept_by(broker.broker_id);
            let dirs: Vec<Value> = log_dirs
                .get(&broker.broker_id)
                .into_iter()
                .flatten()
                .map(|dir| {
                    let error = (dir.error != ErrorCode::None).then(|| dir.error.name());
                    json!({ "path": dir.path, "error": error, "partitions": dir.replicas.len(),
                            "size_bytes": size_of(dir), "usable_bytes": dir.usable_bytes,
                            "total_bytes": dir.total_bytes })
                })
                .collect();
            json!({ "id": broker.broker_id, "host": broker.host, "port": broker.port, "rack": broker.rack,
                    "fenced": broker.is_fenced,
                    "leads": led, "replicas": kept, "log_dirs": dirs })
        })
        .collect();
    json!({ "cluster_id": cluster.cluster_id, "controller": cluster.controller_id, "brokers": brokers,
            "features": features, "topics": topics.len(), "partitions": partitions.count,
            "offline_partitions": partitions.offline, "under_replicated_partitions": partitions.under_replicated })
}

/// Names that are shown of partitions in trouble.
const NAMED_MAX: usize = 10;

fn print(
    cluster: &ClusterDescription,
    topics: &[TopicDescription],
    partitions: &Partitions,
    features: &BTreeMap<String, i16>,
    log_dirs: &BTreeMap<i32, Vec<LogDirDescription>>,
) -> Result<(), Failure> {
    let controller = cluster.controller_id.map_or_else(|| "none".to_owned(), |id| id.to_string());
    println!("cluster {}  controller {controller}", cluster.cluster_id);
    println!("{} topics, {} partitions", topics.len(), partitions.count);
    for (what, names) in
        [("offline", &partitions.offline), ("under-replicated", &partitions.under_replicated)]
    {
        let shown: Vec<&str> = names.iter().take(NAMED_MAX).map(String::as_str).collect();
        let more = if names.len() > NAMED_MAX { ", …" } else { "" };
        match names.len() {
            0 => println!("{what}: none"),
            count => println!("{what}: {count}  ({}{more})", shown.join(", ")),
        }
    }
    let features: Vec<String> = features.iter().map(|(name, level)| format!("{name}={level}")).collect();
    println!("features: {}", features.join(", "));
    println!();
    let brokers: Vec<Vec<String>> = cluster
        .brokers
        .iter()
        .map(|broker| {
            let (led, kept) = partitions.led_and_kept_by(broker.broker_id);
            let rack = broker.rack.clone().unwrap_or_else(|| "-".to_owned());
            let address = format!("{}:{}", broker.host, broker.port);
            let state = if broker.is_fenced { "fenced" } else { "serves" };
            vec![
                broker.broker_id.to_string(),
                address,
                rack,
                state.to_owned(),
                led.to_string(),
                kept.to_string(),
            ]
        })
        .collect();
    print_table(&["broker", "address", "rack", "state", "leads", "replicas"], &brokers)?;
    println!();
    let bytes = |bytes: Option<i64>| bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string());
    let rows: Vec<Vec<String>> = log_dirs
        .iter()
        .flat_map(|(broker, dirs)| dirs.iter().map(move |dir| (broker, dir)))
        .map(|(broker, dir)| {
            let state = if dir.error == ErrorCode::None { "ok" } else { dir.error.name() };
            vec![
                broker.to_string(),
                dir.path.clone(),
                state.to_owned(),
                dir.replicas.len().to_string(),
                size_of(dir).to_string(),
                bytes(dir.usable_bytes),
                bytes(dir.total_bytes),
            ]
        })
        .collect();
    let headers = ["broker", "log dir", "state", "replicas", "bytes", "usable bytes", "total bytes"];
    Ok(print_table(&headers, &rows)?)
}

#[cfg(test)]
mod tests {
    use ottla_client::{PartitionDescription, Uuid};

    use super::*;

    #[test]
    fn partitions_in_trouble_are_found() {
        let partition = |number, leader, isr: &[i32]| PartitionDescription {
            partition: number,
            leader,
            leader_epoch: 0,
            replicas: vec![1, 2],
            isr: isr.to_vec(),
        };
        let topic = TopicDescription {
            name: "t".to_owned(),
            topic_id: Uuid::nil(),
            is_internal: false,
            partitions: vec![
                partition(0, Some(1), &[1, 2]),
                partition(1, None, &[2]),
                partition(2, Some(1), &[1]),
            ],
        };
        let found = Partitions::of(&[topic]);
        assert_eq!((found.count, found.offline), (3, vec!["t-1".to_owned()]));
        assert_eq!(found.under_replicated, ["t-1", "t-2"]);
        assert_eq!(found.of_broker, BTreeMap::from([(1, (2, 3)), (2, (0, 3))]));
    }
}
