//! The records of the `connect-offsets` topic.
//!
//! Key and value are JSON as Kafka Connect writes them, `["connector",{partition}]` and `{offset}`. The offset map holds
//! the connector's own fields and, under `ottla.topics`, the ids of the topics that were written to: a topic made anew has
//! another one, and then the offset stands for records that are gone.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::connector::{SourceOffset, SourcePartition};

/// The topic's name, Kafka Connect's default for `offset.storage.topic`.
pub(crate) const TOPIC: &str = "connect-offsets";

/// How far one partition of a source is written; of one transaction with what was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceCommit {
    /// Everything up to here is written, and nothing beyond it; `None` before the first record.
    #[serde(flatten)]
    pub(crate) resume: Option<SourceOffset>,
    /// The topics that the task writes to (its own and the dead-letter topic), by name.
    #[serde(rename = "ottla.topics", default)]
    pub(crate) topics: BTreeMap<String, WrittenTopic>,
}

/// A topic that was written to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WrittenTopic {
    pub(crate) topic_id: String,
}

impl SourceCommit {
    /// Whether the records that it stands for are still there: those of the task's own topic. Dead letters do not make a
    /// source start over.
    pub(crate) fn is_of(&self, topic: &str, topic_id: &str) -> bool {
        self.topics.get(topic).is_some_and(|written| written.topic_id == topic_id)
    }
}

/// The key under which a source partition's commits are stored.
pub(crate) fn key(connector: &str, partition: &SourcePartition) -> Bytes {
    Bytes::from(serde_json::json!([connector, partition.0]).to_string())
}

/// The source partition of a stored key, when it is one of this connector.
pub(crate) fn partition_of(key: &[u8], connector: &str) -> Option<serde_json::Value> {
    let (name, partition): (String, serde_json::Value) = serde_json::from_slice(key).ok()?;
    (name == connector && partition.is_object()).then_some(partition)
}

/// The value of a commit.
pub(crate) fn value(commit: &SourceCommit) -> Bytes {
    // A map with text keys always has a JSON form.
    Bytes::from(serde_json::to_vec(commit).unwrap_or_default())
}

/// Reads a stored commit.
pub(crate) fn parse(value: &[u8]) -> Result<SourceCommit, String> {
    serde_json::from_slice(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Map;

    #[test]
    fn keys_and_values_look_as_in_kafka_connect() {
        let partition = SourcePartition([("filename".to_owned(), "/a.csv".to_owned())].into());
        assert_eq!(key("csv", &partition), r#"["csv",{"filename":"/a.csv"}]"#);
        let mut state = Map::new();
        state.insert("line".to_owned(), 3.into());
        let written = WrittenTopic { topic_id: "id".to_owned() };
        let commit = SourceCommit {
            resume: Some(SourceOffset { position: 9, state }),
            topics: [("flights".to_owned(), written)].into(),
        };
        let text = value(&commit);
        assert_eq!(text, r#"{"position":9,"line":3,"ottla.topics":{"flights":{"topic_id":"id"}}}"#);
        assert_eq!(parse(&text).unwrap(), commit);
        assert!(commit.is_of("flights", "id"));
        assert!(!commit.is_of("flights", "another") && !commit.is_of("trains", "id"));
    }

    #[test]
    fn a_commit_before_the_first_record_round_trips() {
        let commit = SourceCommit { resume: None, topics: BTreeMap::new() };
        assert_eq!(parse(&value(&commit)).unwrap(), commit);
        assert!(parse(b"{").is_err());
        assert!(parse(b"[]").is_err());
    }
}
