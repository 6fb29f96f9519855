//! Columns of a file as those of a declared schema, and the rows that do not fit. Pure.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::util::display::array_value_to_string;

use crate::FormatError;
use crate::types::type_word;

/// How the columns of a file become those of a schema.
pub(super) struct Declared {
    schema: SchemaRef,
    /// For each column of the schema its place in the file.
    pub(super) places: Vec<usize>,
}

impl Declared {
    /// # Errors
    /// [`FormatError::MissingColumn`], [`FormatError::AmbiguousColumn`], or [`FormatError::Parquet`] for a type that
    /// cannot become the declared one.
    pub(super) fn new(schema: SchemaRef, file: &Schema) -> Result<Self, FormatError> {
        let mut places = Vec::new();
        for field in schema.fields() {
            let column = field.name();
            let found = file.fields().iter().enumerate().filter(|(_, of_file)| of_file.name() == column);
            let (place, of_file) = match *found.collect::<Vec<_>>() {
                [found] => found,
                [] => {
                    let names: Vec<&str> = file.fields().iter().map(|field| field.name().as_str()).collect();
                    return Err(FormatError::MissingColumn {
                        column: column.clone(),
                        header: names.join(","),
                    });
                }
                _ => return Err(FormatError::AmbiguousColumn { column: column.clone() }),
            };
            if !becomes(of_file.data_type(), field.data_type()) {
                let (from, to) = (type_word(of_file.data_type(), false), type_word(field.data_type(), false));
                let reason = format!("column '{column}' is {from} in the file, which does not become {to}");
                return Err(FormatError::Parquet { reason });
            }
            places.push(place);
        }
        Ok(Self { schema, places })
    }

    /// The rows of a batch of the file that fit, and the others, growing, with the reason. `columns` are those at `places`.
    pub(super) fn apply(
        &self,
        columns: &[ArrayRef],
        rows: usize,
    ) -> Result<(RecordBatch, Vec<(usize, String)>), FormatError> {
        let mut bad: Vec<Option<String>> = vec![None; rows];
        let mut arrays = Vec::new();
        let nullable: Vec<_> = self
            .schema
            .fields()
            .iter()
            .map(|field| Arc::new(field.as_ref().clone().with_nullable(true)))
            .collect();
        for (field, array) in self.schema.fields().iter().zip(columns) {
            let become_ = cast(array, field.data_type())?;
            if become_.null_count() > 0 {
                for (row, bad) in bad.iter_mut().enumerate() {
                    if bad.is_some() || !become_.is_null(row) {
                        continue;
                    }
                    let (name, word) = (field.name(), type_word(field.data_type(), false));
                    if !array.is_null(row) {
                        let value = array_value_to_string(array, row)?;
                        *bad = Some(format!("column '{name}': {value} is no {word}"));
                    } else if !field.is_nullable() {
                        *bad = Some(format!("column '{name}' may not be null"));
                    }
                }
            }
            arrays.push(become_);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(nullable)), arrays, &options)?;
        let keep: BooleanArray = bad.iter().map(|bad| Some(bad.is_none())).collect();
        let batch = filter_record_batch(&batch, &keep)?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch =
            RecordBatch::try_new_with_options(Arc::clone(&self.schema), batch.columns().to_vec(), &options)?;
        Ok((batch, bad.into_iter().enumerate().filter_map(|(row, why)| Some((row, why?))).collect()))
    }
}

/// Whether values of one type are values of another, apart from those that are too large for it.
fn becomes(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Binary, Date32, Date64, Decimal128, FixedSizeBinary, Float32, Float64, Int64, Timestamp, Utf8,
    };
    match (from, to) {
        (from, to) if from == to => true,
        (from, Utf8) => !from.is_nested(),
        (from, to) if from.is_integer() && to.is_integer() => true,
        (from, Float32 | Float64) => from.is_numeric(),
        (from, Decimal128(..)) if from.is_integer() => true,
        (Decimal128(_, from), Decimal128(_, to)) => from <= to,
        (Timestamp(..) | Date32 | Date64 | Int64, Timestamp(..)) | (Date64, Date32) => true,
        (FixedSizeBinary(_) | Utf8, Binary) => true,
        _ => false,
    }
}
