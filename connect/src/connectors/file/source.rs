//! The file source: a CSV file or a file of JSON lines, from where it stopped to its end.
//!
//! A thread of its own reads and parses, at most two batches ahead. The offset holds, besides the byte position and line,
//! a fingerprint of the file's first bytes: an appended file is read on, a replaced or shortened one is an error, since
//! reading on in the middle of other data would be silently wrong.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use ottla_formats::{CsvReader, FormatError, JsonLinesReader, Position, RowBatch};
use serde_json::{Map, Value};

use super::config::{FileFormat, FileSourceConfig};
use crate::connector::{BadInput, Rows, Source, SourceBatch, SourceContext, SourceOffset, SourceProgress};
use crate::connectors::reading_thread::{Batches, ReadingThread};
use crate::error::ConnectorError;
use crate::fingerprint::fingerprint;

/// Bytes read from the file at a time.
const CHUNK_BYTES: usize = 256 * 1024;
/// How much of the file's start the fingerprint covers, at most.
const FINGERPRINT_BYTES_MAX: u64 = 4096;

/// A file being read.
pub(crate) struct FileSource {
    thread: ReadingThread,
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
                read_header(&mut reader, &mut file, &path, unusable)?;
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
        let reading = Reading { path: path.clone(), file, reader, start, batch_size: config.batch_size };
        let thread =
            ReadingThread::start(format!("file-{}", context.name), progress, |batches| reading.run(batches));
        let thread = thread
            .map_err(|error| ConnectorError::retriable(format!("reading {}", path.display()), error))?;
        Ok(Self { thread })
    }
}

#[async_trait]
impl Source for FileSource {
    async fn poll(&mut self) -> Result<Option<SourceBatch>, ConnectorError> {
        self.thread.poll().await
    }

    fn progress(&self) -> Option<SourceProgress> {
        Some(self.thread.progress)
    }
}

impl Reading {
    /// Reads to the end of the file, to an error, or until nobody wants the batches any more.
    fn run(mut self, sender: &Batches) {
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut at_end = false;
        while !at_end {
            match self.file.read(&mut chunk) {
                Ok(0) => {
                    at_end = true;
                    self.reader.end();
                }
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
    unusable: impl Fn(FormatError) -> ConnectorError,
) -> Result<(), ConnectorError> {
    file.seek(SeekFrom::Start(0)).map_err(|error| read_error(path, &error))?;
    let mut chunk = vec![0; CHUNK_BYTES];
    while !reader.read_header().map_err(&unusable)? {
        match file.read(&mut chunk).map_err(|error| read_error(path, &error))? {
            0 => reader.end(),
            count => reader.feed(chunk.get(..count).unwrap_or(&chunk)),
        }
    }
    Ok(())
}
