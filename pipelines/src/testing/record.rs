//! A test made of the last records of topics: what a server has goes in, and what the transforms make of it is expected.

use bytes::Bytes;
use ottla_client::{Client, ClientError, ConsumerConfig, ConsumerRecord, IsolationLevel, TopicPartition};
use ottla_formats::{Format, JsonFormat};
use serde_json::Value as Json;

use super::{TestCase, TestRow, TopicRows, run_transforms, topics, transforms_of};
use crate::diagnostic::Position;
use crate::resolve::{ResolvedPipeline, ResolvedStage, Work};

/// Rows made by a program stand nowhere.
const NOWHERE: Position = Position { line: 1, column: 1 };

/// Records of a topic that become the rows given to a test.
#[derive(Debug)]
pub struct Recorded {
    pub rows: TopicRows,
    /// Records that no row can stand for, as they have no value, and were left out.
    pub left_out: usize,
}

/// The topics that transforms read and none of them writes: what a test of them all is given.
pub fn topics_to_give(pipeline: &ResolvedPipeline) -> Vec<String> {
    let transforms = || {
        let is_transform = |work: &Work| matches!(work, Work::Query { .. } | Work::Plugin { .. });
        pipeline.stages.iter().filter(move |stage| is_transform(&stage.work))
    };
    let is_written = |topic: &String| transforms().any(|stage| stage.output.as_ref() == Some(topic));
    let mut topics: Vec<String> =
        transforms().flat_map(|stage| &stage.inputs).filter(|topic| !is_written(topic)).cloned().collect();
    topics.sort();
    topics.dedup();
    topics
}

/// The last `count` records of a topic as rows, in the order of their timestamps.
///
/// # Errors
/// The reason: the cluster refuses, or a record is no text and its topic has no schema, so that a file cannot hold it.
pub async fn last_rows(
    client: &Client,
    pipeline: &ResolvedPipeline,
    topic: &str,
    count: usize,
) -> Result<Recorded, String> {
    let records = last_records(client, topic, count).await;
    let records = records.map_err(|error| format!("reading `{topic}`: {error}"))?;
    let values: Vec<Bytes> = records.iter().filter_map(|record| record.value.clone()).collect();
    let left_out = records.len() - values.len();
    let rows = values.iter().map(|value| {
        let row = row(pipeline, topic, value);
        row.map(|value| TestRow { at: NOWHERE, value })
            .map_err(|reason| format!("a record of `{topic}`: {reason}"))
    });
    let rows = rows.collect::<Result<_, _>>()?;
    Ok(Recorded { rows: TopicRows { topic: topic.to_owned(), at: NOWHERE, rows }, left_out })
}

/// A record's value as a row: its columns where they are known, else the text that it is. A plugin sees the bytes, of which
/// columns would not keep all.
fn row(pipeline: &ResolvedPipeline, topic: &str, value: &Bytes) -> Result<Json, String> {
    let reads_bytes = |stage: &ResolvedStage| {
        matches!(stage.work, Work::Plugin { .. }) && stage.inputs.iter().any(|input| input == topic)
    };
    let known = pipeline.rows.get(topic).filter(|_| !pipeline.stages.iter().any(reads_bytes));
    if let Some(known) = known {
        let decoded = topics::named(&known.format)?.decode(&[value], &known.schema);
        let decoded = decoded.map_err(|error| error.to_string())?;
        let encoded = JsonFormat.encode(&decoded.batch).map_err(|error| error.to_string())?;
        let payloads: Vec<&[u8]> = encoded.iter().map(AsRef::as_ref).collect();
        let again = JsonFormat.decode(&payloads, &known.schema).map_err(|error| error.to_string())?;
        // A bad record is given as it is, and so is one for which JSON has no words, as NaN.
        if let Some(row) = encoded.first().filter(|_| again.batch == decoded.batch) {
            return serde_json::from_slice(row).map_err(|error| error.to_string());
        }
    }
    let text =
        std::str::from_utf8(value).map_err(|_| "it is no text, so a test cannot give it".to_owned())?;
    Ok(Json::String(text.to_owned()))
}

/// The test that these rows make: expected is all that is in the topics of the transforms when they have read them.
///
/// # Errors
/// Why the transforms do not come to the end of them.
pub async fn expectation(
    client: &Client,
    pipeline: &ResolvedPipeline,
    name: &str,
    given: Vec<TopicRows>,
) -> Result<TestCase, String> {
    let expect = Vec::new();
    let mut case = TestCase { name: name.to_owned(), at: NOWHERE, given, expect, ordered: false };
    let transforms = transforms_of(pipeline, &case);
    run_transforms(client, &transforms, &case).await?;
    let mut written: Vec<&String> =
        transforms.stages.iter().filter_map(|stage| stage.output.as_ref()).collect();
    written.sort();
    for topic in written {
        let found = topics::rows(client, &transforms, topic).await?;
        // What is neither columns nor text is the text that stands for it.
        let value = |value: Json| match value {
            Json::Object(_) | Json::String(_) => value,
            other => Json::String(other.to_string()),
        };
        let rows = found.into_iter().map(|row| TestRow { at: NOWHERE, value: value(row) }).collect();
        case.expect.push(TopicRows { topic: topic.clone(), at: NOWHERE, rows });
    }
    Ok(case)
}

/// The last committed records of a topic, of all its partitions together.
async fn last_records(
    client: &Client,
    topic: &str,
    count: usize,
) -> Result<Vec<ConsumerRecord>, ClientError> {
    let description = client.admin().describe_topic(topic).await?;
    let mut partitions = Vec::new();
    for partition in &description.partitions {
        let place = TopicPartition::new(topic, partition.partition);
        partitions.push(last_of_partition(client, &place, count).await?);
    }
    Ok(last_of_all(partitions, count))
}

/// The last records by their timestamps. Those of one partition stay in its order, whatever timestamps producers gave them: a
/// table's newest row is the last.
fn last_of_all(partitions: Vec<Vec<ConsumerRecord>>, count: usize) -> Vec<ConsumerRecord> {
    let mut placed = Vec::new();
    for (partition, records) in partitions.into_iter().enumerate() {
        let mut newest = i64::MIN;
        for record in records {
            newest = newest.max(record.timestamp_ms);
            placed.push(((newest, partition), record));
        }
    }
    placed.sort_by_key(|(place, _)| *place);
    let surplus = placed.len().saturating_sub(count);
    placed.into_iter().skip(surplus).map(|(_, record)| record).collect()
}

/// Not every offset is a record's, as ends of transactions have some too, so it is looked further back until there are enough.
/// What a transaction has that is still open is not waited for.
async fn last_of_partition(
    client: &Client,
    place: &TopicPartition,
    count: usize,
) -> Result<Vec<ConsumerRecord>, ClientError> {
    let config =
        ConsumerConfig { isolation_level: IsolationLevel::ReadCommitted, ..ConsumerConfig::default() };
    let consumer = client.consumer(config).await?;
    let places = std::slice::from_ref(place);
    let begin = consumer.beginning_offsets(places).await?.get(place).copied().unwrap_or_default();
    let end = consumer.last_stable_offsets(places).await?.get(place).copied().unwrap_or_default();
    let mut reach = i64::try_from(count).unwrap_or(i64::MAX);
    let mut records = Vec::new();
    loop {
        let from = end.saturating_sub(reach).max(begin);
        records.clear();
        consumer.assign(vec![(place.clone(), from)]).await?;
        while consumer.position(place).await? < end {
            let fetched = consumer.poll(crate::topic_log::POLL).await?;
            let wanted = fetched.into_iter().flat_map(|fetched| fetched.records);
            records.extend(wanted.filter(|record| (from..end).contains(&record.offset)));
            // Further back there may be many more than are wanted.
            let surplus = records.len().saturating_sub(count);
            records.drain(..surplus);
        }
        if records.len() >= count || from == begin {
            break;
        }
        reach = reach.saturating_mul(4);
    }
    consumer.close().await?;
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Pipeline;

    fn record(offset: i64, timestamp_ms: i64) -> ConsumerRecord {
        ConsumerRecord { offset, timestamp_ms, key: None, value: None, headers: Vec::new(), leader_epoch: -1 }
    }

    #[test]
    fn records_of_a_partition_stay_in_their_order() {
        let partitions = || {
            vec![
                vec![record(1, 10), record(2, 30), record(3, 20)],
                vec![],
                vec![record(7, 25), record(8, 40)],
            ]
        };
        let last = |count: usize| -> Vec<i64> {
            last_of_all(partitions(), count).into_iter().map(|record| record.offset).collect()
        };
        assert_eq!(last(9), [1, 7, 2, 3, 8]);
        assert_eq!(last(3), [2, 3, 8]);
        assert!(last(0).is_empty());
    }

    #[test]
    fn a_plugin_is_given_the_bytes_that_it_reads() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/lines.yaml");
        let text = "version: ottla/v1\nname: lines\nschemas: { s: { a: int } }\n\
                    topics: { raw: { schema: s }, other: { schema: s } }\n\
                    plugins: { split: { path: ../plugins/examples/split-lines/split-lines.wasm } }\n\
                    transforms:\n  lines: { from: raw, wasm: { plugin: split } }\n  sums: { sql: SELECT a FROM other }\n";
        let pipeline = Pipeline::from_text(file.as_ref(), text, &|_| None).unwrap();
        let value = Bytes::from_static(b"{\"more\": 2,  \"a\": 1}");
        let row = |topic: &str| row(pipeline.resolve(), topic, &value).unwrap();
        assert_eq!(row("raw"), Json::from("{\"more\": 2,  \"a\": 1}"));
        assert_eq!(row("other"), serde_json::json!({ "a": 1 }));
    }

    #[test]
    fn what_json_has_no_words_for_is_given_as_it_is() {
        let text = "version: ottla/v1\nname: p\nschemas: { s: { a: double, b: timestamp } }\n\
                    topics: { t: { schema: s, format: csv } }\ntransforms:\n  sums: { sql: SELECT a FROM t }\n";
        let pipeline = Pipeline::from_text("p.yaml".as_ref(), text, &|_| None).unwrap();
        let row = |value: &'static str| {
            row(pipeline.resolve(), "t", &Bytes::from_static(value.as_bytes())).unwrap()
        };
        assert_eq!(row("0.5,2013-01-01T10:00:00Z")["a"], 0.5);
        for value in
            ["NaN,2013-01-01T10:00:00Z", "-inf,2013-01-01T10:00:00Z", "no number,2013-01-01T10:00:00Z"]
        {
            assert_eq!(row(value), Json::from(value));
        }
    }
}
