//! The values of a column as texts, for what takes no types: keys and headers. Pure.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use bytes::Bytes;
use ottla_formats::timestamp::timestamp_text;

/// Each value as text, times as RFC 3339 has them; a null has none.
///
/// # Errors
/// When the type has no text.
pub(crate) fn texts(array: &ArrayRef) -> Result<Vec<Option<Bytes>>, String> {
    let cast_to = |wanted: &DataType| cast(array, wanted).map_err(|error| error.to_string());
    if let DataType::Timestamp(unit, _) = array.data_type() {
        let ticks = cast_to(&DataType::Int64)?;
        let ticks = ticks.as_primitive::<Int64Type>().iter();
        return Ok(ticks.map(|tick| tick.map(|tick| Bytes::from(timestamp_text(tick, *unit)))).collect());
    }
    let texts = cast_to(&DataType::Utf8)?;
    let texts = texts.as_string::<i32>().iter();
    Ok(texts.map(|text| text.map(|text| Bytes::copy_from_slice(text.as_bytes()))).collect())
}
