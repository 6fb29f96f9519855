//! The records of the `connect-configs` topic, in Kafka Connect's own form.
//!
//! | key | value |
//! |---|---|
//! | `connector-NAME` | `{"properties": {…}}`; none when the connector is deleted |
//! | `target-state-NAME` | `{"state": "STARTED", "state.v2": "STARTED"}`; stopped ones are `PAUSED` to older workers |

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::definition::Properties;

/// The topic's name, Kafka Connect's default for `config.storage.topic`.
pub(crate) const TOPIC: &str = "connect-configs";

const CONNECTOR: &str = "connector-";
const TARGET_STATE: &str = "target-state-";

/// What a connector shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TargetState {
    /// Run.
    #[default]
    Started,
    /// Keep its tasks, which do nothing.
    Paused,
    /// Have no tasks; its offsets may be changed.
    Stopped,
}

/// A record of the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ConfigRecord {
    /// A connector has these properties; none when it is deleted.
    Connector { name: String, properties: Option<Properties> },
    /// A connector shall do this.
    TargetState { name: String, state: Option<TargetState> },
}

#[derive(Serialize, Deserialize)]
struct Stored {
    properties: Properties,
}

#[derive(Serialize, Deserialize)]
struct StoredState {
    state: TargetState,
    #[serde(rename = "state.v2", default, skip_serializing_if = "Option::is_none")]
    newer: Option<TargetState>,
}

impl ConfigRecord {
    pub fn key(&self) -> Bytes {
        Bytes::from(match self {
            ConfigRecord::Connector { name, .. } => format!("{CONNECTOR}{name}"),
            ConfigRecord::TargetState { name, .. } => format!("{TARGET_STATE}{name}"),
        })
    }

    pub fn value(&self) -> Option<Bytes> {
        // Maps with text keys always have a JSON form.
        match self {
            ConfigRecord::Connector { properties, .. } => properties.as_ref().map(|properties| {
                Bytes::from(
                    serde_json::to_vec(&Stored { properties: properties.clone() }).unwrap_or_default(),
                )
            }),
            ConfigRecord::TargetState { state, .. } => state.map(|state| {
                let older = match state {
                    TargetState::Stopped => TargetState::Paused,
                    state => state,
                };
                let stored = StoredState { state: older, newer: Some(state) };
                Bytes::from(serde_json::to_vec(&stored).unwrap_or_default())
            }),
        }
    }

    /// Reads a record; `None` for those that mean nothing here, such as the tasks' configs of Kafka's workers.
    ///
    /// # Errors
    /// When it should mean something and cannot be read.
    pub fn read(key: &[u8], value: Option<&[u8]>) -> Result<Option<ConfigRecord>, String> {
        let Ok(key) = std::str::from_utf8(key) else { return Ok(None) };
        let wrong = |error: serde_json::Error| format!("{key}: {error}");
        if let Some(name) = key.strip_prefix(CONNECTOR) {
            let stored = value.map(serde_json::from_slice::<Stored>).transpose().map_err(wrong)?;
            let properties = stored.map(|stored| stored.properties);
            return Ok(Some(ConfigRecord::Connector { name: name.to_owned(), properties }));
        }
        if let Some(name) = key.strip_prefix(TARGET_STATE) {
            let stored = value.map(serde_json::from_slice::<StoredState>).transpose().map_err(wrong)?;
            let state = stored.map(|stored| stored.newer.unwrap_or(stored.state));
            return Ok(Some(ConfigRecord::TargetState { name: name.to_owned(), state }));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn they_look_as_in_kafka_connect() {
        let state = ConfigRecord::TargetState { name: "a".to_owned(), state: Some(TargetState::Stopped) };
        assert_eq!(state.key(), "target-state-a");
        assert_eq!(state.value().unwrap(), r#"{"state":"PAUSED","state.v2":"STOPPED"}"#);
        let older = ConfigRecord::read(b"target-state-a", Some(br#"{"state":"PAUSED"}"#)).unwrap();
        let paused = ConfigRecord::TargetState { name: "a".to_owned(), state: Some(TargetState::Paused) };
        assert_eq!(older, Some(paused));
        assert_eq!(ConfigRecord::read(b"task-a-0", Some(b"{}")).unwrap(), None);
        assert_eq!(ConfigRecord::read(b"\xff", Some(b"{}")).unwrap(), None);
        assert!(ConfigRecord::read(b"connector-a", Some(b"{}")).is_err());
    }

    proptest! {
        #[test]
        fn records_round_trip(
            name in "[ -~]{1,12}",
            properties in proptest::option::of(proptest::collection::btree_map(".{0,8}", ".{0,8}", 0..4)),
        ) {
            let records = [
                ConfigRecord::Connector { name: name.clone(), properties },
                ConfigRecord::TargetState { name: name.clone(), state: Some(TargetState::Paused) },
                ConfigRecord::TargetState { name, state: None },
            ];
            for record in records {
                let read = ConfigRecord::read(&record.key(), record.value().as_deref());
                prop_assert_eq!(read.unwrap(), Some(record));
            }
        }

        #[test]
        fn random_bytes_never_panic(key in any::<Vec<u8>>(), value in any::<Vec<u8>>()) {
            let _ = ConfigRecord::read(&key, Some(&value));
        }
    }
}
