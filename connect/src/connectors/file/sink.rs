//! The file sink: JSON lines, appended, each record once.
//!
//! Beside the file stands `<path>.ottla-offsets`, a JSON document with the length up to which the file is committed and
//! the offsets consumed up to there. A commit appends, syncs the file, then replaces the document by an atomic rename;
//! the rename is the commit. When the sink is opened, what the file has beyond the committed length is cut off. What was
//! in the file before the sink first opened it stays.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use ottla_formats::{Format as _, JsonFormat};
use serde::{Deserialize, Serialize};

use crate::connector::{ConsumedOffset, Operation, Rejected, Rows, Sink, SinkBatch};
use crate::error::ConnectorError;

/// A file being appended to.
pub(crate) struct FileSink {
    files: Arc<Files>,
    committed: Committed,
    /// Lines since the last commit.
    pending: Vec<u8>,
}

struct Files {
    path: PathBuf,
    offsets_path: PathBuf,
    file: File,
}

/// The document beside the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Committed {
    connector: String,
    /// Bytes of the file that are committed.
    length: u64,
    offsets: Vec<ConsumedOffset>,
}

impl FileSink {
    pub(crate) fn open(path: &Path, connector: &str) -> Result<Self, ConnectorError> {
        let what = || format!("opening {}", path.display());
        let failed = |error: std::io::Error| {
            let remedy = match error.kind() {
                ErrorKind::NotFound => "create the folder or set `path` to another place",
                _ => "make the file and its folder writable for this user, or set `path` to another place",
            };
            ConnectorError::fatal(what(), error).remedy(remedy)
        };
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut offsets_path = path.as_os_str().to_owned();
        offsets_path.push(".ottla-offsets");
        let files = Files { path: path.to_owned(), offsets_path: PathBuf::from(offsets_path), file };

        let committed = match fs::read(&files.offsets_path) {
            Ok(bytes) => {
                let committed: Committed = serde_json::from_slice(&bytes).map_err(|error| {
                    ConnectorError::fatal(format!("reading {}", files.offsets_path.display()), error)
                        .remedy("delete it together with the file it belongs to, to start over")
                })?;
                committed.check(&files, connector, length)?;
                files.file.set_len(committed.length).map_err(failed)?;
                committed
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let committed = Committed { connector: connector.to_owned(), length, offsets: Vec::new() };
                // Before the first line, so that what is there already is never taken for a line of ours.
                files.store(&committed).map_err(failed)?;
                committed
            }
            Err(error) => return Err(failed(error)),
        };
        Ok(Self { files: Arc::new(files), committed, pending: Vec::new() })
    }
}

fn push_line(lines: &mut Vec<u8>, line: &[u8]) {
    lines.extend_from_slice(line);
    lines.push(b'\n');
}

#[async_trait]
impl Sink for FileSink {
    async fn committed(&mut self) -> Result<Vec<ConsumedOffset>, ConnectorError> {
        Ok(self.committed.offsets.clone())
    }

    async fn write(&mut self, batch: SinkBatch) -> Result<Vec<Rejected>, ConnectorError> {
        if batch.operation == Operation::Delete {
            return Err(ConnectorError::fatal("writing lines", "a line cannot be deleted"));
        }
        let values = match batch.rows {
            Rows::Arrow(batch) => {
                let lines = JsonFormat.encode(&batch).map_err(|error| {
                    ConnectorError::fatal(format!("writing {}", self.files.path.display()), error)
                })?;
                // What we write ourselves is JSON on one line.
                lines.iter().for_each(|line| push_line(&mut self.pending, line));
                return Ok(Vec::new());
            }
            Rows::Raw(values) => values,
        };
        let mut rejected = Vec::new();
        for (row, value) in values.iter().enumerate() {
            match serde_json::from_slice::<serde::de::IgnoredAny>(value) {
                Err(error) => rejected.push(Rejected { row, reason: format!("not JSON: {error}") }),
                Ok(_) if value.contains(&b'\n') || value.contains(&b'\r') => {
                    // In valid JSON a line end is only ever space between tokens.
                    let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
                    let line = value.iter().map(|byte| if is_end(byte) { b' ' } else { *byte });
                    push_line(&mut self.pending, &line.collect::<Vec<u8>>());
                }
                Ok(_) => push_line(&mut self.pending, value),
            }
        }
        Ok(rejected)
    }

    async fn commit(&mut self, offsets: &[ConsumedOffset]) -> Result<(), ConnectorError> {
        let mut next = self.committed.clone();
        next.length += self.pending.len() as u64;
        for offset in offsets {
            next.offsets.retain(|old| (&old.topic_id, old.partition) != (&offset.topic_id, offset.partition));
            next.offsets.push(offset.clone());
        }
        next.offsets.sort();
        let files = Arc::clone(&self.files);
        let lines = std::mem::take(&mut self.pending);
        let (from, stored) = (self.committed.length, next.clone());
        let written = tokio::task::spawn_blocking(move || {
            files.append(from, &lines)?;
            files.store(&stored)
        })
        .await;
        let failed = |reason: String| {
            ConnectorError::retriable(format!("writing {}", self.files.path.display()), reason)
                .remedy("make room on the disk")
        };
        written.map_err(|lost| failed(lost.to_string()))?.map_err(|error| failed(error.to_string()))?;
        self.committed = next;
        Ok(())
    }
}

impl Files {
    fn append(&self, from: u64, lines: &[u8]) -> std::io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut file = &self.file;
        file.seek(SeekFrom::Start(from))?;
        file.write_all(lines)?;
        file.sync_data()
    }

    /// Replaces the document; when this returns, the new one survives a power cut.
    fn store(&self, committed: &Committed) -> std::io::Result<()> {
        let mut temporary = self.offsets_path.as_os_str().to_owned();
        temporary.push(".tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(committed)?)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.offsets_path)?;
        match self.offsets_path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            Some(folder) => File::open(folder)?.sync_all(),
            None => File::open(".")?.sync_all(),
        }
    }
}

impl Committed {
    fn check(&self, files: &Files, connector: &str, length: u64) -> Result<(), ConnectorError> {
        let what = || format!("opening {}", files.path.display());
        if self.connector != connector {
            let reason = format!("the file is written by the connector '{}'", self.connector);
            return Err(ConnectorError::fatal(what(), reason).remedy("set `path` to a file of its own"));
        }
        if length < self.length {
            let reason = format!("{length} bytes are left of {} that were committed", self.length);
            let remedy =
                format!("put the file back, or delete {} to start over", files.offsets_path.display());
            return Err(ConnectorError::fatal(what(), reason).remedy(remedy));
        }
        Ok(())
    }
}
