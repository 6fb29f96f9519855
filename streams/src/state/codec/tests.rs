//! Round trips, order, hostile bytes, and the frozen bytes of version 1.

use arrow::array::{Float64Array, Int64Array, ListArray, StringArray};
use proptest::prelude::*;

use super::*;

fn round_trip(array: ArrayRef) -> ArrayRef {
    let rows = encode_rows(&[Arc::clone(&array)], array.len()).unwrap();
    let slices: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
    decode_rows(&slices, &[array.data_type().clone()]).unwrap().remove(0)
}

proptest! {
    #[test]
    fn integers_round_trip_and_keep_their_order(values in proptest::collection::vec(proptest::option::of(any::<i64>()), 0..20)) {
        let array: ArrayRef = Arc::new(Int64Array::from(values.clone()));
        prop_assert_eq!(&round_trip(Arc::clone(&array)), &array);
        let rows = encode_rows(&[array], values.len()).unwrap();
        for (a, row_a) in values.iter().zip(&rows) {
            for (b, row_b) in values.iter().zip(&rows) {
                prop_assert_eq!(a.cmp(b), row_a.cmp(row_b));
            }
        }
    }

    #[test]
    fn floats_round_trip_bit_for_bit_and_keep_their_order(values in proptest::collection::vec(any::<f64>(), 0..20)) {
        let array: ArrayRef = Arc::new(Float64Array::from(values.clone()));
        let back = round_trip(Arc::clone(&array));
        let bits: Vec<u64> = back.as_primitive::<Float64Type>().values().iter().map(|v| v.to_bits()).collect();
        prop_assert_eq!(bits, values.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
        let rows = encode_rows(&[array], values.len()).unwrap();
        for (a, row_a) in values.iter().zip(&rows) {
            for (b, row_b) in values.iter().zip(&rows) {
                prop_assert_eq!(a.total_cmp(b), row_a.cmp(row_b));
            }
        }
    }

    #[test]
    fn texts_round_trip_and_keep_their_order_before_another_column(
        values in proptest::collection::vec((proptest::option::of("[a\u{0}b\u{ff}]{0,4}"), any::<i8>()), 0..20),
    ) {
        let texts: ArrayRef = Arc::new(StringArray::from(values.iter().map(|(t, _)| t.clone()).collect::<Vec<_>>()));
        let numbers: ArrayRef = Arc::new(arrow::array::Int8Array::from(values.iter().map(|(_, n)| *n).collect::<Vec<_>>()));
        let rows = encode_rows(&[Arc::clone(&texts), Arc::clone(&numbers)], values.len()).unwrap();
        let slices: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
        let back = decode_rows(&slices, &[DataType::Utf8, DataType::Int8]).unwrap();
        prop_assert_eq!(back, vec![texts, numbers]);
        for (a, row_a) in values.iter().zip(&rows) {
            for (b, row_b) in values.iter().zip(&rows) {
                prop_assert_eq!(a.cmp(b), row_a.cmp(row_b));
            }
        }
    }

    #[test]
    fn lists_and_structs_round_trip(values in proptest::collection::vec(proptest::option::of(proptest::collection::vec(proptest::option::of(any::<i64>()), 0..4)), 0..10)) {
        let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(values.clone()));
        prop_assert_eq!(&round_trip(Arc::clone(&list)), &list);
        let fields = Fields::from(vec![arrow::datatypes::Field::new("list", list.data_type().clone(), true)]);
        let valid: Vec<bool> = values.iter().map(Option::is_some).collect();
        let nulls = NullBuffer::from(valid);
        let structs: ArrayRef = Arc::new(StructArray::new(fields, vec![list], Some(nulls)));
        prop_assert_eq!(&round_trip(Arc::clone(&structs)), &structs);
    }

    #[test]
    fn any_bytes_are_a_row_or_an_error_but_never_a_panic(bytes in proptest::collection::vec(prop_oneof![Just(0u8), Just(1u8), Just(0xFF), any::<u8>()], 0..40)) {
        let list = DataType::List(Arc::new(arrow::datatypes::Field::new("item", DataType::Utf8, true)));
        for types in [vec![DataType::Int64, DataType::Utf8], vec![list, DataType::Boolean], vec![DataType::Utf8View]] {
            let _ = decode_rows(&[&bytes], &types);
        }
    }
}

#[test]
fn every_flat_type_round_trips() {
    for data_type in [
        DataType::Boolean,
        DataType::Int8,
        DataType::UInt64,
        DataType::Float32,
        DataType::LargeUtf8,
        DataType::Utf8View,
        DataType::Binary,
        DataType::LargeBinary,
        DataType::BinaryView,
        DataType::Date32,
        DataType::Date64,
        DataType::Null,
        DataType::Time32(TimeUnit::Second),
        DataType::Time64(TimeUnit::Nanosecond),
        DataType::Decimal128(10, 2),
        DataType::Decimal256(40, 3),
        DataType::Duration(TimeUnit::Millisecond),
        DataType::Timestamp(TimeUnit::Millisecond, Some(Arc::from("UTC"))),
        DataType::Timestamp(TimeUnit::Nanosecond, None),
    ] {
        assert!(can_store(&data_type), "{data_type}");
        let zeros = arrow::array::new_null_array(&data_type, 2);
        assert_eq!(&round_trip(Arc::clone(&zeros)), &zeros, "{data_type}");
        let one =
            datafusion::common::ScalarValue::new_default(&data_type).unwrap().to_array_of_size(2).unwrap();
        assert_eq!(&round_trip(Arc::clone(&one)), &one, "{data_type}");
    }
}

#[test]
fn the_bytes_of_version_1_never_change() {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![Some("JF\u{0}K")])),
        Arc::new(Int64Array::from(vec![-2])),
        Arc::new(Float64Array::from(vec![1.5])),
        Arc::new(Int64Array::from(vec![None])),
    ];
    let row = encode_rows(&columns, 1).unwrap().remove(0);
    let hex: String = row.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "014a4600ff4b0000017ffffffffffffffe01bff800000000000000");
}
