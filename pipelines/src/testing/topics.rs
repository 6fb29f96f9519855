//! The topics of a test: made, filled with the given rows, and read to their ends.

use bytes::Bytes;
use ottla_client::{Client, ClientError, Producer, ProducerConfig, Record};
use ottla_formats::{Format, JsonFormat, format_named};
use serde_json::Value as Json;

use super::TopicRows;
use crate::resolve::{ResolvedPipeline, RowsOfTopic};
use crate::run::ensure_topics;
use crate::topic_log;

/// Makes the topics.
pub(super) async fn make(client: &Client, pipeline: &ResolvedPipeline) -> Result<(), String> {
    ensure_topics(client, &pipeline.topics).await.map(|_| ())
}

/// Writes the given rows, in their order.
pub(super) async fn give(
    client: &Client,
    pipeline: &ResolvedPipeline,
    given: &TopicRows,
) -> Result<(), String> {
    let known = pipeline.rows.get(&given.topic);
    let records: Result<Vec<Record>, String> =
        given.rows.iter().map(|row| record(&row.value, known)).collect();
    let records = records.map_err(|reason| format!("a row given to `{}`: {reason}", given.topic))?;
    if records.is_empty() {
        return Ok(());
    }
    let written = async {
        let producer: Producer = client.producer(ProducerConfig::default()).await?;
        producer.send_batch(&given.topic, 0, records).await?.await?;
        producer.close().await
    };
    written.await.map_err(|error: ClientError| format!("writing to `{}`: {error}", given.topic))
}

/// A row as a record: text is the value as it is, an object is written in the topic's format.
fn record(row: &Json, known: Option<&RowsOfTopic>) -> Result<Record, String> {
    let Json::Object(columns) = row else {
        let value = row.as_str().map_or_else(|| row.to_string(), str::to_owned);
        return Ok(Record { value: Some(Bytes::from(value)), ..Record::default() });
    };
    let json = row.to_string();
    let value = match known.filter(|known| known.format != "json") {
        None => Bytes::from(json),
        Some(known) => {
            let format = named(&known.format)?;
            let decoded =
                JsonFormat.decode(&[json.as_bytes()], &known.schema).map_err(|error| error.to_string())?;
            if let Some(bad) = decoded.bad.first() {
                return Err(bad.reason.clone());
            }
            let encoded = format.encode(&decoded.batch).map_err(|error| error.to_string())?;
            encoded.into_iter().next().unwrap_or_default()
        }
    };
    let key = known.and_then(|known| known.key.as_ref()).and_then(|key| columns.get(key));
    let key = key.filter(|key| !key.is_null());
    let key = key.map(|key| Bytes::from(key.as_str().map_or_else(|| key.to_string(), str::to_owned)));
    Ok(Record { key, value: Some(value), ..Record::default() })
}

pub(super) fn named(format: &str) -> Result<std::sync::Arc<dyn Format>, String> {
    format_named(format).ok_or_else(|| format!("there is no format `{format}`"))
}

/// What a topic holds in the end: its rows in their order or, where a record replaces the one of its key, the last of
/// each key.
pub(super) async fn rows(
    client: &Client,
    pipeline: &ResolvedPipeline,
    topic: &str,
) -> Result<Vec<Json>, String> {
    let failed = |error: ClientError| format!("reading `{topic}`: {error}");
    let records = topic_log::read(client, topic).await.map_err(failed)?;
    let known = pipeline.rows.get(topic);
    let values: Vec<Bytes> = match known.is_some_and(|known| known.is_keyed) {
        false => records.into_iter().filter_map(|(_, value)| value).collect(),
        true => topic_log::last_of_each_key(records).into_values().collect(),
    };
    let json = match known.filter(|known| known.format != "json") {
        None => values,
        Some(known) => {
            let payloads: Vec<&[u8]> = values.iter().map(AsRef::as_ref).collect();
            let decoded = named(&known.format)?.decode(&payloads, &known.schema);
            let decoded = decoded.and_then(|decoded| JsonFormat.encode(&decoded.batch));
            decoded.map_err(|error| error.to_string())?
        }
    };
    let value = |bytes: Bytes| {
        serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Json::String(String::from_utf8_lossy(&bytes).into_owned()))
    };
    Ok(json.into_iter().map(value).collect())
}
