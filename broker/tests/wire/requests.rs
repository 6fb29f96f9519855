//! The requests that most tests send, for partition 0 of one topic.

use bytes::Bytes;
use ottla_protocol::messages::*;
use ottla_protocol::records::{BatchBuilder, BatchOptions, Batches};

#[allow(dead_code, reason = "each test binary uses its own part")]
pub fn batch(values: &[&str], producer: Option<(i64, i32)>) -> Bytes {
    let mut builder = BatchBuilder::default();
    for value in values {
        builder.push(1_700_000_000_000, None, Some(value.as_bytes()), &[]);
    }
    let options = match producer {
        None => BatchOptions::default(),
        Some((producer_id, base_sequence)) => {
            BatchOptions { producer_id, producer_epoch: 0, base_sequence, ..BatchOptions::default() }
        }
    };
    builder.build(options)
}

#[allow(dead_code, reason = "each test binary uses its own part")]
pub fn keyed(key: &str, value: &str) -> Bytes {
    let mut builder = BatchBuilder::default();
    builder.push(1_700_000_000_000, Some(key.as_bytes()), Some(value.as_bytes()), &[]);
    builder.build(BatchOptions::default())
}

#[allow(dead_code, reason = "each test binary uses its own part")]
pub fn produce(topic: &str, records: Bytes, acks: i16) -> ProduceRequest {
    ProduceRequest {
        acks,
        timeout_ms: 5000,
        topic_data: vec![k00_produce::TopicProduceData {
            name: topic.into(),
            partition_data: vec![k00_produce::PartitionProduceData { index: 0, records: Some(records) }],
            ..Default::default()
        }],
        ..ProduceRequest::default()
    }
}

#[allow(dead_code, reason = "each test binary uses its own part")]
pub fn fetch(topic: &str, offset: i64, max_wait_ms: i32) -> FetchRequest {
    FetchRequest {
        max_wait_ms,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: vec![k01_fetch::FetchTopic {
            topic: topic.into(),
            partitions: vec![k01_fetch::FetchPartition {
                fetch_offset: offset,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..FetchRequest::default()
    }
}

pub fn create(topic: &str) -> CreateTopicsRequest {
    CreateTopicsRequest {
        topics: vec![k19_create_topics::CreatableTopic {
            name: topic.into(),
            num_partitions: 1,
            replication_factor: 1,
            ..Default::default()
        }],
        timeout_ms: 5000,
        ..CreateTopicsRequest::default()
    }
}

#[allow(dead_code, reason = "each test binary uses its own part")]
pub fn values(response: &FetchResponse) -> Vec<String> {
    let records = response.responses[0].partitions[0].records.clone().unwrap_or_default();
    Batches::new(records.into_bytes())
        .flat_map(|batch| batch.unwrap().records(1 << 20).unwrap())
        .map(|record| String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap())
        .collect()
}
