//! The file source: a CSV file or a file of JSON lines, from where it stopped to its end, or on as it grows.
//!
//! A thread of its own reads and parses, at most two batches ahead. The offset holds, besides the byte position and line,
//! a fingerprint of the file's first bytes: an appended file is read on, a replaced or shortened one is an error, since
//! reading on in the middle of other data would be silently wrong. One that follows the file looks for that each time it
//! is at the end.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use ottla_formats::{CsvReader, FormatError, JsonLinesReader, Position, RowBatch};
use serde_json::{Map, Value};

use super::config::{FileFormat, FileSourceConfig};
use crate::connector::{BadInput, Rows, Source, SourceBatch, SourceContext, SourceOffset, SourceProgress};
use crate::connectors::reading_thread::{Batches, ReadingThread, wait};
use crate::error::ConnectorError;
use crate::fingerprint::fingerprint;

/// Bytes read from the file at a time.
const CHUNK_BYTES: usize = 256 * 1024;
/// How much of the file's start the fingerprint covers, at most.
const FINGERPRINT_BYTES_MAX: u64 = 4096;

/// A file being read.
pub(crate) struct FileSource {
    thread: ReadingThread,
    is_bounded: bool,
}

/// Either reader of `ottla-formats`.
enum Reader {
    Csv(CsvReader),
    JsonLines(JsonLinesReader),
}

/// What the thread owns.
struct Reading {
    path: PathBuf,
    file: File,
    reader: Reader,
    start: StartOfFile,
    batch_size: usize,
    /// How often to look for more; without it the end of the file is the end.
    poll_interval: Option<Duration>,
}

/// The first bytes of the file, to know it again.
struct StartOfFile {
    bytes: Vec<u8>,
}

impl FileSource {
    pub(crate) fn open(config: &FileSourceConfig, context: SourceContext) -> Result<Self, ConnectorError> {
        let path = config.path.clone();
        let mut file = open_file(&path)?;
        let size = file.metadata().map_err(|error| read_error(&path, &error))?.len();
        let start = StartOfFile::read(&mut file).map_err(|error| read_error(&path, &error))?;
        let resume = match &context.offset {
            Some(offset) => start.check(offset, &path, size)?,
            None => Position::START,
        };

        let unusable = |error: FormatError| {
            ConnectorError::fatal(format!("reading {}", path.display()), error)
                .remedy("make the schema (`to.schema`) and the connector's options fit the file")
        };
        let mut reader = match config.format {
            FileFormat::Csv => {
                let mut reader = CsvReader::new(config.csv_options(), context.schema).map_err(unusable)?;
                read_header(&mut reader, &mut file, &path, config.poll_interval_ms.is_some(), unusable)?;
                Reader::Csv(reader)
            }
            FileFormat::Json => {
                let schema = context.schema.ok_or_else(|| {
                    ConnectorError::fatal(format!("reading {}", path.display()), "JSON lines name no columns")
                        .remedy("give the source a schema (`to.schema`)")
                })?;
                Reader::JsonLines(JsonLinesReader::new(schema).map_err(unusable)?)
            }
        };
        // The header is read either way; the rows start where an earlier run stopped, or just after it.
        let from = match context.offset {
            Some(_) => resume,
            None => reader.position(),
        };
        reader.seek(from);
        file.seek(SeekFrom::Start(from.byte)).map_err(|error| read_error(&path, &error))?;

        let progress = SourceProgress { position: from.byte, total: size.max(from.byte) };
        let reading = Reading {
            path: path.clone(),
            file,
            reader,
            start,
            batch_size: config.batch_size,
            poll_interval: config.poll_interval_ms.map(|ms| Duration::from_millis(ms.into())),
        };
        let is_bounded = reading.poll_interval.is_none();
        let thread =
            ReadingThread::start(format!("file-{}", context.name), progress, |batches| reading.run(batches));
        let thread = thread
            .map_err(|error| ConnectorError::retriable(format!("reading {}", path.display()), error))?;
        Ok(Self { thread, is_bounded })
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

impl Reading {
    /// Reads to the end of the file (one that follows waits for more), to an error, or until nobody wants the batches any
    /// more.
    fn run(mut self, sender: &Batches) {
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut at_end = false;
        while !at_end {
            match self.file.read(&mut chunk) {
                Ok(0) => match self.poll_interval {
                    Some(interval) => {
                        if let Err(error) = self.check_followed() {
                            let _ = sender.blocking_send(Err(error));
                            return;
                        }
                        if !wait(interval, sender) {
                            return;
                        }
                        continue;
                    }
                    None => {
                        at_end = true;
                        self.reader.end();
                    }
                },
                Ok(count) => self.reader.feed(chunk.get(..count).unwrap_or(&chunk)),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    // The receiver may be gone; then nobody needs to know.
                    let _ = sender.blocking_send(Err(read_error(&self.path, &error)));
                    return;
                }
            }
            loop {
                let batch = match self.reader.next_batch(self.batch_size) {
                    Ok(Some(rows)) => Ok(self.source_batch(rows)),
                    Ok(None) => break,
                    Err(error) => {
                        Err(ConnectorError::fatal(format!("reading {}", self.path.display()), error))
                    }
                };
                let failed = batch.is_err();
                if sender.blocking_send(batch).is_err() || failed {
                    return;
                }
            }
        }
    }

    /// Whether what will be read is what follows on what has been read: the path still names this file, which has not
    /// become shorter nor got another beginning.
    fn check_followed(&mut self) -> Result<(), ConnectorError> {
        let failed = |error: std::io::Error| read_error(&self.path, &error);
        let mut named = match File::open(&self.path) {
            Ok(named) => named,
            // Who gives a file another name makes the next one a little later.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let (named_as, read_as) = (named.metadata().map_err(failed)?, self.file.metadata().map_err(failed)?);
        let read = self.file.stream_position().map_err(failed)?;
        let start = StartOfFile::read(&mut named).map_err(failed)?;
        let reason = if (named_as.dev(), named_as.ino()) != (read_as.dev(), read_as.ino()) {
            "another file has its name now"
        } else if read_as.len() < read {
            "it was shortened since it was read"
        } else if !start.bytes.starts_with(&self.start.bytes) {
            "it begins with other bytes than when it was read"
        } else {
            return Ok(());
        };
        let what = format!("following {} at byte {read}", self.path.display());
        Err(ConnectorError::fatal(what, reason)
            .remedy("give each file a source of its own; what was read of this one is in the topic"))
    }

    fn source_batch(&self, rows: RowBatch) -> SourceBatch {
        SourceBatch {
            positions: rows.positions.iter().map(|position| position.byte).collect(),
            bad: rows
                .bad
                .into_iter()
                .map(|bad| BadInput {
                    position: bad.position.byte,
                    line: Some(bad.line),
                    raw: bad.raw,
                    reason: bad.reason,
                })
                .collect(),
            rows: Rows::Arrow(rows.batch),
            resume: self.start.offset(rows.resume),
        }
    }
}

impl Reader {
    fn feed(&mut self, chunk: &[u8]) {
        match self {
            Self::Csv(reader) => reader.feed(chunk),
            Self::JsonLines(reader) => reader.feed(chunk),
        }
    }

    fn end(&mut self) {
        match self {
            Self::Csv(reader) => reader.end(),
            Self::JsonLines(reader) => reader.end(),
        }
    }

    fn position(&self) -> Position {
        match self {
            Self::Csv(reader) => reader.position(),
            Self::JsonLines(reader) => reader.position(),
        }
    }

    fn seek(&mut self, position: Position) {
        match self {
            Self::Csv(reader) => reader.seek(position),
            Self::JsonLines(reader) => reader.seek(position),
        }
    }

    fn next_batch(&mut self, rows_max: usize) -> Result<Option<RowBatch>, FormatError> {
        match self {
            Self::Csv(reader) => reader.next_batch(rows_max),
            Self::JsonLines(reader) => reader.next_batch(rows_max),
        }
    }
}

impl StartOfFile {
    fn read(file: &mut File) -> std::io::Result<Self> {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0))?;
        file.take(FINGERPRINT_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(Self { bytes })
    }

    /// The offset of a place: only bytes before it are in the fingerprint, since the file may still grow after it.
    fn offset(&self, position: Position) -> SourceOffset {
        let covered = self.bytes.len().min(usize::try_from(position.byte).unwrap_or(usize::MAX));
        let state = Map::from_iter([
            ("line".to_owned(), Value::from(position.line)),
            ("fingerprint".to_owned(), Value::from(self.fingerprint(covered))),
            ("fingerprint_bytes".to_owned(), Value::from(covered)),
        ]);
        SourceOffset { position: position.byte, state }
    }

    fn fingerprint(&self, covered: usize) -> String {
        fingerprint([self.bytes.get(..covered).unwrap_or(&self.bytes)])
    }

    /// The place to read on from, if this is still the file that the offset is of.
    fn check(&self, offset: &SourceOffset, path: &Path, size: u64) -> Result<Position, ConnectorError> {
        let what = format!("reading on in {} at byte {}", path.display(), offset.position);
        let remedy = "put the same file back, or rename the source to read this file from its start";
        let number = |field: &str| offset.state.get(field).and_then(Value::as_u64);
        let (Some(line), Some(covered), Some(fingerprint)) = (
            number("line"),
            number("fingerprint_bytes"),
            offset.state.get("fingerprint").and_then(Value::as_str),
        ) else {
            return Err(
                ConnectorError::fatal(what, "the stored offset lacks its line or fingerprint").remedy(remedy)
            );
        };
        if size < offset.position {
            let reason = format!("the file has only {size} bytes: it was shortened since it was read");
            return Err(ConnectorError::fatal(what, reason).remedy(remedy));
        }
        if self.fingerprint(usize::try_from(covered).unwrap_or(usize::MAX)) != fingerprint {
            let reason = "the file begins with other bytes than when it was read: it was replaced";
            return Err(ConnectorError::fatal(what, reason).remedy(remedy));
        }
        Ok(Position { byte: offset.position, line })
    }
}

fn open_file(path: &Path) -> Result<File, ConnectorError> {
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

fn read_error(path: &Path, error: &std::io::Error) -> ConnectorError {
    ConnectorError::retriable(format!("reading {}", path.display()), error)
}

fn read_header(
    reader: &mut CsvReader,
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
