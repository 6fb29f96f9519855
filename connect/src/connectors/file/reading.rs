//! The thread that reads lines: to the end of a file, or on as it grows and through its rotations.
//!
//! | found at the end of the file | what is read next |
//! |---|---|
//! | the same file under its name | what is written to it |
//! | the same file, shorter or with other bytes (`copytruncate`) | the rest of its copy, if there is one, then the file from its start |
//! | another file with the same bytes | that one, from the same place on |
//! | another file (`create`) | what is still written to the old one for a while, then the next younger, from its start |
//! | none | nothing: who renames a file makes the next one a little later |

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ottla_formats::RowBatch;

use super::known::{Identity, Known};
use super::lines::{LineFormat, LinesReader};
use super::rotation;
use crate::connector::{BadInput, Rows, SourceBatch};
use crate::connectors::reading_thread::{Batches, wait};
use crate::error::ConnectorError;

/// Bytes read from the file at a time.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;

/// How a growing file is followed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Follow {
    /// How often to look for more.
    pub(super) interval: Duration,
    /// How long an old file is still looked at after another has its name.
    pub(super) rotate_wait: Duration,
}

/// What the thread owns.
pub(super) struct Reading {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) reader: LinesReader,
    /// What was read of the file, up to where it stands.
    pub(super) known: Known,
    /// Bytes of the files before this one.
    pub(super) bytes_before: u64,
    pub(super) format: LineFormat,
    pub(super) batch_size: usize,
    /// Without it the end of the file is the end.
    pub(super) follow: Option<Follow>,
    /// When the file is left for the next, if another has its name.
    pub(super) leave_at: Option<Instant>,
    /// Whether it is left as soon as its end is seen once more.
    pub(super) is_leaving: bool,
    /// The file before, as long as nothing of this one is read.
    pub(super) previous: Option<Identity>,
}

/// What is to be done instead of taking what was read.
enum Next {
    Wait,
    /// What was written before the next file was begun is read first.
    LookAgain,
    /// The same bytes go on in this one.
    Same(File),
    /// The file is done, and this one is read from its start.
    New(File),
}

impl Reading {
    /// Reads to the end, to an error, or until nobody wants the batches any more.
    pub(super) fn run(mut self, sender: &Batches) {
        if let Err(error) = self.read(sender) {
            // The receiver may be gone; then nobody needs to know.
            let _ = sender.blocking_send(Err(error));
        }
    }

    fn read(&mut self, sender: &Batches) -> Result<(), ConnectorError> {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let count = match self.file.read(&mut chunk) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(read_error(&self.path, &error)),
            };
            let is_wanted = if let Some(follow) = self.follow
                && let Some(next) =
                    self.next(follow, count).map_err(|error| read_error(&self.path, &error))?
            {
                self.go_on(next, follow, sender)?
            } else if count > 0 {
                let chunk = chunk.get(..count).unwrap_or(&chunk);
                self.known.push(chunk);
                self.reader.feed(chunk);
                self.send(sender)?
            } else {
                self.reader.end();
                self.send(sender)?;
                false
            };
            if !is_wanted {
                return Ok(());
            }
        }
    }

    /// Sends the rows that are there; false when nobody wants them.
    fn send(&mut self, sender: &Batches) -> Result<bool, ConnectorError> {
        let unusable = |error| ConnectorError::fatal(format!("reading {}", self.path.display()), error);
        while let Some(rows) = self.reader.next_batch(self.batch_size).map_err(unusable)? {
            let batch = self.source_batch(rows).map_err(|error| read_error(&self.path, &error))?;
            if sender.blocking_send(Ok(batch)).is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Does what is to be done; false when nobody wants more.
    fn go_on(&mut self, next: Next, follow: Follow, sender: &Batches) -> Result<bool, ConnectorError> {
        match next {
            Next::Wait => Ok(wait(follow.interval, sender)),
            Next::LookAgain => Ok(true),
            Next::Same(mut file) => {
                let end = SeekFrom::Start(self.known.end());
                file.seek(end).map_err(|error| read_error(&self.path, &error))?;
                self.file = file;
                Ok(true)
            }
            Next::New(mut file) => {
                // An empty file has no header that could be missing.
                if self.known.end() > 0 {
                    self.reader.end();
                    if !self.send(sender)? {
                        return Ok(false);
                    }
                }
                tracing::info!(file = %self.path.display(), bytes = self.known.end(), "a file is done, the next is read");
                let left = self.file.metadata().map_err(|error| read_error(&self.path, &error))?;
                self.previous = Some(Identity::of(&left));
                self.bytes_before += self.known.end();
                self.known = Known::default();
                self.reader = self.format.reader().map_err(|error| {
                    ConnectorError::fatal(format!("reading {}", self.path.display()), error)
                })?;
                file.seek(SeekFrom::Start(0)).map_err(|error| read_error(&self.path, &error))?;
                self.file = file;
                (self.leave_at, self.is_leaving) = (None, false);
                Ok(true)
            }
        }
    }

    /// What is to be done after so many bytes were read; none when they are to be taken.
    fn next(&mut self, follow: Follow, count: usize) -> io::Result<Option<Next>> {
        // After reading, so that what was read is not what somebody wrote in its place.
        if !self.known.is_of(&self.file)? {
            return self.after_truncation().map(Some);
        }
        if count > 0 {
            return Ok(None);
        }
        let named = match File::open(&self.path) {
            Ok(named) => named,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Some(Next::Wait)),
            Err(error) => return Err(error),
        };
        let (named_as, read) = (Identity::of(&named.metadata()?), Identity::of(&self.file.metadata()?));
        if self.known.end() == 0
            && let Some(previous) = self.previous
            && let Some(next) = rotation::next_after(&self.path, previous)?
            && Identity::of(&next.metadata()?) != read
        {
            // It was copied and truncated before a byte was read.
            return Ok(Some(Next::New(next)));
        }
        if named_as == read {
            (self.leave_at, self.is_leaving) = (None, false);
            return Ok(Some(Next::Wait));
        }
        if self.known.is_of(&named)? && !rotation::is_there(&self.path, read)? {
            return Ok(Some(Next::Same(named)));
        }
        let leave_at = *self.leave_at.get_or_insert_with(|| Instant::now() + follow.rotate_wait);
        let next = rotation::next_after(&self.path, read)?;
        let Some(next) = next.filter(|_| leave_at <= Instant::now()) else { return Ok(Some(Next::Wait)) };
        // Who writes may go on with the old file as long as nothing is in the one that has its name.
        let found = next.metadata()?;
        let is_begun = found.len() > 0 || Identity::of(&found) != named_as;
        Ok(Some(match (is_begun, self.is_leaving) {
            (false, _) => Next::Wait,
            (true, false) => {
                self.is_leaving = true;
                Next::LookAgain
            }
            (true, true) => Next::New(next),
        }))
    }

    /// What is to be done when the file is shorter or has other bytes.
    fn after_truncation(&mut self) -> io::Result<Next> {
        if let Some(copy) = rotation::copy_of(&self.path, &self.known)? {
            // Nobody writes to a copy.
            self.leave_at = Some(Instant::now());
            return Ok(Next::Same(copy));
        }
        let read = self.known.end();
        tracing::warn!(file = %self.path.display(), read, "a file was shortened or written anew and there is no copy of it");
        self.file.try_clone().map(Next::New)
    }

    fn source_batch(&self, rows: RowBatch) -> io::Result<SourceBatch> {
        let before = self.bytes_before;
        let identity = Identity::of(&self.file.metadata()?);
        Ok(SourceBatch {
            positions: rows.positions.iter().map(|position| before + position.byte).collect(),
            bad: rows
                .bad
                .into_iter()
                .map(|bad| BadInput {
                    position: before + bad.position.byte,
                    line: Some(bad.line),
                    raw: bad.raw,
                    reason: bad.reason,
                })
                .collect(),
            rows: Rows::Arrow(rows.batch),
            resume: self.known.mark(identity, before, rows.resume).offset(),
        })
    }
}

pub(super) fn read_error(path: &Path, error: &io::Error) -> ConnectorError {
    ConnectorError::retriable(format!("reading {}", path.display()), error)
}
