//! `meta.properties`: whose a log dir is, in the form that Kafka gives it.
//!
//! ```text
//!   version=1
//!   cluster.id=4L6g3nShT-eMCtK--X86sw
//!   node.id=1
//!   directory.id=0Pz1Xgk7S7y5aW2m8QpT3A    of this log dir alone (KIP-858)
//! ```

use std::fs;
use std::io;
use std::path::Path;

use uuid::Uuid;

use super::log_dir_error::LogDirError;
use crate::ids::NodeId;
use crate::log::{LogError, write_file_durably};

const META_PROPERTIES: &str = "meta.properties";

/// Whose a log dir is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub cluster_id: String,
    pub directory_id: Uuid,
}

impl Identity {
    /// Whether a log dir has one.
    pub fn exists(dir: &Path) -> bool {
        dir.join(META_PROPERTIES).exists()
    }

    /// Refuses a log dir that has none and yet has partitions.
    pub fn refuse_partitions_without(dir: &Path) -> Result<(), LogDirError> {
        match a_partition_in(dir)? {
            Some(partition) => Err(LogDirError::NotFormatted { path: dir.to_owned(), partition }),
            None => Ok(()),
        }
    }

    /// Writes that of a log dir, durably.
    pub fn save(&self, dir: &Path, node_id: NodeId) -> Result<(), LogError> {
        let (cluster_id, directory_id) = (&self.cluster_id, kafka_uuid(self.directory_id));
        let text =
            format!("version=1\ncluster.id={cluster_id}\nnode.id={node_id}\ndirectory.id={directory_id}\n");
        write_file_durably(&dir.join(META_PROPERTIES), text.as_bytes())
    }

    /// Reads that of a log dir, or makes a new one, of `cluster` where that is known already.
    pub fn of(dir: &Path, node_id: NodeId, cluster: Option<&str>) -> Result<Identity, LogDirError> {
        let file = dir.join(META_PROPERTIES);
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Identity::refuse_partitions_without(dir)?;
                let cluster_id = cluster.map_or_else(|| kafka_uuid(Uuid::new_v4()), str::to_owned);
                let made = Identity { cluster_id, directory_id: Uuid::new_v4() };
                made.save(dir, node_id)?;
                return Ok(made);
            }
            Err(source) => return Err(LogDirError::Unusable { path: file, source }),
        };
        let property = |key: &str| {
            text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('=')).map(str::trim)
        };
        let damaged = |reason| LogDirError::Damaged { path: file.clone(), reason };
        let cluster_id = property("cluster.id").ok_or_else(|| damaged("cluster.id is missing"))?.to_owned();
        let found = property("node.id")
            .and_then(|id| id.parse().ok())
            .map(NodeId)
            .ok_or_else(|| damaged("node.id is missing"))?;
        if found != node_id {
            return Err(LogDirError::OtherNode { path: dir.to_owned(), found, expected: node_id });
        }
        if let Some(expected) = cluster.filter(|cluster| *cluster != cluster_id) {
            let (path, expected) = (dir.to_owned(), expected.to_owned());
            return Err(LogDirError::OtherCluster { path, found: cluster_id, expected });
        }
        let directory_id = match property("directory.id").and_then(parse_kafka_uuid) {
            Some(directory_id) => directory_id,
            // Kafka before 3.7 gave none. Kept from now on: the metadata log names it.
            None => {
                let directory_id = Uuid::new_v4();
                let others = text.lines().filter(|line| !line.trim().starts_with("directory.id"));
                let mut text: String = others.map(|line| format!("{line}\n")).collect();
                text.push_str(&format!("directory.id={}\n", kafka_uuid(directory_id)));
                write_file_durably(&file, text.as_bytes())?;
                directory_id
            }
        };
        Ok(Identity { cluster_id, directory_id })
    }
}

/// A folder in it with the log of a partition, by name.
fn a_partition_in(dir: &Path) -> Result<Option<String>, LogDirError> {
    let unusable = |source| LogDirError::Unusable { path: dir.to_owned(), source };
    let mut first: Option<String> = None;
    for entry in fs::read_dir(dir).map_err(unusable)? {
        let entry = entry.map_err(unusable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_named_so = name.rsplit_once('-').is_some_and(|(_, number)| number.parse::<u32>().is_ok());
        if !is_named_so {
            continue;
        }
        let Ok(mut files) = fs::read_dir(entry.path()) else { continue };
        let is_segment = |file: io::Result<fs::DirEntry>| {
            file.is_ok_and(|file| file.path().extension().is_some_and(|extension| extension == "log"))
        };
        if files.any(is_segment) {
            // The first by name, whatever the order of the folder.
            first = Some(match first {
                Some(first) => first.min(name),
                None => name,
            });
        }
    }
    Ok(first)
}

/// A UUID as Kafka writes it: URL-safe base64 without padding.
pub(crate) fn kafka_uuid(id: Uuid) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(id.as_bytes())
}

pub(crate) fn parse_kafka_uuid(text: &str) -> Option<Uuid> {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok()?;
    Uuid::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once_and_read_ever_after() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!Identity::exists(dir.path()));
        let made = Identity::of(dir.path(), NodeId(1), Some("cluster")).unwrap();
        assert_eq!(made.cluster_id, "cluster");
        assert_eq!(Identity::of(dir.path(), NodeId(1), None).unwrap(), made);
        assert!(matches!(
            Identity::of(dir.path(), NodeId(1), Some("another")),
            Err(LogDirError::OtherCluster { .. })
        ));
        assert!(matches!(Identity::of(dir.path(), NodeId(2), None), Err(LogDirError::OtherNode { .. })));
    }

    #[test]
    fn a_folder_with_partitions_and_no_identity_gets_none() {
        let dir = tempfile::tempdir().unwrap();
        let partition = dir.path().join("t-0");
        std::fs::create_dir(&partition).unwrap();
        std::fs::create_dir(dir.path().join("lost+found")).unwrap();
        std::fs::write(partition.join("leader-epoch-checkpoint"), "0\n0\n").unwrap();
        Identity::of(dir.path(), NodeId(1), None).expect("there are no records in it");
        std::fs::remove_file(dir.path().join("meta.properties")).unwrap();
        std::fs::write(partition.join("00000000000000000000.log"), "").unwrap();
        let refused = Identity::of(dir.path(), NodeId(1), None).unwrap_err();
        assert!(
            matches!(&refused, LogDirError::NotFormatted { partition, .. } if partition == "t-0"),
            "{refused}"
        );
        assert!(!Identity::exists(dir.path()));
    }

    #[test]
    fn a_folder_of_an_older_kafka_gets_an_id_that_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(META_PROPERTIES);
        fs::write(&file, "#Mon Jan 01\nversion=1\ncluster.id=c\nnode.id=1\n").unwrap();
        let made = Identity::of(dir.path(), NodeId(1), None).unwrap();
        assert_eq!(Identity::of(dir.path(), NodeId(1), None).unwrap(), made);
        assert!(fs::read_to_string(&file).unwrap().starts_with("#Mon Jan 01\nversion=1\n"));
    }
}
