//! Random schemas, batches and texts for the property tests of both formats.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array,
    Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, TimestampMillisecondArray, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// A batch of one to four nullable columns of any flat type and up to twenty rows.
pub(crate) fn any_flat_batch() -> impl Strategy<Value = RecordBatch> {
    (0_usize..20).prop_flat_map(|rows| vec(any_column(rows), 1..5)).prop_map(|columns| {
        let fields: Vec<Field> = columns
            .iter()
            .enumerate()
            .map(|(index, column)| Field::new(format!("c{index}"), column.data_type().clone(), true))
            .collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    })
}

fn any_column(rows: usize) -> impl Strategy<Value = ArrayRef> {
    prop_oneof![
        vec(option::of(any::<bool>()), rows)
            .prop_map(|values| Arc::new(BooleanArray::from(values)) as ArrayRef),
        vec(option::of(any::<i64>()), rows).prop_map(|values| Arc::new(Int64Array::from(values)) as ArrayRef),
        vec(option::of(any::<i8>()), rows).prop_map(|values| Arc::new(Int8Array::from(values)) as ArrayRef),
        vec(option::of(any::<u64>()), rows)
            .prop_map(|values| Arc::new(UInt64Array::from(values)) as ArrayRef),
        vec(option::of(finite_f64()), rows)
            .prop_map(|values| Arc::new(Float64Array::from(values)) as ArrayRef),
        vec(option::of(finite_f32()), rows)
            .prop_map(|values| Arc::new(Float32Array::from(values)) as ArrayRef),
        vec(option::of(any_text()), rows).prop_map(|values| Arc::new(StringArray::from(values)) as ArrayRef),
        vec(option::of(any_text()), rows).prop_map(|values| {
            let text: ArrayRef = Arc::new(StringArray::from(values));
            cast(&text, &DataType::Utf8View).unwrap()
        }),
        vec(option::of(vec(any::<u8>(), 0..6)), rows).prop_map(|values| {
            Arc::new(values.iter().map(Option::as_deref).collect::<BinaryArray>()) as ArrayRef
        }),
        vec(option::of(any::<i64>()), rows).prop_map(|values| {
            Arc::new(TimestampMillisecondArray::from(values).with_timezone("UTC")) as ArrayRef
        }),
        vec(option::of(any::<i64>()), rows)
            .prop_map(|values| Arc::new(TimestampMicrosecondArray::from(values)) as ArrayRef),
        vec(option::of(-1_000_000..1_000_000), rows)
            .prop_map(|values| Arc::new(Date32Array::from(values)) as ArrayRef),
        vec(option::of(-99_999_999_999_999_i128..=99_999_999_999_999), rows).prop_map(|values| {
            Arc::new(Decimal128Array::from(values).with_precision_and_scale(14, 3).unwrap()) as ArrayRef
        }),
    ]
}

fn finite_f64() -> impl Strategy<Value = f64> {
    any::<f64>().prop_filter("JSON has no word for it", |value| value.is_finite())
}

fn finite_f32() -> impl Strategy<Value = f32> {
    any::<f32>().prop_filter("JSON has no word for it", |value| value.is_finite())
}

/// Text with everything that a format may trip over.
pub(crate) fn any_text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{0,8}", "[\",\n\r\\\\ NAé\u{0}😀]{0,8}", "\\PC{0,6}"]
}
