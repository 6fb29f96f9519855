//! Changes of columns.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray, new_null_array,
};
use arrow::compute::{cast, filter, kernels::zip::zip};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, TimestampMillisecondType};
use arrow::util::display::array_value_to_string;

use super::headers::HeaderFrom;
use super::times::{self, Pattern, Precision, Target};
use super::{Places, nested};

/// One transform's change.
#[derive(Debug)]
pub(super) enum Change {
    /// `Cast$Value`: columns get other types.
    Cast(Vec<(String, DataType)>),
    /// `ReplaceField$Value`: only some columns stay, in their order, some with other names.
    Fields { include: Option<Vec<String>>, exclude: Vec<String>, renames: Vec<(String, String)> },
    /// `MaskField$Value`: values become empty ones of their type, or a text.
    Mask { fields: Vec<String>, replacement: Option<String> },
    /// `InsertField$Value`: columns with the same text in every row.
    Insert(Vec<(String, String)>),
    /// `InsertField$Value`: columns of where the records were read.
    InsertPlace(Vec<(String, PlaceColumn)>),
    /// `HeaderFrom$Value`: columns become headers.
    HeaderFrom(HeaderFrom),
    /// `Flatten$Value`: structs become columns, with this between the names.
    Flatten(String),
    /// `HoistField$Value`: the whole becomes one column.
    Hoist(String),
    /// `ExtractField$Value`: a struct becomes the whole.
    Extract(String),
    /// `TimestampConverter$Value`: a column of times in another form.
    Time { field: String, target: Target, pattern: Option<Pattern>, precision: Precision },
}

/// What is known of where a record was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlaceColumn {
    Offset,
    Partition,
    Timestamp,
}

pub(super) type Changed = Result<(RecordBatch, Vec<(usize, String)>), String>;

impl Change {
    /// The changed rows that are still good, and the numbers of those that are not, growing, with the reason. `rows` are the
    /// rows of the batch as `places` counts them.
    pub fn apply(&self, batch: &RecordBatch, places: &Places, rows: &[usize]) -> Changed {
        match self {
            Change::Cast(spec) => cast_columns(batch, spec),
            Change::Fields { include, exclude, renames } => {
                for name in
                    include.iter().flatten().chain(exclude).chain(renames.iter().map(|(from, _)| from))
                {
                    place_of(batch, name)?;
                }
                let stays = |name: &String| {
                    include.as_ref().is_none_or(|include| include.contains(name)) && !exclude.contains(name)
                };
                let columns = columns_of(batch).filter(|(field, _)| stays(field.name()));
                let renamed = columns.map(|(field, array)| {
                    match renames.iter().find(|(from, _)| from == field.name()) {
                        Some((_, to)) => (Arc::new(Field::clone(&field).with_name(to)), array),
                        None => (field, array),
                    }
                });
                build(batch, renamed.collect())
            }
            Change::Mask { fields, replacement } => mask(batch, fields, replacement.as_deref()),
            Change::Insert(texts) => {
                let mut columns: Vec<(FieldRef, ArrayRef)> = columns_of(batch).collect();
                for (name, text) in texts {
                    if batch.schema().index_of(name).is_ok() {
                        return Err(format!("there is a column '{name}' already"));
                    }
                    let values = StringArray::from_iter_values(std::iter::repeat_n(text, batch.num_rows()));
                    columns.push((Arc::new(Field::new(name, DataType::Utf8, false)), Arc::new(values)));
                }
                build(batch, columns)
            }
            Change::InsertPlace(columns) => insert_places(batch, columns, places, rows),
            Change::HeaderFrom(headers) => headers.apply(batch),
            Change::Flatten(delimiter) => nested::flatten(batch, delimiter),
            Change::Hoist(name) => nested::hoist(batch, name),
            Change::Extract(name) => nested::extract(batch, name),
            Change::Time { field: name, target, pattern, precision } => {
                let mut columns: Vec<(FieldRef, ArrayRef)> = columns_of(batch).collect();
                let place = place_of(batch, name)?;
                let (field, array) = &columns[place];
                let in_column = |why: String| format!("column '{name}': {why}");
                let converted = times::convert(array, target, pattern.as_ref(), *precision);
                let (times, bad) = converted.map_err(in_column)?;
                let field = Field::clone(field).with_data_type(times::type_of(target));
                columns[place] = (Arc::new(field), times);
                let bad = bad.into_iter().map(|(row, why)| (row, in_column(why))).collect();
                without(batch, columns, bad)
            }
        }
    }
}

pub(super) fn columns_of(batch: &RecordBatch) -> impl Iterator<Item = (FieldRef, ArrayRef)> {
    let fields: Vec<FieldRef> = batch.schema().fields().iter().cloned().collect();
    fields.into_iter().zip(batch.columns().to_vec())
}

pub(super) fn place_of(batch: &RecordBatch, name: &str) -> Result<usize, String> {
    let schema = batch.schema();
    schema.index_of(name).map_err(|_| {
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        format!("there is no column '{name}'; there are: {}", names.join(", "))
    })
}

pub(super) fn build(before: &RecordBatch, columns: Vec<(FieldRef, ArrayRef)>) -> Changed {
    if columns.is_empty() {
        return Err("no column is left".to_owned());
    }
    let (fields, arrays): (Vec<FieldRef>, Vec<ArrayRef>) = columns.into_iter().unzip();
    let mut names: Vec<&String> = fields.iter().map(|field| field.name()).collect();
    names.sort();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("two columns would be named '{}'", twice[0]));
    }
    let schema = Schema::new_with_metadata(fields, before.schema().metadata().clone());
    let batch = RecordBatch::try_new(Arc::new(schema), arrays).map_err(|error| error.to_string())?;
    Ok((batch, Vec::new()))
}

fn cast_columns(batch: &RecordBatch, spec: &[(String, DataType)]) -> Changed {
    let mut columns: Vec<(FieldRef, ArrayRef)> = columns_of(batch).collect();
    let mut bad: BTreeMap<usize, String> = BTreeMap::new();
    for (name, wanted) in spec {
        let place = place_of(batch, name)?;
        let (field, array) = &columns[place];
        // A value that cannot be cast becomes null, which tells it from the others.
        let done = cast(array, wanted).map_err(|error| format!("column '{name}': {error}"))?;
        for row in (0..done.len()).filter(|row| done.is_null(*row) && !array.is_null(*row)) {
            let value = array_value_to_string(array, row).unwrap_or_default();
            bad.entry(row).or_insert_with(|| format!("column '{name}': {value:?} is no {wanted}"));
        }
        columns[place] = (Arc::new(Field::clone(field).with_data_type(wanted.clone())), done);
    }
    without(batch, columns, bad)
}

fn insert_places(
    batch: &RecordBatch,
    wanted: &[(String, PlaceColumn)],
    places: &Places,
    rows: &[usize],
) -> Changed {
    let mut columns: Vec<(FieldRef, ArrayRef)> = columns_of(batch).collect();
    for (name, column) in wanted {
        if batch.schema().index_of(name).is_ok() {
            return Err(format!("there is a column '{name}' already"));
        }
        let of_rows = |values: &[i64]| -> Int64Array {
            (0..batch.num_rows()).map(|row| values.get(*rows.get(row)?).copied()).collect()
        };
        let values: ArrayRef = match column {
            PlaceColumn::Offset => Arc::new(of_rows(&places.offsets)),
            PlaceColumn::Partition => {
                Arc::new(Int32Array::from_iter(std::iter::repeat_n(places.partition, batch.num_rows())))
            }
            PlaceColumn::Timestamp => {
                let millis = of_rows(&places.timestamps_ms).reinterpret_cast::<TimestampMillisecondType>();
                Arc::new(millis.with_timezone("UTC"))
            }
        };
        columns.push((Arc::new(Field::new(name, values.data_type().clone(), true)), values));
    }
    build(batch, columns)
}

/// The columns without the rows that are bad.
fn without(
    batch: &RecordBatch,
    mut columns: Vec<(FieldRef, ArrayRef)>,
    bad: BTreeMap<usize, String>,
) -> Changed {
    if !bad.is_empty() {
        let keep: BooleanArray = (0..batch.num_rows()).map(|row| Some(!bad.contains_key(&row))).collect();
        for (_, array) in &mut columns {
            *array = filter(array, &keep).map_err(|error| error.to_string())?;
        }
    }
    Ok((build(batch, columns)?.0, bad.into_iter().collect()))
}

fn mask(batch: &RecordBatch, fields: &[String], replacement: Option<&str>) -> Changed {
    let mut columns: Vec<(FieldRef, ArrayRef)> = columns_of(batch).collect();
    for name in fields {
        let place = place_of(batch, name)?;
        let (field, array) = &columns[place];
        let text = match (replacement, field.data_type()) {
            (Some(text), _) => text,
            (None, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) => "",
            (None, DataType::Boolean) => "false",
            (None, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64) => "1970-01-01",
            (None, _) => "0",
        };
        let one: ArrayRef = Arc::new(StringArray::from(vec![text]));
        let one = cast(&one, field.data_type()).map_err(|error| format!("column '{name}': {error}"))?;
        if one.is_null(0) {
            return Err(format!("column '{name}': {text:?} is no {}", field.data_type()));
        }
        let is_set: BooleanArray = (0..array.len()).map(|row| Some(!array.is_null(row))).collect();
        let nulls = new_null_array(field.data_type(), array.len());
        let masked = zip(&is_set, &arrow::array::Scalar::new(one), &nulls);
        columns[place] = (field.clone(), masked.map_err(|error| format!("column '{name}': {error}"))?);
    }
    build(batch, columns)
}
