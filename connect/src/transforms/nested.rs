//! Changes of columns that are structs: `Flatten$Value`, `HoistField$Value`, `ExtractField$Value`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StructArray, make_array};
use arrow::buffer::NullBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, FieldRef};

use super::columns::{Changed, build, columns_of, place_of};

/// `Flatten$Value`: structs become columns, named by all their fields on the way. Lists stay.
pub(super) fn flatten(batch: &RecordBatch, delimiter: &str) -> Changed {
    let mut flat = Vec::new();
    for (field, array) in columns_of(batch) {
        flatten_into(String::new(), field, array, None, delimiter, &mut flat)?;
    }
    build(batch, flat)
}

fn flatten_into(
    before: String,
    field: FieldRef,
    array: ArrayRef,
    parent: Option<&NullBuffer>,
    delimiter: &str,
    flat: &mut Vec<(FieldRef, ArrayRef)>,
) -> Result<(), String> {
    let name = before + field.name();
    let nulls = NullBuffer::union(array.logical_nulls().as_ref(), parent);
    let Some(whole) = array.as_struct_opt() else {
        // A field of a struct that is not there is not there either.
        let is_nullable = field.is_nullable() || parent.is_some();
        let array = match parent {
            Some(_) => {
                let data = array.to_data().into_builder().nulls(nulls).build();
                make_array(data.map_err(|error| error.to_string())?)
            }
            None => array,
        };
        let field = Field::clone(&field).with_name(name).with_nullable(is_nullable);
        flat.push((Arc::new(field), array));
        return Ok(());
    };
    // Columns must be the same whatever the rows are.
    let present = NullBuffer::new_valid(array.len());
    let nulls = nulls.or_else(|| (field.is_nullable() || parent.is_some()).then_some(present));
    for (inner, values) in whole.fields().iter().zip(whole.columns()) {
        let before = format!("{name}{delimiter}");
        flatten_into(before, Arc::clone(inner), Arc::clone(values), nulls.as_ref(), delimiter, flat)?;
    }
    Ok(())
}

/// `HoistField$Value`: the whole becomes one column.
pub(super) fn hoist(batch: &RecordBatch, name: &str) -> Changed {
    let whole = StructArray::from(batch.clone());
    let field = Field::new(name, whole.data_type().clone(), false);
    build(batch, vec![(Arc::new(field), Arc::new(whole))])
}

/// `ExtractField$Value`: a column that is a struct becomes the whole.
pub(super) fn extract(batch: &RecordBatch, name: &str) -> Changed {
    let place = place_of(batch, name)?;
    let array = batch.column(place);
    let Some(whole) = array.as_struct_opt() else {
        let word = array.data_type();
        return Err(format!(
            "column '{name}' is of type {word}; only one with fields can be the whole value"
        ));
    };
    let columns = whole.fields().iter().cloned().zip(whole.columns().iter().cloned()).collect();
    let (extracted, _) = build(batch, columns)?;
    let bad: Vec<(usize, String)> = (0..array.len())
        .filter(|row| array.is_null(*row))
        .map(|row| (row, format!("column '{name}' is null, and so would be the value")))
        .collect();
    if bad.is_empty() {
        return Ok((extracted, bad));
    }
    let keep: BooleanArray = (0..array.len()).map(|row| Some(!array.is_null(row))).collect();
    Ok((filter_record_batch(&extracted, &keep).map_err(|error| error.to_string())?, bad))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{DataType, Schema};
    use ottla_formats::{Format as _, JsonFormat};

    fn batch() -> RecordBatch {
        let inner = Field::new_struct("in", vec![Field::new("n", DataType::Int64, false)], true);
        let place = Field::new(
            "place",
            DataType::Struct(vec![inner, Field::new("name", DataType::Utf8, true)].into()),
            true,
        );
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false), place]));
        let payloads: [&[u8]; 3] = [
            br#"{"id": 1, "place": {"in": {"n": 7}, "name": "a"}}"#,
            br#"{"id": 2, "place": null}"#,
            br#"{"id": 3, "place": {"in": null, "name": null}}"#,
        ];
        let decoded = JsonFormat.decode(&payloads, &schema).unwrap();
        assert!(decoded.bad.is_empty(), "{:?}", decoded.bad);
        decoded.batch
    }

    fn lines(batch: &RecordBatch) -> Vec<String> {
        let values = JsonFormat.encode(batch).unwrap();
        values.iter().map(|value| String::from_utf8(value.to_vec()).unwrap()).collect()
    }

    #[test]
    fn structs_become_columns_and_what_is_not_there_is_null() {
        let (flat, _) = flatten(&batch(), "_").unwrap();
        assert_eq!(
            lines(&flat),
            [
                r#"{"id":1,"place_in_n":7,"place_name":"a"}"#,
                r#"{"id":2,"place_in_n":null,"place_name":null}"#,
                r#"{"id":3,"place_in_n":null,"place_name":null}"#,
            ]
        );
        // The columns are the same for no rows, and for rows of which all are there.
        let of = |rows: RecordBatch| flatten(&rows, "_").unwrap().0.schema();
        assert_eq!(of(RecordBatch::new_empty(batch().schema())), flat.schema());
        assert_eq!(of(batch().slice(0, 1)), flat.schema());
    }

    #[test]
    fn the_whole_is_hoisted_and_extracted_again() {
        let (hoisted, _) = hoist(&batch(), "all").unwrap();
        assert_eq!(lines(&hoisted)[1], r#"{"all":{"id":2,"place":null}}"#);
        let (back, bad) = extract(&hoisted, "all").unwrap();
        assert_eq!((lines(&back), bad), (lines(&batch()), Vec::new()));
        let (places, bad) = extract(&batch(), "place").unwrap();
        assert_eq!(lines(&places), [r#"{"in":{"n":7},"name":"a"}"#, r#"{"in":null,"name":null}"#]);
        assert_eq!(bad, [(1, "column 'place' is null, and so would be the value".to_owned())]);
        assert!(extract(&batch(), "id").unwrap_err().contains("of type Int64"));
        let twice: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let text: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
        let inner =
            StructArray::from(vec![(Arc::new(Field::new("b", DataType::Int64, false)), Arc::clone(&twice))]);
        let clash = RecordBatch::try_from_iter([("a.b", text), ("a", Arc::new(inner) as ArrayRef)]).unwrap();
        assert!(flatten(&clash, ".").unwrap_err().contains("two columns would be named 'a.b'"));
    }
}
