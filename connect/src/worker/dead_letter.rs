//! Dead letters: records that a stage could not handle, as they were, with the reason in headers.
//!
//! The headers are Kafka Connect's (KIP-298), so its tools read them; `ottla.errors.line` is added for files.

use bytes::Bytes;
use ottla_client::{Header, Record};

/// The stage that could not handle a record, in Kafka Connect's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Source bytes to rows.
    KeyOrValueConverter,
    /// Records through transforms.
    Transformation,
    /// Rows to the target.
    TaskPut,
}

impl Stage {
    fn word(self) -> &'static str {
        match self {
            Self::KeyOrValueConverter => "VALUE_CONVERTER",
            Self::Transformation => "TRANSFORMATION",
            Self::TaskPut => "TASK_PUT",
        }
    }

    /// Java has exception classes; these are the names of what happened here.
    fn exception(self) -> &'static str {
        match self {
            Self::KeyOrValueConverter | Self::Transformation => "ottla.errors.BadRecord",
            Self::TaskPut => "ottla.errors.RejectedRecord",
        }
    }
}

/// What is known of a bad record besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter<'a> {
    pub(crate) connector: &'a str,
    /// The connector's type.
    pub(crate) class: &'a str,
    pub(crate) stage: Stage,
    /// The topic it was to go to or came from.
    pub(crate) topic: &'a str,
    /// Partition and offset in the topic it came from; none for a source.
    pub(crate) place: Option<(i32, i64)>,
    pub(crate) line: Option<u64>,
    pub(crate) reason: &'a str,
}

impl Letter<'_> {
    /// The record for the dead-letter topic. `original` keeps its key, value, headers and time. A letter that is not written
    /// in a transaction has its origin in a header.
    pub(crate) fn record(&self, mut original: Record, origin: Option<Header>) -> Record {
        let mut add = |key: &'static str, value: String| {
            original.headers.push(Header { key: key.into(), value: Some(Bytes::from(value)) });
        };
        add("__connect.errors.topic", self.topic.to_owned());
        if let Some((partition, offset)) = self.place {
            add("__connect.errors.partition", partition.to_string());
            add("__connect.errors.offset", offset.to_string());
        }
        add("__connect.errors.connector.name", self.connector.to_owned());
        add("__connect.errors.task.id", "0".to_owned());
        add("__connect.errors.stage", self.stage.word().to_owned());
        add("__connect.errors.class.name", self.class.to_owned());
        add("__connect.errors.exception.class.name", self.stage.exception().to_owned());
        add("__connect.errors.exception.message", self.reason.to_owned());
        if let Some(line) = self.line {
            add("ottla.errors.line", line.to_string());
        }
        // A letter that was read from another dead-letter topic carries that one's header: ours takes its place.
        original.headers.retain(|header| header.key != super::origin::HEADER);
        original.headers.extend(origin);
        original
    }
}

#[cfg(test)]
mod tests {
    use super::super::origin::Origin;
    use super::*;

    #[test]
    fn a_letter_keeps_the_record_and_says_where_and_why() {
        let origin = Origin::new("to_db", "flights-2");
        let mut original = Record::new("JFK", "{}");
        original.headers.push(Origin::new("csv", "0a").header(7));
        original.headers.push(Header { key: "trace".into(), value: None });
        let letter = Letter {
            connector: "to_db",
            class: "sqlite",
            stage: Stage::TaskPut,
            topic: "flights",
            place: Some((2, 41)),
            line: None,
            reason: "no",
        };
        let record = letter.record(original, Some(origin.header(41)));
        assert_eq!((record.key.as_deref(), record.value.as_deref()), (Some(&b"JFK"[..]), Some(&b"{}"[..])));
        let text: Vec<String> = record
            .headers
            .iter()
            .map(|header| {
                format!(
                    "{}={}",
                    String::from_utf8_lossy(&header.key),
                    String::from_utf8_lossy(header.value.as_deref().unwrap_or(b"-"))
                )
            })
            .collect();
        assert_eq!(
            text,
            [
                "trace=-",
                "__connect.errors.topic=flights",
                "__connect.errors.partition=2",
                "__connect.errors.offset=41",
                "__connect.errors.connector.name=to_db",
                "__connect.errors.task.id=0",
                "__connect.errors.stage=TASK_PUT",
                "__connect.errors.class.name=sqlite",
                "__connect.errors.exception.class.name=ottla.errors.RejectedRecord",
                "__connect.errors.exception.message=no",
                "ottla.source=to_db/flights-2@41",
            ]
        );
    }
}
