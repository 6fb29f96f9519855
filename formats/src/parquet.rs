//! Parquet files: batches of rows to one file in memory, and back; and a file of any size, row group by row group.
//!
//! A file that is made here is in memory at once, so whoever makes one bounds what goes into it.

mod declared;
mod file;
mod reader;
#[cfg(test)]
mod reader_tests;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

pub use reader::{BadParquetRow, ParquetReader, ParquetRows};

use crate::FormatError;

/// Rows of a row group, at most: what a reader must hold at once.
const ROW_GROUP_ROWS_MAX: usize = 128 * 1024;

/// How pages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ParquetCompression {
    None,
    Snappy,
    #[default]
    Zstd,
}

/// A file of these rows.
///
/// # Errors
/// [`FormatError::Parquet`] for a type that Parquet cannot hold.
pub fn write_parquet(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    compression: ParquetCompression,
) -> Result<Bytes, FormatError> {
    let compression = match compression {
        ParquetCompression::None => Compression::UNCOMPRESSED,
        ParquetCompression::Snappy => Compression::SNAPPY,
        ParquetCompression::Zstd => Compression::ZSTD(ZstdLevel::default()),
    };
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
        .set_created_by(concat!("ottla version ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    let mut writer =
        ArrowWriter::try_new(Vec::new(), SchemaRef::clone(schema), Some(properties)).map_err(told)?;
    for batch in batches {
        writer.write(batch).map_err(told)?;
    }
    writer.into_inner().map(Bytes::from).map_err(told)
}

/// The rows of a file in memory, in batches of at most `batch_rows`.
///
/// # Errors
/// [`FormatError::Parquet`] when it is no Parquet file, or a damaged one.
pub fn read_parquet(file: Bytes, batch_rows: usize) -> Result<Vec<RecordBatch>, FormatError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(told)?;
    let batches = reader.with_batch_size(batch_rows.max(1)).build().map_err(told)?;
    batches.map(|batch| batch.map_err(FormatError::from)).collect()
}

fn told(error: parquet::errors::ParquetError) -> FormatError {
    FormatError::Parquet { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use arrow::compute::concat_batches;
    use proptest::prelude::*;

    use super::*;
    use crate::generate::any_flat_batch;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn every_batch_comes_back(
            batch in any_flat_batch(),
            cut in 0..20usize,
            compression in prop::sample::select(vec![
                ParquetCompression::None, ParquetCompression::Snappy, ParquetCompression::Zstd,
            ]),
        ) {
            let cut = cut.min(batch.num_rows());
            let parts = [batch.slice(0, cut), batch.slice(cut, batch.num_rows() - cut)];
            let file = write_parquet(&batch.schema(), &parts, compression).unwrap();
            let read = read_parquet(file, 7).unwrap();
            prop_assert!(read.iter().all(|batch| batch.num_rows() <= 7));
            prop_assert_eq!(concat_batches(&batch.schema(), &read).unwrap(), batch);
        }
    }

    #[test]
    fn bytes_that_are_no_file_are_refused() {
        for bytes in [&b""[..], b"PAR1", b"PAR1xxxxxxxxPAR1"] {
            let error = read_parquet(Bytes::copy_from_slice(bytes), 10).unwrap_err();
            assert!(matches!(error, FormatError::Parquet { .. }), "{error}");
        }
    }
}
