//! The topic `connect-status`, in Kafka Connect's own form: what tools that read it see of connectors and tasks.
//!
//! | key | value |
//! |---|---|
//! | `status-connector-NAME` | `{"state": "RUNNING", "trace": null, "worker_id": "…", "generation": 1}`; none when it is deleted |
//! | `status-task-NAME-0` | the same of a task; none when there is no such task |

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::json;

use super::connector::{ConnectorStatus, TaskReport};

/// The topic's name, Kafka Connect's default for `status.storage.topic`.
pub(crate) const TOPIC: &str = "connect-status";

const CONNECTOR: &str = "status-connector-";
const TASK: &str = "status-task-";
/// One worker has one generation.
const GENERATION: i32 = 1;

/// The records of the topic, by key.
pub(super) type Records = BTreeMap<Bytes, Bytes>;

/// What the topic should hold. When the worker `is_leaving`, what could run is assigned to nobody.
pub(super) fn records(statuses: &[ConnectorStatus], is_leaving: bool) -> Records {
    let value = |report: &TaskReport| {
        let state = match report.state {
            "RUNNING" | "RESTARTING" if is_leaving => "UNASSIGNED",
            state => state,
        };
        let value = json!({
            "state": state, "trace": report.trace, "worker_id": report.worker_id, "generation": GENERATION,
        });
        Bytes::from(value.to_string())
    };
    let mut records = Records::new();
    for status in statuses {
        let name = &status.name;
        records.insert(Bytes::from(format!("{CONNECTOR}{name}")), value(&status.connector));
        for task in &status.tasks {
            let number = task.id.unwrap_or_default();
            records.insert(Bytes::from(format!("{TASK}{name}-{number}")), value(task));
        }
    }
    records
}

/// What is to be written so that the topic, which holds `known`, holds `wanted`; other keys are left alone.
pub(super) fn changes(known: &Records, wanted: &Records) -> Vec<(Bytes, Option<Bytes>)> {
    let is_ours = |key: &Bytes| key.starts_with(CONNECTOR.as_bytes()) || key.starts_with(TASK.as_bytes());
    let changed = wanted.iter().filter(|(key, value)| known.get(*key) != Some(value));
    let gone = known.keys().filter(|key| is_ours(key) && !wanted.contains_key(*key));
    let changed = changed.map(|(key, value)| (key.clone(), Some(value.clone())));
    changed.chain(gone.map(|key| (key.clone(), None))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: &'static str, tasks: usize) -> ConnectorStatus {
        let report = |id, trace| TaskReport { id, state, worker_id: "w:8083".to_owned(), trace };
        ConnectorStatus {
            name: "a".to_owned(),
            connector: report(None, None),
            tasks: (0..tasks).map(|id| report(Some(id), Some("why".to_owned()))).collect(),
            kind: "source",
        }
    }

    #[test]
    fn records_look_as_in_kafka_connect() {
        let written = records(&[status("RUNNING", 1)], false);
        let of = |key: &str| serde_json::from_slice::<serde_json::Value>(&written[key.as_bytes()]).unwrap();
        let connector = json!({"state": "RUNNING", "trace": null, "worker_id": "w:8083", "generation": 1});
        assert_eq!(of("status-connector-a"), connector);
        assert_eq!(of("status-task-a-0")["trace"], "why");
        let leaving = records(&[status("RUNNING", 0)], true);
        assert!(leaving.values().all(|value| value.windows(10).any(|part| part == b"UNASSIGNED")));
        assert_eq!(records(&[status("PAUSED", 1)], true), records(&[status("PAUSED", 1)], false));
    }

    #[test]
    fn only_what_has_changed_is_written_and_what_is_not_ours_stays() {
        let mut known = records(&[status("RUNNING", 2)], false);
        assert_eq!(changes(&known, &known), []);
        known.insert(Bytes::from_static(b"status-topic-t:connector-a"), Bytes::new());
        let wanted = records(&[status("PAUSED", 1)], false);
        let changed = changes(&known, &wanted);
        assert_eq!(changed.len(), 3);
        assert_eq!(changed[2], (Bytes::from_static(b"status-task-a-1"), None));
        known = wanted.clone();
        assert_eq!(changes(&known, &Records::new()).len(), 2);
    }
}
