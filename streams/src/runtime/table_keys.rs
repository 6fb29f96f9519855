//! The keys of a table's records, which name the row that a record without value deletes.

use std::sync::Arc;

use arrow::array::UInt32Array;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use bytes::Bytes;
use ottla_formats::{Format, FormatError, JsonFormat};

use crate::operators::Rows;

/// Reads keys: a JSON object of the primary key's columns or, where that is one column, its bare value.
pub(super) struct TableKeys {
    schema: SchemaRef,
}

impl TableKeys {
    /// Keys of these columns of a table.
    ///
    /// # Errors
    /// When there is no such column.
    pub(super) fn new(table: &Schema, primary_key: &[usize]) -> Result<Self, ArrowError> {
        Ok(TableKeys { schema: Arc::new(table.project(primary_key)?) })
    }

    /// The keys of records, each with its origin; `reject` hears of those that are none.
    ///
    /// # Errors
    /// When the columns have types that JSON cannot hold.
    pub(super) fn decode(
        &self,
        records: &[(u32, Option<&Bytes>)],
        reject: &mut impl FnMut(u32, String),
    ) -> Result<Rows, FormatError> {
        let mut keys: Vec<(u32, Vec<u8>)> = Vec::with_capacity(records.len());
        for (origin, key) in records {
            match key {
                Some(key) => keys.push((*origin, self.as_object(key))),
                None => reject(*origin, "it has neither key nor value, so it deletes no row".to_owned()),
            }
        }
        let payloads: Vec<&[u8]> = keys.iter().map(|(_, key)| key.as_slice()).collect();
        let decoded = JsonFormat.decode(&payloads, &self.schema)?;
        for bad in decoded.bad {
            if let Some((origin, _)) = keys.get(bad.index as usize) {
                reject(
                    *origin,
                    format!("it deletes no row, since its key is none of the table: {}", bad.reason),
                );
            }
        }
        let origins = decoded.rows.iter().filter_map(|index| keys.get(*index as usize));
        let origins = UInt32Array::from_iter_values(origins.map(|(origin, _)| *origin));
        Ok(Rows::from_records(decoded.batch, origins))
    }

    fn as_object(&self, key: &[u8]) -> Vec<u8> {
        let [column] = self.schema.fields().as_ref() else { return key.to_vec() };
        let is_object = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(key)
            .is_ok_and(|object| object.contains_key(column.name()));
        if is_object {
            return key.to_vec();
        }
        let value = match column.data_type() {
            DataType::Utf8 => {
                // Text may stand in quotes, as JSON has it, or bare.
                let quoted = serde_json::from_slice::<String>(key).ok();
                quoted.unwrap_or_else(|| String::from_utf8_lossy(key).into_owned()).into()
            }
            _ => serde_json::from_slice(key)
                .unwrap_or_else(|_| serde_json::Value::String(String::from_utf8_lossy(key).into_owned())),
        };
        serde_json::json!({ column.name(): value }).to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;

    use super::*;

    fn decoded(columns: &[(&str, DataType)], key: &'static str) -> Result<String, String> {
        let fields: Vec<Field> =
            columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), false)).collect();
        let places: Vec<usize> = (0..fields.len()).collect();
        let keys = TableKeys::new(&Schema::new(fields), &places).unwrap();
        let mut reason = None;
        let key = Bytes::from_static(key.as_bytes());
        let rows = keys.decode(&[(7, Some(&key))], &mut |_, why| reason = Some(why)).unwrap();
        match reason {
            Some(reason) => Err(reason),
            None => {
                let row = JsonFormat.encode(&rows.batch).unwrap().swap_remove(0);
                Ok(format!("{} of {:?}", String::from_utf8_lossy(&row), rows.origin(0)))
            }
        }
    }

    #[test]
    fn a_key_is_an_object_or_the_bare_value_of_one_column() {
        let text = [("id", DataType::Utf8)];
        for key in ["{\"id\":\"a\"}", "\"a\"", "a"] {
            assert_eq!(decoded(&text, key).unwrap(), "{\"id\":\"a\"} of Some(7)", "{key}");
        }
        assert_eq!(decoded(&text, "{\"x\":1}").unwrap(), "{\"id\":\"{\\\"x\\\":1}\"} of Some(7)");
        assert_eq!(decoded(&[("id", DataType::Int64)], "12").unwrap(), "{\"id\":12} of Some(7)");
        let both = [("a", DataType::Int64), ("b", DataType::Utf8)];
        assert_eq!(decoded(&both, "{\"b\":\"x\",\"a\":1}").unwrap(), "{\"a\":1,\"b\":\"x\"} of Some(7)");
    }

    #[test]
    fn what_is_no_key_is_told() {
        assert!(
            decoded(&[("id", DataType::Int64)], "x").unwrap_err().contains("its key is none of the table")
        );
    }
}
