//! JSON objects straight into columns, without a tree of values between.
//!
//! Arrow's own JSON reader is as fast, but it reads a stream (two halves of an object in two records would join), takes
//! `2.5` for the integer 2, and loses the whole batch for one bad record; so serde_json's parser drives our columns.

use std::fmt;

use arrow::datatypes::SchemaRef;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::columns::{Column, Columns, Values};
use crate::{BadRecord, Decoded, FormatError};

pub(super) const FORMAT: &str = "json";

pub(super) fn decode(payloads: &[&[u8]], schema: &SchemaRef) -> Result<Decoded, FormatError> {
    let mut rows = RowDecoder::new(schema)?;
    let mut good = Vec::with_capacity(payloads.len());
    let mut bad = Vec::new();
    for (index, payload) in (0_u32..).zip(payloads) {
        match rows.push(payload) {
            Ok(()) => good.push(index),
            Err(reason) => bad.push(BadRecord { index, reason }),
        }
    }
    Ok(Decoded { batch: rows.finish(schema)?, rows: good, bad })
}

/// Decodes record after record into one batch.
pub(super) struct RowDecoder {
    columns: Columns,
    rows: usize,
}

impl RowDecoder {
    pub(super) fn new(schema: &SchemaRef) -> Result<Self, FormatError> {
        Ok(Self { columns: Columns::new(schema.fields(), FORMAT, true)?, rows: 0 })
    }

    /// Adds one record; a bad one leaves no trace.
    pub(super) fn push(&mut self, payload: &[u8]) -> Result<(), String> {
        match self.try_push(payload) {
            Ok(()) => {
                self.rows += 1;
                Ok(())
            }
            Err(reason) => {
                self.columns.truncate(self.rows);
                Err(reason)
            }
        }
    }

    fn try_push(&mut self, payload: &[u8]) -> Result<(), String> {
        // The whole payload is checked, also the fields that nobody reads: a record is UTF-8 or it is bad.
        let text = std::str::from_utf8(payload)
            .map_err(|error| format!("not UTF-8 from byte {} on", error.valid_up_to()))?;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let row = ObjectSeed { columns: &mut self.columns, rows: self.rows };
        row.deserialize(&mut deserializer).map_err(|error| error.to_string())?;
        deserializer.end().map_err(|_| "there is more after the JSON object".to_owned())
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn finish(self, schema: &SchemaRef) -> Result<arrow::array::RecordBatch, FormatError> {
        self.columns.finish(schema, self.rows)
    }
}

/// Reads one object into the row after the first `rows` rows of these columns.
struct ObjectSeed<'a> {
    columns: &'a mut Columns,
    rows: usize,
}

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut expected = 0;
        while let Some(found) = map.next_key_seed(NameSeed { columns: self.columns, expected })? {
            let Some(column) = found.and_then(|index| self.columns.columns.get_mut(index)) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if column.len() > self.rows {
                return Err(A::Error::custom(format!("the field '{}' is there twice", column.name())));
            }
            map.next_value_seed(CellSeed { column })?;
            expected = found.unwrap_or(expected) + 1;
        }
        self.columns.fill_missing(self.rows + 1).map_err(A::Error::custom)
    }
}

/// Finds the column of a field name without making a string of it.
struct NameSeed<'a> {
    columns: &'a Columns,
    expected: usize,
}

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a field name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.columns.find(name, self.expected))
    }
}

/// Reads one value into the next cell of a column.
struct CellSeed<'a> {
    column: &'a mut Column,
}

impl<'de> DeserializeSeed<'de> for CellSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for CellSeed<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.column.append_null().map_err(E::custom)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.column.append_bool(value).map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.column.append_i64(value).map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.column.append_u64(value).map_err(E::custom)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.column.append_f64(value).map_err(E::custom)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.column.append_json_str(text).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Values::List { child, .. } = self.column.values_mut() else {
            return Err(A::Error::custom(self.column.mismatch("an array")));
        };
        while items.next_element_seed(CellSeed { column: child })?.is_some() {}
        self.column.append_nested().map_err(A::Error::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let rows = self.column.len();
        let Values::Struct(columns) = self.column.values_mut() else {
            return Err(A::Error::custom(self.column.mismatch("an object")));
        };
        ObjectSeed { columns, rows }.visit_map(map)?;
        self.column.append_nested().map_err(A::Error::custom)
    }
}
