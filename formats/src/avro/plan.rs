//! How values of a writer's schema become cells of columns: worked out once per schema, not once per value.
//!
//! Columns take the fields of their names. A field without a column is skipped, a column without a field is null. A type
//! goes into a column that can hold all of its values, or the record is bad with the value that did not fit.

use super::compatibility::written_field;
use super::read::Input;
use super::schema::{AvroSchema, Kind, Logical, NodeId, RecordField, type_word};
use crate::columns::{Column, Columns, Values};

/// How deep values may lie in each other that are skipped; those that are kept are as deep as their columns.
const DEPTH_MAX: usize = 64;

/// The longest decimal that a column can hold, in bytes.
const DECIMAL_BYTES_MAX: usize = 16;

/// What to do with a value.
pub(super) enum Plan {
    /// A value of one of the plain types goes into the column as it is.
    Cell,
    Union(Vec<Plan>),
    /// For each field of the writer the column that takes it, and how.
    Record(Vec<Option<(usize, Plan)>>),
    Array(Box<Plan>),
    /// A map as a list of keys and values.
    Entries(Box<Plan>),
    /// A column cannot take such a value.
    Refused,
}

/// The plan for a whole record; `reader` may give other names of fields.
pub(super) fn plan_record(
    schema: &AvroSchema,
    id: NodeId,
    columns: &Columns,
    reader: Option<(&AvroSchema, NodeId)>,
) -> Plan {
    match &schema.node(id).kind {
        Kind::Record { fields, .. } => {
            let read_as = reader.and_then(|(schema, id)| match &schema.node(id).kind {
                Kind::Record { fields, .. } => Some(fields),
                _ => None,
            });
            let one = |(index, field): (usize, &RecordField)| {
                let position = columns.find(&name_read(field, fields, read_as), index)?;
                let column = columns.columns.get(position)?;
                Some((position, plan_cell(schema, field.node, column)))
            };
            Plan::Record(fields.iter().enumerate().map(one).collect())
        }
        Kind::Union(branches) => {
            Plan::Union(branches.iter().map(|branch| plan_record(schema, *branch, columns, reader)).collect())
        }
        _ => Plan::Refused,
    }
}

/// The name by which the reader knows a writer's field.
fn name_read(field: &RecordField, written: &[RecordField], reader: Option<&Vec<RecordField>>) -> String {
    let read = reader
        .into_iter()
        .flatten()
        .find(|read| written_field(read, written).is_some_and(|found| found.name == field.name));
    read.map_or_else(|| field.name.clone(), |read| read.name.clone())
}

fn plan_cell(schema: &AvroSchema, id: NodeId, column: &Column) -> Plan {
    match (&schema.node(id).kind, column.values()) {
        (Kind::Union(branches), _) => {
            // A union directly in a union is not valid, so this is not deep.
            Plan::Union(branches.iter().map(|branch| plan_cell(schema, *branch, column)).collect())
        }
        (Kind::Record { .. }, Values::Struct(columns)) => plan_record(schema, id, columns, None),
        (Kind::Array(items), Values::List { child, .. }) => {
            Plan::Array(Box::new(plan_cell(schema, *items, child)))
        }
        (Kind::Map(items), Values::List { child, .. }) => match child.values() {
            Values::Struct(Columns { columns }) => match columns.as_slice() {
                [key, value] if key.is_text() => Plan::Entries(Box::new(plan_cell(schema, *items, value))),
                _ => Plan::Refused,
            },
            _ => Plan::Refused,
        },
        (Kind::Record { .. } | Kind::Array(_) | Kind::Map(_), _)
        | (_, Values::List { .. } | Values::Struct(_)) => {
            // Null goes into any column that may be null.
            if schema.node(id).kind == Kind::Null { Plan::Cell } else { Plan::Refused }
        }
        _ => Plan::Cell,
    }
}

/// Reads one value with a writer's schema.
pub(super) struct Reader<'a> {
    pub(super) schema: &'a AvroSchema,
}

impl Reader<'_> {
    /// Reads a whole record into the row after the first `rows` rows of these columns.
    pub(super) fn record(
        &self,
        input: &mut Input,
        id: NodeId,
        plan: &Plan,
        columns: &mut Columns,
        rows: usize,
    ) -> Result<(), String> {
        match (&self.schema.node(id).kind, plan) {
            (Kind::Record { fields, .. }, Plan::Record(plans)) => {
                for (field, plan) in fields.iter().zip(plans) {
                    let column = plan
                        .as_ref()
                        .and_then(|(index, plan)| Some((columns.columns.get_mut(*index)?, plan)));
                    match column {
                        Some((column, plan)) => self.cell(input, field.node, plan, column)?,
                        None => self.skip(input, field.node, 0)?,
                    }
                }
                columns.fill_missing(rows + 1)
            }
            (Kind::Union(branches), Plan::Union(plans)) => {
                let choice = input.choice(branches.len())?;
                match (branches.get(choice), plans.get(choice)) {
                    (Some(branch), Some(plan)) => self.record(input, *branch, plan, columns, rows),
                    _ => Err("there is no such branch".to_owned()),
                }
            }
            (kind, _) => Err(format!("a value of type {} is not a record", type_word(kind))),
        }
    }

    fn cell(&self, input: &mut Input, id: NodeId, plan: &Plan, column: &mut Column) -> Result<(), String> {
        match (&self.schema.node(id).kind, plan) {
            (Kind::Union(branches), Plan::Union(plans)) => {
                let choice = input.choice(branches.len())?;
                match (branches.get(choice), plans.get(choice)) {
                    (Some(branch), Some(plan)) => self.cell(input, *branch, plan, column),
                    _ => Err("there is no such branch".to_owned()),
                }
            }
            (Kind::Record { .. }, Plan::Record(_)) => {
                let rows = column.len();
                if let Values::Struct(children) = column.values_mut() {
                    self.record(input, id, plan, children, rows)?;
                }
                column.append_nested()
            }
            (Kind::Array(items), Plan::Array(plan)) => {
                if let Values::List { child, .. } = column.values_mut() {
                    self.blocks(input, |reader, input| reader.cell(input, *items, plan, child))?;
                }
                column.append_nested()
            }
            (Kind::Map(items), Plan::Entries(plan)) => {
                if let Values::List { child, .. } = column.values_mut() {
                    self.blocks(input, |reader, input| reader.entry(input, *items, plan, child))?;
                }
                column.append_nested()
            }
            (kind, Plan::Refused) => Err(column.mismatch(&format!("a value of type {}", type_word(kind)))),
            _ => self.plain(input, id, column),
        }
    }

    fn blocks(
        &self,
        input: &mut Input,
        mut item: impl FnMut(&Self, &mut Input) -> Result<(), String>,
    ) -> Result<(), String> {
        loop {
            let count = input.block()?;
            if count == 0 {
                return Ok(());
            }
            for _ in 0..count {
                item(self, input)?;
            }
        }
    }

    fn entry(&self, input: &mut Input, items: NodeId, plan: &Plan, entry: &mut Column) -> Result<(), String> {
        if let Values::Struct(Columns { columns }) = entry.values_mut()
            && let [key, value] = columns.as_mut_slice()
        {
            key.append_str(input.string()?)?;
            self.cell(input, items, plan, value)?;
        }
        entry.append_nested()
    }

    fn plain(&self, input: &mut Input, id: NodeId, column: &mut Column) -> Result<(), String> {
        let node = self.schema.node(id);
        match (&node.kind, node.logical) {
            (Kind::Null, _) => column.append_null(),
            (Kind::Boolean, _) => column.append_bool(input.boolean()?),
            (Kind::Int, Some(Logical::Date)) => column.append_days(input.int()?),
            (Kind::Int, _) => self.number(i64::from(input.int()?), column),
            (Kind::Long, Some(Logical::TimestampMicros)) => column.append_ticks(input.long()?, 1_000_000),
            (Kind::Long, Some(Logical::TimestampNanos)) => column.append_ticks(input.long()?, 1_000_000_000),
            (Kind::Long, _) => self.number(input.long()?, column),
            (Kind::Float, _) => column.append_float(f64::from(input.float()?)),
            (Kind::Double, _) => column.append_float(input.double()?),
            (Kind::Bytes, Some(Logical::Decimal { scale, .. })) => decimal(input.bytes()?, scale, column),
            (Kind::Bytes, _) => column.append_bytes(input.bytes()?),
            (Kind::String, _) => column.append_str(input.string()?),
            (Kind::Fixed { size, .. }, Some(Logical::Decimal { scale, .. })) => {
                decimal(input.take(*size)?, scale, column)
            }
            (Kind::Fixed { size, .. }, _) => column.append_bytes(input.take(*size)?),
            (Kind::Enum { symbols, .. }, _) => {
                let choice = input.choice(symbols.len())?;
                column.append_str(symbols.get(choice).map(String::as_str).unwrap_or_default())
            }
            (kind @ (Kind::Array(_) | Kind::Map(_) | Kind::Union(_) | Kind::Record { .. }), _) => {
                Err(column.mismatch(&format!("a value of type {}", type_word(kind))))
            }
        }
    }

    /// A plain number in a timestamp column is milliseconds, as Kafka Connect writes them.
    fn number(&self, value: i64, column: &mut Column) -> Result<(), String> {
        match column.values() {
            Values::Timestamp { .. } => column.append_ticks(value, 1_000),
            _ => column.append_integer(value),
        }
    }

    fn skip(&self, input: &mut Input, id: NodeId, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(format!("values lie more than {DEPTH_MAX} deep in each other"));
        }
        match &self.schema.node(id).kind {
            Kind::Null => Ok(()),
            Kind::Boolean => input.boolean().map(drop),
            Kind::Int => input.int().map(drop),
            Kind::Long => input.long().map(drop),
            Kind::Float => input.float().map(drop),
            Kind::Double => input.double().map(drop),
            Kind::Bytes => input.bytes().map(drop),
            Kind::String => input.string().map(drop),
            Kind::Fixed { size, .. } => input.take(*size).map(drop),
            Kind::Enum { symbols, .. } => input.choice(symbols.len()).map(drop),
            Kind::Union(branches) => {
                let choice = input.choice(branches.len())?;
                match branches.get(choice) {
                    Some(branch) => self.skip(input, *branch, depth + 1),
                    None => Err("there is no such branch".to_owned()),
                }
            }
            Kind::Array(items) => self.blocks(input, |reader, input| reader.skip(input, *items, depth + 1)),
            Kind::Map(items) => self.blocks(input, |reader, input| {
                input.string()?;
                reader.skip(input, *items, depth + 1)
            }),
            Kind::Record { fields, .. } => {
                fields.iter().try_for_each(|field| self.skip(input, field.node, depth + 1))
            }
        }
    }
}

/// A number in two's complement, the highest byte first.
fn decimal(bytes: &[u8], scale: u8, column: &mut Column) -> Result<(), String> {
    // A column of bytes takes them as they are.
    if matches!(column.values(), Values::Binary { .. }) {
        return column.append_bytes(bytes);
    }
    let is_negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let sign = if is_negative { 0xff } else { 0 };
    let (head, tail) = bytes.split_at(bytes.len().saturating_sub(DECIMAL_BYTES_MAX));
    let mut all = [sign; DECIMAL_BYTES_MAX];
    all[DECIMAL_BYTES_MAX - tail.len()..].copy_from_slice(tail);
    let value = i128::from_be_bytes(all);
    if head.iter().any(|byte| *byte != sign) || (value < 0) != is_negative {
        return Err(column.mismatch("a decimal of more than 128 bits"));
    }
    column.append_decimal(value, scale)
}
