//! The file source of a Parquet file: rows from where it stopped to its end.
//!
//! Positions are rows. The offset holds, besides, the file's length and a fingerprint of its end, where its footer tells
//! of every row group: a file that was replaced is an error. A Parquet file does not grow.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use ottla_formats::parquet::{ParquetReader, ParquetRows};
use serde_json::{Map, Value};

use super::config::FileSourceConfig;
use super::reading::read_error;
use super::source::{REMEDY, open_file};
use crate::connector::{BadInput, Rows, SourceBatch, SourceContext, SourceOffset, SourceProgress};
use crate::connectors::reading_thread::{Batches, ReadingThread};
use crate::error::ConnectorError;
use crate::fingerprint::fingerprint;

/// How much of the file's end the fingerprint covers, at most.
const END_BYTES_MAX: u64 = 4096;

/// What the thread owns.
struct Reading {
    path: PathBuf,
    reader: ParquetReader,
    /// By what the file is known again.
    known: Map<String, Value>,
}

/// Starts to read a file from where an earlier run stopped.
pub(super) fn open(
    config: &FileSourceConfig,
    context: SourceContext,
) -> Result<ReadingThread, ConnectorError> {
    let path = config.path.clone();
    let file = open_file(&path)?;
    let known = known(&file).map_err(|error| read_error(&path, &error))?;
    let unusable = |error| {
        ConnectorError::fatal(format!("reading {}", path.display()), error)
            .remedy("make the schema (`to.schema`) fit the file, or the file a whole Parquet file")
    };
    let mut reader = ParquetReader::open(file, context.schema, config.batch_size).map_err(unusable)?;
    let position = match &context.offset {
        Some(offset) => check(offset, &known, &path)?,
        None => 0,
    };
    reader.seek(position).map_err(unusable)?;
    let progress = SourceProgress { position, total: reader.rows() };
    let reading = Reading { path: path.clone(), reader, known };
    ReadingThread::start(format!("file-{}", context.name), progress, |batches| reading.run(batches))
        .map_err(|error| ConnectorError::retriable(format!("reading {}", path.display()), error))
}

/// The length of a file and a fingerprint of its end.
fn known(file: &File) -> std::io::Result<Map<String, Value>> {
    let length = file.metadata()?.len();
    let covered = length.min(END_BYTES_MAX);
    let mut end = vec![0; usize::try_from(covered).unwrap_or(0)];
    file.read_exact_at(&mut end, length - covered)?;
    Ok(Map::from_iter([
        ("file_bytes".to_owned(), Value::from(length)),
        ("end_fingerprint".to_owned(), Value::from(fingerprint([&end[..]]))),
    ]))
}

/// The rows that are read already, if this is still the file that the offset is of.
fn check(offset: &SourceOffset, known: &Map<String, Value>, path: &Path) -> Result<u64, ConnectorError> {
    let what = || format!("reading on in {} after {} rows", path.display(), offset.position);
    for (field, now) in known {
        match offset.state.get(field) {
            Some(then) if then == now => {}
            Some(_) => {
                let reason = "the file is another one than when it was read: it was replaced";
                return Err(ConnectorError::fatal(what(), reason).remedy(REMEDY));
            }
            None => {
                let reason = "the stored offset is not of a Parquet file";
                return Err(ConnectorError::fatal(what(), reason).remedy(REMEDY));
            }
        }
    }
    Ok(offset.position)
}

impl Reading {
    /// Reads to the end of the file, to an error, or until nobody wants the batches any more.
    fn run(mut self, sender: &Batches) {
        while let Some(rows) = self.reader.next_batch().transpose() {
            let batch = rows.map(|rows| self.source_batch(rows)).map_err(|error| {
                ConnectorError::fatal(format!("reading {}", self.path.display()), error)
                    .remedy("put a file there that is not damaged")
            });
            let failed = batch.is_err();
            if sender.blocking_send(batch).is_err() || failed {
                return;
            }
        }
    }

    fn source_batch(&self, rows: ParquetRows) -> SourceBatch {
        let bad = rows.bad.into_iter().map(|bad| BadInput {
            position: bad.position,
            line: None,
            raw: bad.raw,
            reason: bad.reason,
        });
        SourceBatch {
            positions: rows.positions,
            bad: bad.collect(),
            rows: Rows::Arrow(rows.batch),
            resume: SourceOffset { position: rows.resume, state: self.known.clone() },
        }
    }
}
