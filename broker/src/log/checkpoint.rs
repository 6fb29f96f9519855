//! Small files that must be whole or absent: written aside, synced, renamed, folder synced.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::LogError;
use crate::ids::{Offset, TopicPartition};

/// When what is written is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durable {
    /// When the call returns.
    Now,
    /// When the file system is synced: until then a crash may leave anything in the file.
    Later,
}

/// Replaces a file so that a crash leaves the old or the new content, never a mixture.
pub fn write_file_durably(path: &Path, content: &[u8]) -> Result<(), LogError> {
    replace_file(path, content, Durable::Now)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// As [`write_file_durably`], but a crash may bring the old content back until the folder is synced.
pub(super) fn replace_file(path: &Path, content: &[u8], durable: Durable) -> Result<(), LogError> {
    let aside = path.with_extension("tmp");
    let mut file = File::create(&aside).map_err(LogError::io("create", &aside))?;
    file.write_all(content).map_err(LogError::io("write", &aside))?;
    if durable == Durable::Now {
        file.sync_all().map_err(LogError::io("sync", &aside))?;
    }
    fs::rename(&aside, path).map_err(LogError::io("rename", path))
}

/// Creates a folder and those above it; when this returns, all of them outlive a crash.
pub(crate) fn create_dir_durably(dir: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.exists()).collect();
    fs::create_dir_all(dir)?;
    for created in missing {
        if let Some(parent) = created.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
    }
    Ok(())
}

/// Makes the creation, renaming and removal of files in a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), LogError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(LogError::io("sync", dir))
}

/// An offset per partition of a log dir, e.g. Kafka's `recovery-point-offset-checkpoint`: a version line, a count
/// line, then `topic partition offset` lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OffsetCheckpoint {
    /// The offsets.
    pub offsets: BTreeMap<TopicPartition, Offset>,
}

impl OffsetCheckpoint {
    /// Reads the file. A missing or damaged one gives an empty checkpoint, which only makes recovery scan more.
    pub fn load(path: &Path) -> OffsetCheckpoint {
        let Ok(text) = fs::read_to_string(path) else { return OffsetCheckpoint::default() };
        OffsetCheckpoint::parse(&text).unwrap_or_else(|| {
            tracing::warn!(path = %path.display(), "checkpoint is damaged and left out of account");
            OffsetCheckpoint::default()
        })
    }

    /// Writes the file durably.
    pub fn save(&self, path: &Path) -> Result<(), LogError> {
        write_file_durably(path, self.render().as_bytes())
    }

    fn render(&self) -> String {
        let mut text = format!("0\n{}\n", self.offsets.len());
        for (partition, offset) in &self.offsets {
            text.push_str(&format!("{} {} {}\n", partition.topic, partition.partition, offset));
        }
        text
    }

    fn parse(text: &str) -> Option<OffsetCheckpoint> {
        let mut lines = text.lines();
        if lines.next()? != "0" {
            return None;
        }
        let count: usize = lines.next()?.parse().ok()?;
        let mut offsets = BTreeMap::new();
        for line in lines {
            let mut words = line.split(' ');
            let partition = TopicPartition::new(words.next()?, words.next()?.parse().ok()?);
            offsets.insert(partition, Offset(words.next()?.parse().ok()?));
        }
        (offsets.len() == count).then_some(OffsetCheckpoint { offsets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn checkpoints_round_trip(
            entries in proptest::collection::btree_map(("[a-z._-]{1,9}", 0i32..99), 0i64..i64::MAX, 0..9)
        ) {
            let offsets = entries
                .into_iter()
                .map(|((topic, partition), offset)| (TopicPartition::new(topic, partition), Offset(offset)))
                .collect();
            let checkpoint = OffsetCheckpoint { offsets };
            prop_assert_eq!(OffsetCheckpoint::parse(&checkpoint.render()), Some(checkpoint));
        }
    }

    #[test]
    fn a_damaged_checkpoint_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recovery-point-offset-checkpoint");
        for text in ["", "1\n0\n", "0\n2\na 0 5\n", "0\n1\na x 5\n", "0\n1\na 0\n"] {
            fs::write(&path, text).unwrap();
            assert_eq!(OffsetCheckpoint::load(&path), OffsetCheckpoint::default(), "{text:?}");
        }
    }
}
