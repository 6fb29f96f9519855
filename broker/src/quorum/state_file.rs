//! The file `quorum-state`: what a member of the quorum must not forget of elections, in the form that Kafka gives it.
//!
//! ```json
//! {"leaderId":1,"leaderEpoch":7,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}
//! ```
//! Version 0, which Kafka writes while voters have no directories, is read too.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use thiserror::Error;
use uuid::Uuid;

use super::types::{ElectionState, Epoch, ReplicaKey};
use crate::ids::NodeId;
use crate::log::{LogError, write_file_durably};
use crate::partition::{kafka_uuid, parse_kafka_uuid};

const FILE: &str = "quorum-state";
/// Stands for nobody.
const NOBODY: i32 = -1;

/// The file cannot be used.
#[derive(Debug, Error)]
pub enum StateFileError {
    /// It cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// It does not say what it must. Whom the node voted for is not known then, and to vote again could make two leaders.
    #[error(
        "{path} is damaged: {reason}; restore it, or where this node is the only controller, which has nobody to vote for but \
         itself, remove it"
    )]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Reads the file of a metadata log's folder; `None` where there is none.
pub fn load(dir: &Path) -> Result<Option<ElectionState>, StateFileError> {
    let path = dir.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            return Err(StateFileError::Damaged { path, reason: "it is no text".to_owned() });
        }
        Err(error) => return Err(LogError::io("read", path)(error).into()),
    };
    parse(&text).map(Some).map_err(|reason| StateFileError::Damaged { path, reason })
}

/// Writes it; when this returns it is durable. Blocking.
pub fn save(dir: &Path, state: ElectionState) -> Result<(), LogError> {
    write_file_durably(&dir.join(FILE), render(state).as_bytes())
}

fn render(state: ElectionState) -> String {
    let ElectionState { epoch, leader, voted } = state;
    let voted = voted.unwrap_or(ReplicaKey { id: NodeId(NOBODY), directory: Uuid::nil() });
    let state = json!({
        "leaderId": leader.map_or(NOBODY, |leader| leader.0),
        "leaderEpoch": epoch.0,
        "votedId": voted.id.0,
        "votedDirectoryId": kafka_uuid(voted.directory),
        "data_version": 1,
    });
    state.to_string()
}

fn parse(text: &str) -> Result<ElectionState, String> {
    let state: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let number = |key: &str| {
        let number = state.get(key).and_then(Value::as_i64).and_then(|number| i32::try_from(number).ok());
        number.ok_or_else(|| format!("{key} is missing or no number"))
    };
    let version = number("data_version")?;
    if !(0..=1).contains(&version) {
        return Err(format!("data_version {version} is unknown to this release"));
    }
    let somebody = |id: i32| (id >= 0).then_some(NodeId(id));
    let directory = match state.get("votedDirectoryId").and_then(Value::as_str) {
        Some(id) => parse_kafka_uuid(id).ok_or("votedDirectoryId is no id")?,
        None => Uuid::nil(),
    };
    let epoch = number("leaderEpoch")?;
    if epoch < 0 {
        return Err("leaderEpoch is negative".to_owned());
    }
    Ok(ElectionState {
        epoch: Epoch(epoch),
        leader: somebody(number("leaderId")?),
        voted: somebody(number("votedId")?).map(|id| ReplicaKey { id, directory }),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn states_round_trip(epoch in 0i32.., leader in -1i32..9, voted in -1i32..9, directory: u128) {
            let somebody = |id| (id >= 0).then_some(NodeId(id));
            let key = |id| ReplicaKey { id, directory: Uuid::from_u128(directory) };
            let state =
                ElectionState { epoch: Epoch(epoch), leader: somebody(leader), voted: somebody(voted).map(key) };
            prop_assert_eq!(parse(&render(state)), Ok(state));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,200}") {
            let _ = parse(&text);
        }
    }

    #[test]
    fn what_kafka_writes_is_read() {
        let of_voters_without_directories = r#"{"clusterId":"","leaderId":3,"leaderEpoch":12,"votedId":2,"appliedOffset":0,
            "currentVoters":[{"voterId":1},{"voterId":2},{"voterId":3}],"data_version":0}"#;
        let voted = ReplicaKey { id: NodeId(2), directory: Uuid::nil() };
        let state = ElectionState { epoch: Epoch(12), leader: Some(NodeId(3)), voted: Some(voted) };
        assert_eq!(parse(of_voters_without_directories), Ok(state));
        let newer = r#"{"leaderId":-1,"leaderEpoch":5,"votedId":1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAABw","data_version":1}"#;
        let voted = ReplicaKey { id: NodeId(1), directory: Uuid::from_u128(7) };
        assert_eq!(parse(newer), Ok(ElectionState { epoch: Epoch(5), leader: None, voted: Some(voted) }));
    }

    #[test]
    fn a_damaged_file_is_refused_and_none_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert!(load(dir.path()).unwrap().is_none());
        let state = ElectionState { epoch: Epoch(1), leader: Some(NodeId(1)), voted: None };
        save(dir.path(), state).unwrap();
        assert_eq!(load(dir.path()).unwrap(), Some(state));
        for damaged in ["", "{", "{}", r#"{"leaderId":1,"leaderEpoch":-2,"votedId":-1,"data_version":1}"#] {
            fs::write(dir.path().join(FILE), damaged).unwrap();
            assert!(matches!(load(dir.path()), Err(StateFileError::Damaged { .. })), "{damaged:?}");
        }
    }
}
