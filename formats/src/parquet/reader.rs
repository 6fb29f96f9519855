//! A Parquet file row group by row group, in batches with the number of rows before and after each.

use std::fs::File;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use super::declared::Declared;
use super::file::ParquetFile;
use super::told;
use crate::json::JsonFormat;
use crate::{Format as _, FormatError};

/// Bytes of a batch, at most, as far as its row group's sizes tell.
const BATCH_BYTES_MAX: u64 = 8 << 20;

/// Reads a file from any row on. It holds the file's footer, a batch, and a page of each column.
pub struct ParquetReader {
    file: ParquetFile,
    metadata: ArrowReaderMetadata,
    declared: Option<Declared>,
    batch_rows: usize,
    rows: u64,
    /// Rows that are read.
    done: u64,
    /// The row group that is read next.
    group: usize,
    /// What is left of the row group that is read now.
    open: Option<ParquetRecordBatchReader>,
}

/// Some rows of a file, in its order.
#[derive(Debug, Clone)]
pub struct ParquetRows {
    /// The good rows.
    pub batch: RecordBatch,
    /// For each row of `batch` the number of rows of the file up to it and with it; strictly growing.
    pub positions: Vec<u64>,
    /// The rows that do not fit the declared columns.
    pub bad: Vec<BadParquetRow>,
    /// The number of rows of the file up to here: read on from it.
    pub resume: u64,
}

/// A row that does not fit the declared columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadParquetRow {
    /// The number of rows of the file up to it and with it.
    pub position: u64,
    /// What was read of it, as JSON.
    pub raw: Bytes,
    /// One sentence for a person, naming the column.
    pub reason: String,
}

impl ParquetReader {
    /// A reader that stands before the first row. With a `schema` its columns are taken by name and have its types; without
    /// one all columns have the file's own.
    ///
    /// # Errors
    /// [`FormatError::Parquet`] when it is no Parquet file, or a damaged one; [`FormatError::MissingColumn`] and its like when
    /// it does not have the schema's columns.
    pub fn open(file: File, schema: Option<SchemaRef>, batch_rows: usize) -> Result<Self, FormatError> {
        let file = ParquetFile::new(file).map_err(|error| told(error.into()))?;
        // The types of Parquet, not what its writer had in memory: a text is a text, however it was kept.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = ArrowReaderMetadata::load(&file, options).map_err(told)?;
        let declared = schema.map(|schema| Declared::new(schema, metadata.schema())).transpose()?;
        let mut rows = 0_u64;
        for group in metadata.metadata().row_groups() {
            let of_group = u64::try_from(group.num_rows()).ok();
            rows = of_group.and_then(|of_group| rows.checked_add(of_group)).ok_or_else(|| {
                FormatError::Parquet { reason: "a row group has an impossible number of rows".to_owned() }
            })?;
        }
        let batch_rows = batch_rows.max(1);
        Ok(Self { file, metadata, declared, batch_rows, rows, done: 0, group: 0, open: None })
    }

    /// The rows of the file.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Goes to the place after so many rows, at the most to the end.
    ///
    /// # Errors
    /// [`FormatError::Parquet`] when the file is damaged there.
    pub fn seek(&mut self, rows: u64) -> Result<(), FormatError> {
        (self.done, self.group, self.open) = (0, 0, None);
        while let Some(of_group) = self.rows_of_group() {
            if self.done + of_group > rows {
                self.open_group(rows - self.done)?;
                self.done = rows;
                return Ok(());
            }
            self.done += of_group;
            self.group += 1;
        }
        Ok(())
    }

    /// The next rows; `None` at the end of the file.
    ///
    /// # Errors
    /// [`FormatError::Parquet`] when the file is damaged there.
    pub fn next_batch(&mut self) -> Result<Option<ParquetRows>, FormatError> {
        loop {
            if let Some(open) = &mut self.open {
                if let Some(batch) = open.next() {
                    let batch = batch.map_err(|error| FormatError::Parquet { reason: error.to_string() })?;
                    return self.rows_of(batch).map(Some);
                }
                self.open = None;
            } else if self.rows_of_group().is_some() {
                self.open_group(0)?;
            } else if self.done == self.rows {
                return Ok(None);
            } else {
                let reason = format!("the file has {} rows of the {} that it tells", self.done, self.rows);
                return Err(FormatError::Parquet { reason });
            }
        }
    }

    fn rows_of_group(&self) -> Option<u64> {
        let group = self.metadata.metadata().row_groups().get(self.group)?;
        u64::try_from(group.num_rows()).ok()
    }

    /// Begins to read the next row group, after some of its rows.
    fn open_group(&mut self, skipped: u64) -> Result<(), FormatError> {
        let Some(group) = self.metadata.metadata().row_groups().get(self.group) else { return Ok(()) };
        let bytes = u64::try_from(group.total_byte_size()).unwrap_or(0);
        let rows = u64::try_from(group.num_rows()).unwrap_or(0);
        let row_bytes = bytes.checked_div(rows).unwrap_or(0).max(1);
        let batch_rows = usize::try_from(BATCH_BYTES_MAX / row_bytes).unwrap_or(usize::MAX);
        let mut builder =
            ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.clone(), self.metadata.clone())
                .with_row_groups(vec![self.group])
                .with_batch_size(batch_rows.clamp(1, self.batch_rows))
                .with_offset(usize::try_from(skipped).unwrap_or(usize::MAX));
        if let Some(declared) = &self.declared {
            let mask = ProjectionMask::roots(builder.parquet_schema(), declared.places.iter().copied());
            builder = builder.with_projection(mask);
        }
        self.open = Some(builder.build().map_err(told)?);
        self.group += 1;
        Ok(())
    }

    fn rows_of(&mut self, batch: RecordBatch) -> Result<ParquetRows, FormatError> {
        let before = self.done;
        let rows = batch.num_rows();
        self.done += rows as u64;
        let position = |row: usize| before + row as u64 + 1;
        let resume = self.done;
        let Some(declared) = &self.declared else {
            return Ok(ParquetRows {
                batch,
                positions: (0..rows).map(position).collect(),
                bad: Vec::new(),
                resume,
            });
        };
        // A projection keeps the order of the file.
        let columns: Vec<_> = declared
            .places
            .iter()
            .filter_map(|place| {
                let index = declared.places.iter().filter(|other| *other < place).count();
                batch.columns().get(index).cloned()
            })
            .collect();
        let (good, bad) = declared.apply(&columns, rows)?;
        let mut is_bad = vec![false; rows];
        let bad = bad.into_iter().map(|(row, reason)| {
            is_bad.get_mut(row).into_iter().for_each(|is_bad| *is_bad = true);
            let raw = JsonFormat.encode(&batch.slice(row, 1))?.pop().unwrap_or_default();
            Ok(BadParquetRow { position: position(row), raw, reason })
        });
        let bad = bad.collect::<Result<_, FormatError>>()?;
        let good_rows = is_bad.iter().enumerate().filter(|(_, is_bad)| !**is_bad);
        let positions = good_rows.map(|(row, _)| position(row)).collect();
        Ok(ParquetRows { batch: good, positions, bad, resume })
    }
}
