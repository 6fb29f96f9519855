//! Records for the dead-letter topic: the original bytes, and headers that say where they came from and why (KIP-298).

use ottla_client::{Header, Record};

use super::input::InputRecord;
use crate::operators::Rejected;

/// Where a record failed, in Kafka Connect's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RejectingStage {
    /// Its bytes are not what the stream declares.
    ValueConverter,
    /// An expression failed, or the row was late.
    Transformation,
}

/// The dead letter of one input record.
pub(super) fn dead_letter(
    query: &str,
    topic: &str,
    partition: i32,
    record: &InputRecord,
    rejected: &Rejected,
    stage: RejectingStage,
) -> Record {
    let (stage, class) = match (stage, rejected.is_late) {
        (RejectingStage::ValueConverter, _) => ("VALUE_CONVERTER", "ottla.streams.BadRecord"),
        (RejectingStage::Transformation, false) => ("TRANSFORMATION", "ottla.streams.BadRow"),
        (RejectingStage::Transformation, true) => ("TRANSFORMATION", "ottla.streams.LateRow"),
    };
    let mut headers = record.headers.clone();
    for (name, value) in [
        ("topic", topic.to_owned()),
        ("partition", partition.to_string()),
        ("offset", record.offset.to_string()),
        ("connector.name", query.to_owned()),
        ("task.id", "0".to_owned()),
        ("stage", stage.to_owned()),
        ("class.name", "ottla.streams.Query".to_owned()),
        ("exception.class.name", class.to_owned()),
        ("exception.message", rejected.reason.clone()),
    ] {
        headers.push(Header { key: format!("__connect.errors.{name}").into(), value: Some(value.into()) });
    }
    Record {
        key: record.key.clone(),
        value: record.value.clone(),
        headers,
        timestamp_ms: Some(record.timestamp_ms),
    }
}
