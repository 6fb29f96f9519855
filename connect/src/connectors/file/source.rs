//! The file source: a CSV file or a file of JSON lines, from where it stopped to its end, or on as it grows; or a Parquet
//! file (`parquet.rs`).
//!
//! A thread of its own reads and parses, at most two batches ahead. The offset holds, besides the byte position and line,
//! by what the file is known again (`known.rs`). One that follows the file goes through its rotations; for one that reads
//! to the end, a file that was replaced or shortened is an error, since reading on in the middle of other data would be
//! silently wrong.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use ottla_formats::{FormatError, Position};

use super::config::{FileFormat, FileSourceConfig};
use super::known::{Known, Mark};
use super::lines::{LineFormat, LinesReader};
use super::parquet;
use super::reading::{CHUNK_BYTES, Follow, Reading, read_error};
use super::rotation::{self, Found};
use crate::connector::{Source, SourceBatch, SourceContext, SourceOffset, SourceProgress};
use crate::connectors::reading_thread::ReadingThread;
use crate::error::ConnectorError;

/// A file being read.
pub(crate) struct FileSource {
    thread: ReadingThread,
    is_bounded: bool,
}

/// The file to begin with, and where.
struct Place {
    file: File,
    /// The start of the rows unless an earlier run stopped elsewhere.
    from: Option<Position>,
    bytes_before: u64,
}

impl FileSource {
    pub(crate) fn open(config: &FileSourceConfig, context: SourceContext) -> Result<Self, ConnectorError> {
        if config.format == FileFormat::Parquet {
            return Ok(Self { thread: parquet::open(config, context)?, is_bounded: true });
        }
        let path = config.path.clone();
        let failed = |error: std::io::Error| read_error(&path, &error);
        let follow = config.poll_interval_ms.map(|interval_ms| Follow {
            interval: Duration::from_millis(interval_ms.into()),
            rotate_wait: Duration::from_millis(config.rotate_wait_ms.into()),
        });
        let Place { mut file, from, bytes_before } = match &context.offset {
            None => Place { file: open_file(&path)?, from: None, bytes_before: 0 },
            Some(offset) => {
                let mark = stored(offset, &path)?;
                if follow.is_some() { followed(mark, &path)? } else { unchanged(mark, &path)? }
            }
        };

        let unusable = |error: FormatError| {
            ConnectorError::fatal(format!("reading {}", path.display()), error)
                .remedy("make the schema (`to.schema`) and the connector's options fit the file")
        };
        let format = if config.format == FileFormat::Csv {
            LineFormat::Csv(config.csv_options(), context.schema)
        } else {
            LineFormat::Json(context.schema.ok_or_else(|| {
                ConnectorError::fatal(format!("reading {}", path.display()), "JSON lines name no columns")
                    .remedy("give the source a schema (`to.schema`)")
            })?)
        };
        let mut reader = format.reader().map_err(unusable)?;
        read_header(&mut reader, &mut file, &path, follow.is_some(), unusable)?;
        // The header is read either way; the rows start where an earlier run stopped, or just after it.
        let from = from.unwrap_or_else(|| reader.position());
        reader.seek(from);
        file.seek(SeekFrom::Start(from.byte)).map_err(failed)?;

        let size = file.metadata().map_err(failed)?.len().max(from.byte);
        let progress = SourceProgress { position: bytes_before + from.byte, total: bytes_before + size };
        let reading = Reading {
            path: path.clone(),
            known: Known::read(&file, from.byte).map_err(failed)?,
            file,
            reader,
            bytes_before,
            format,
            batch_size: config.batch_size,
            follow,
            leave_at: None,
            is_leaving: false,
            previous: None,
        };
        let thread =
            ReadingThread::start(format!("file-{}", context.name), progress, |batches| reading.run(batches));
        let thread = thread
            .map_err(|error| ConnectorError::retriable(format!("reading {}", path.display()), error))?;
        Ok(Self { thread, is_bounded: follow.is_none() })
    }
}

#[async_trait]
impl Source for FileSource {
    async fn poll(&mut self) -> Result<Option<SourceBatch>, ConnectorError> {
        self.thread.poll().await
    }

    fn progress(&self) -> Option<SourceProgress> {
        self.is_bounded.then_some(self.thread.progress)
    }
}

fn stored(offset: &SourceOffset, path: &Path) -> Result<Mark, ConnectorError> {
    Mark::parse(offset).ok_or_else(|| {
        let what = format!("reading on in {} at byte {}", path.display(), offset.position);
        ConnectorError::fatal(what, "the stored offset lacks its line or fingerprint").remedy(REMEDY)
    })
}

/// What to do when a file is not the one that was read.
pub(super) const REMEDY: &str =
    "put the same file back, or rename the source to read this file from its start";

/// The file of a mark, if nothing has happened to it but that it has grown.
fn unchanged(mark: Mark, path: &Path) -> Result<Place, ConnectorError> {
    let failed = |error: std::io::Error| read_error(path, &error);
    let file = open_file(path)?;
    let size = file.metadata().map_err(failed)?.len();
    let what = format!("reading on in {} at byte {}", path.display(), mark.position.byte);
    if size < mark.position.byte {
        let reason = format!("the file has only {size} bytes: it was shortened since it was read");
        return Err(ConnectorError::fatal(what, reason).remedy(REMEDY));
    }
    if !mark.fits(&file).map_err(failed)? {
        let reason = "the file has other bytes than when it was read: it was replaced";
        return Err(ConnectorError::fatal(what, reason).remedy(REMEDY));
    }
    Ok(Place { file, from: Some(mark.position), bytes_before: mark.bytes_before })
}

/// The file of a mark wherever it is now, or the one that has taken its place.
fn followed(mark: Mark, path: &Path) -> Result<Place, ConnectorError> {
    let (from, bytes_before) = (Some(mark.position), mark.bytes_before);
    match rotation::find(path, &mark) {
        Ok(Found::InPlace(file)) => Ok(Place { file, from, bytes_before }),
        Ok(Found::Rotated(file)) => {
            tracing::info!(file = %path.display(), byte = mark.position.byte, "a file that was rotated is read to its end");
            Ok(Place { file, from, bytes_before })
        }
        Ok(Found::Replaced(file)) => {
            let read = mark.position.byte;
            tracing::warn!(file = %path.display(), read, "the file that was read is gone, the one of its name is read from its start");
            Ok(Place { file, from: None, bytes_before: bytes_before + read })
        }
        // Who renames a file makes the next one a little later.
        Err(error) if error.kind() == ErrorKind::NotFound => Err(match open_file(path) {
            Ok(_) => read_error(path, &error),
            Err(error) => ConnectorError { retriable: true, ..error },
        }),
        Err(error) => Err(read_error(path, &error)),
    }
}

pub(super) fn open_file(path: &Path) -> Result<File, ConnectorError> {
    let file = File::open(path).and_then(|file| {
        let is_folder = file.metadata()?.is_dir();
        if is_folder { Err(std::io::Error::from(ErrorKind::IsADirectory)) } else { Ok(file) }
    });
    file.map_err(|error| {
        let what = format!("opening {}", path.display());
        let remedy = match error.kind() {
            ErrorKind::NotFound => "create the file or set `path` to one that exists",
            ErrorKind::PermissionDenied => "make the file readable for this user",
            ErrorKind::IsADirectory => "set `path` to a file in this folder",
            _ => "check the file and its disk",
        };
        ConnectorError::fatal(what, error).remedy(remedy)
    })
}

fn read_header(
    reader: &mut LinesReader,
    file: &mut File,
    path: &Path,
    is_followed: bool,
    unusable: impl Fn(FormatError) -> ConnectorError,
) -> Result<(), ConnectorError> {
    file.seek(SeekFrom::Start(0)).map_err(|error| read_error(path, &error))?;
    let mut chunk = vec![0; CHUNK_BYTES];
    while !reader.read_header().map_err(&unusable)? {
        match file.read(&mut chunk).map_err(|error| read_error(path, &error))? {
            0 if is_followed => {
                return Err(ConnectorError::retriable(
                    format!("reading {}", path.display()),
                    "its first line, which names the columns, is not there yet",
                ));
            }
            0 => reader.end(),
            count => reader.feed(chunk.get(..count).unwrap_or(&chunk)),
        }
    }
    Ok(())
}
