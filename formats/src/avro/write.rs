//! Rows as Avro's binary encoding, by a schema: the derived one of a batch, or one that somebody gave.

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use bytes::Bytes;
use serde_json::{Value, json};

use super::schema::{AvroSchema, Kind, Logical, NodeId, type_word};
use crate::cells::{self, Cells};
use crate::error::FormatError;
use crate::timestamp::ticks_per_second;

pub(super) const FORMAT: &str = "avro";

/// The schema of rows with these columns, as JSON: a record of this full name.
///
/// # Errors
/// [`FormatError::UnsupportedType`] for a type that Avro cannot hold, and for a column whose name is none in Avro.
pub(super) fn derived(name: &str, fields: &Fields) -> Result<Value, FormatError> {
    let of = |field: &Field| -> Result<Value, FormatError> {
        check_name(field)?;
        let inner = derived_type(&format!("{name}_{}", field.name()), field)?;
        Ok(match field.is_nullable() {
            true => json!({ "name": field.name(), "type": ["null", inner], "default": null }),
            false => json!({ "name": field.name(), "type": inner }),
        })
    };
    let fields = fields.iter().map(|field| of(field)).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({ "type": "record", "name": name, "fields": fields }))
}

fn check_name(field: &Field) -> Result<(), FormatError> {
    let mut chars = field.name().chars();
    let is_name = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_');
    match is_name {
        true => Ok(()),
        false => Err(FormatError::BadName { column: field.name().clone(), format: FORMAT }),
    }
}

fn derived_type(name: &str, field: &Field) -> Result<Value, FormatError> {
    let long = |word: &str| json!({ "type": "long", "logicalType": word });
    Ok(match field.data_type() {
        DataType::Null => json!("null"),
        DataType::Boolean => json!("boolean"),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => {
            json!("int")
        }
        DataType::Int64 | DataType::UInt32 => json!("long"),
        DataType::UInt64 => json!({ "type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 0 }),
        DataType::Float16 | DataType::Float32 => json!("float"),
        DataType::Float64 => json!("double"),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            json!("bytes")
        }
        DataType::Date32 | DataType::Date64 => json!({ "type": "int", "logicalType": "date" }),
        DataType::Timestamp(unit, zone) => {
            let local = if zone.is_some() { "" } else { "local-" };
            let unit = match unit {
                TimeUnit::Second | TimeUnit::Millisecond => "millis",
                TimeUnit::Microsecond => "micros",
                TimeUnit::Nanosecond => "nanos",
            };
            long(&format!("{local}timestamp-{unit}"))
        }
        DataType::Decimal128(precision, scale) if *scale >= 0 => {
            json!({ "type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale })
        }
        DataType::List(item) => {
            let items = derived_type(&format!("{name}_item"), item)?;
            let items = if item.is_nullable() { json!(["null", items]) } else { items };
            json!({ "type": "array", "items": items })
        }
        DataType::Struct(fields) => derived(name, fields)?,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => json!("string"),
        DataType::Dictionary(_, value) => {
            derived_type(name, &Field::new(field.name(), value.as_ref().clone(), true))?
        }
        other => {
            return Err(FormatError::UnsupportedType {
                column: field.name().clone(),
                format: FORMAT,
                data_type: other.clone(),
            });
        }
    })
}

/// Writes rows by a schema.
pub(super) struct Writer<'a> {
    schema: &'a AvroSchema,
    columns: Vec<(String, Cells)>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        schema: &'a AvroSchema,
        batch: &arrow::array::RecordBatch,
    ) -> Result<Self, FormatError> {
        let batch_schema = batch.schema();
        let pairs = batch_schema.fields().iter().zip(batch.columns());
        let columns = pairs
            .map(|(field, array)| Ok((field.name().clone(), Cells::new(field, array, FORMAT, true)?)))
            .collect::<Result<_, FormatError>>()?;
        Ok(Self { schema, columns })
    }

    /// One payload a row, each after `header`.
    pub(super) fn rows(&self, count: usize, header: &[u8]) -> Result<Vec<Bytes>, FormatError> {
        let mut out = Vec::new();
        let mut ends = Vec::with_capacity(count);
        for row in 0..count {
            out.extend_from_slice(header);
            let columns: Vec<(&str, &Cells)> =
                self.columns.iter().map(|(name, cells)| (name.as_str(), cells)).collect();
            let written = self.record(self.schema.root(), &columns, row, &mut out);
            written.map_err(|reason| FormatError::BadValue { row, format: FORMAT, reason })?;
            ends.push(out.len());
        }
        let all = Bytes::from(out);
        let mut start = 0;
        Ok(ends
            .into_iter()
            .map(|end| {
                let payload = all.slice(start..end);
                start = end;
                payload
            })
            .collect())
    }

    fn record(
        &self,
        id: NodeId,
        columns: &[(&str, &Cells)],
        row: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        match &self.schema.node(id).kind {
            Kind::Record { fields, .. } => {
                for (index, field) in fields.iter().enumerate() {
                    let found = columns.get(index).filter(|(name, _)| *name == field.name);
                    let found = found.or_else(|| columns.iter().find(|(name, _)| *name == field.name));
                    match found {
                        Some((name, cells)) => self
                            .cell(field.node, cells, row, out)
                            .map_err(|reason| format!("column '{name}': {reason}"))?,
                        None => self.absent(field.node, &field.name, out)?,
                    }
                }
                Ok(())
            }
            Kind::Union(branches) => {
                let is_record = |id: &NodeId| matches!(self.schema.node(*id).kind, Kind::Record { .. });
                let found = branches.iter().position(is_record);
                let index = found.ok_or("the schema has no record among its branches")?;
                write_index(index, out);
                self.record(branches[index], columns, row, out)
            }
            other => Err(format!("rows need a record, and the schema is of type {}", type_word(other))),
        }
    }

    /// A field without a column is null.
    fn absent(&self, id: NodeId, name: &str, out: &mut Vec<u8>) -> Result<(), String> {
        self.null(id, out).map_err(|_| format!("there is no column '{name}', and it may not be null"))
    }

    fn null(&self, id: NodeId, out: &mut Vec<u8>) -> Result<(), String> {
        match &self.schema.node(id).kind {
            Kind::Null => Ok(()),
            Kind::Union(branches) => {
                let is_null = |id: &NodeId| self.schema.node(*id).kind == Kind::Null;
                let index = branches.iter().position(is_null).ok_or("it may not be null")?;
                write_index(index, out);
                Ok(())
            }
            _ => Err("it may not be null".to_owned()),
        }
    }

    fn cell(&self, id: NodeId, cells: &Cells, row: usize, out: &mut Vec<u8>) -> Result<(), String> {
        if cells.is_null(row) {
            return self.null(id, out);
        }
        let node = self.schema.node(id);
        if let Kind::Union(branches) = &node.kind {
            // The first branch that can hold the value.
            let start = out.len();
            let mut why = "no branch of the union can hold it".to_owned();
            for (index, branch) in branches.iter().enumerate() {
                write_index(index, out);
                match self.cell(*branch, cells, row, out) {
                    Ok(()) => return Ok(()),
                    Err(reason) => why = reason,
                }
                out.truncate(start);
            }
            return Err(why);
        }
        match (&cells.kind, &node.kind, node.logical) {
            (cells::Kind::Boolean(array), Kind::Boolean, _) => out.push(u8::from(array.value(row))),
            (cells::Kind::Int(array), kind, logical) => write_integer(array.value(row), kind, logical, out)?,
            (cells::Kind::UInt64(array), Kind::Bytes, Some(Logical::Decimal { precision, scale: 0 })) => {
                write_decimal(i128::from(array.value(row)), precision, None, out)?;
            }
            (cells::Kind::UInt64(array), kind, logical) => {
                let value = i64::try_from(array.value(row)).map_err(|_| "it is too large".to_owned())?;
                write_integer(value, kind, logical, out)?;
            }
            (cells::Kind::Float32(array), Kind::Float, _) => {
                out.extend_from_slice(&array.value(row).to_le_bytes());
            }
            (cells::Kind::Float32(array), Kind::Double, _) => {
                out.extend_from_slice(&f64::from(array.value(row)).to_le_bytes());
            }
            (cells::Kind::Float64(array), Kind::Double, _) => {
                out.extend_from_slice(&array.value(row).to_le_bytes());
            }
            (cells::Kind::Text(array), Kind::String | Kind::Bytes, _) => {
                write_bytes(array.value(row).as_bytes(), out);
            }
            (cells::Kind::Text(array), Kind::Enum { symbols, .. }, _) => {
                let value = array.value(row);
                let index = symbols.iter().position(|symbol| symbol == value);
                write_index(index.ok_or_else(|| format!("'{value}' is none of the symbols"))?, out);
            }
            (cells::Kind::Binary(array), Kind::Bytes, None) => write_bytes(array.value(row), out),
            (cells::Kind::Binary(array), Kind::Fixed { size, .. }, None)
                if array.value(row).len() == *size =>
            {
                out.extend_from_slice(array.value(row));
            }
            (cells::Kind::Timestamp { ticks, unit }, Kind::Long, logical) => {
                let wanted = match logical {
                    Some(Logical::TimestampMicros) => 1_000_000,
                    Some(Logical::TimestampNanos) => 1_000_000_000,
                    _ => 1_000,
                };
                let per_second = ticks_per_second(*unit);
                let value = ticks.get(row).copied().unwrap_or_default();
                let value = match wanted >= per_second {
                    true => value.checked_mul(wanted / per_second),
                    false => Some(value.div_euclid(per_second / wanted)),
                };
                write_long(value.ok_or("the point in time is too far away")?, out);
            }
            (cells::Kind::Date(array), Kind::Int, Some(Logical::Date)) => {
                write_long(i64::from(array.value(row)), out);
            }
            (cells::Kind::Decimal(array), kind, Some(Logical::Decimal { precision, scale })) => {
                let by = i32::from(scale) - i32::from(array.scale());
                let factor = 10_i128.checked_pow(by.unsigned_abs()).ok_or("its scale is too large")?;
                let value = array.value(row);
                let value = match by >= 0 {
                    true => value.checked_mul(factor),
                    false => Some(value / factor).filter(|_| value % factor == 0),
                };
                let size = if let Kind::Fixed { size, .. } = kind { Some(*size) } else { None };
                write_decimal(value.ok_or("it does not fit the scale")?, precision, size, out)?;
            }
            (cells::Kind::List { array, items }, Kind::Array(item), _) => {
                let range = array.value_offsets();
                let (start, end) = (range[row].max(0), range[row + 1].max(0));
                if end > start {
                    write_long(i64::from(end - start), out);
                    for index in start..end {
                        self.cell(*item, items, index.unsigned_abs() as usize, out)?;
                    }
                }
                out.push(0);
            }
            (cells::Kind::Struct(children), Kind::Record { .. }, _) => {
                let columns: Vec<(&str, &Cells)> =
                    children.iter().map(|(name, cells)| (name.as_str(), cells)).collect();
                self.record(id, &columns, row, out)?;
            }
            (_, kind, _) => return Err(format!("the schema's type {} cannot hold it", type_word(kind))),
        }
        Ok(())
    }
}

fn write_integer(value: i64, kind: &Kind, logical: Option<Logical>, out: &mut Vec<u8>) -> Result<(), String> {
    match (kind, logical) {
        (Kind::Int, None) => {
            i32::try_from(value).map_err(|_| format!("{value} is no int"))?;
            write_long(value, out);
        }
        (Kind::Long, _) => write_long(value, out),
        #[expect(clippy::cast_precision_loss, reason = "a double is what the schema asks for")]
        (Kind::Double, _) => out.extend_from_slice(&(value as f64).to_le_bytes()),
        (kind, _) => return Err(format!("the schema's type {} cannot hold an integer", type_word(kind))),
    }
    Ok(())
}

fn write_long(value: i64, out: &mut Vec<u8>) {
    #[expect(clippy::cast_sign_loss, reason = "zig-zag")]
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    loop {
        let low = (rest & 0x7f) as u8;
        rest >>= 7;
        if rest == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn write_index(index: usize, out: &mut Vec<u8>) {
    write_long(i64::try_from(index).unwrap_or(i64::MAX), out);
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_index(bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// In the fewest bytes, or in as many as a fixed type has.
fn write_decimal(value: i128, precision: u8, size: Option<usize>, out: &mut Vec<u8>) -> Result<(), String> {
    let limit = 10_u128.checked_pow(u32::from(precision)).unwrap_or(u128::MAX);
    if value.unsigned_abs() >= limit {
        return Err(format!("it has more than {precision} digits"));
    }
    let all = value.to_be_bytes();
    let sign = if value < 0 { 0xff } else { 0 };
    let is_needless = |pair: &[u8]| pair[0] == sign && (pair[1] ^ sign) & 0x80 == 0;
    let first = all.windows(2).take_while(|pair| is_needless(pair)).count();
    let short = &all[first..];
    match size {
        None => write_bytes(short, out),
        Some(size) if size >= short.len() => {
            out.extend(std::iter::repeat_n(sign, size - short.len()));
            out.extend_from_slice(short);
        }
        Some(size) => return Err(format!("it does not fit {size} bytes")),
    }
    Ok(())
}
