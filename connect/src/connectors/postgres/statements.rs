//! The SQL that both connectors speak. Pure: names and schema in, text out.

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use super::config::Mode;

/// The sink's own table: what is consumed, committed together with the rows.
pub(super) const OFFSETS_TABLE: &str = "_ottla_offsets";

pub(super) const CREATE_OFFSETS: &str = "CREATE TABLE _ottla_offsets (\
    connector text NOT NULL, topic_id text NOT NULL, topic text NOT NULL, \
    partition integer NOT NULL, next_offset bigint NOT NULL, \
    PRIMARY KEY (connector, topic_id, partition))";

pub(super) const SELECT_OFFSETS: &str =
    "SELECT topic_id, topic, partition, next_offset FROM _ottla_offsets WHERE connector = $1";

/// All offsets of a commit, as a JSON array.
pub(super) const UPSERT_OFFSETS: &str = "INSERT INTO _ottla_offsets \
    SELECT $1, o.topic_id, o.topic, o.partition, o.next_offset FROM json_to_recordset($2::text::json) \
        AS o (topic_id text, topic text, partition integer, next_offset bigint) \
    ON CONFLICT (connector, topic_id, partition) DO UPDATE SET next_offset = excluded.next_offset";

/// One task of a connector at a time: who comes later would not see what the one before is just committing.
pub(super) const LOCK_CONNECTOR: &str =
    "SELECT pg_try_advisory_lock(hashtextextended('ottla connector ' || $1::text, 0))";

/// Whether there is a table of this name, with its schema or by the search path.
pub(super) const FIND_TABLE: &str = "SELECT to_regclass($1::text)::oid";

/// Columns with their types, in their order.
pub(super) const COLUMNS: &str = "SELECT a.attname::text, t.typname::text, a.atttypmod, a.attnotnull \
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
    WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

/// Who has written to a table, or is about to, and has not ended.
pub(super) const WRITERS: &str = "SELECT DISTINCT virtualtransaction FROM pg_locks \
    WHERE locktype = 'relation' AND granted AND pid IS DISTINCT FROM pg_backend_pid() \
    AND (relation = $1 OR relation IN (SELECT relid FROM pg_partition_tree($1::oid::regclass))) \
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
    AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')";

/// A name that cannot end early, whatever is in it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A table's name with its schema, if that is told.
pub(super) fn table_name(schema: Option<&str>, table: &str) -> String {
    schema.map(|schema| quoted(schema) + ".").unwrap_or_default() + &quoted(table)
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

/// The Arrow type for a column's; what has none is read as its text.
pub(super) fn field_of(name: &str, type_name: &str, modifier: i32, is_set: bool) -> Field {
    let data_type = match type_name {
        "bool" => DataType::Boolean,
        "int2" => DataType::Int16,
        "int4" => DataType::Int32,
        "int8" => DataType::Int64,
        "float4" => DataType::Float32,
        "float8" => DataType::Float64,
        "date" => DataType::Date32,
        "timestamp" | "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "bytea" => DataType::Binary,
        "numeric" => decimal(modifier).unwrap_or(DataType::Utf8),
        _ => DataType::Utf8,
    };
    Field::new(name, data_type, !is_set)
}

/// A modifier holds precision and scale, four apart from what they are (`numeric.c`: `make_numeric_typmod`).
fn decimal(modifier: i32) -> Option<DataType> {
    let packed = modifier.checked_sub(4).filter(|packed| *packed >= 0)?;
    let (precision, scale) = (u8::try_from(packed >> 16).ok()?, i8::try_from(packed & 0x7ff).ok()?);
    let fits = precision <= 38 && u8::try_from(scale).is_ok_and(|scale| scale <= precision);
    fits.then_some(DataType::Decimal128(precision, scale))
}

/// A column as PostgreSQL should put it into JSON for a field of this type.
fn value_of(field: &Field) -> String {
    let column = format!("t.{}", quoted(field.name()));
    match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Decimal128(..) => {
            format!("{column}::text")
        }
        // Lines of 76 letters are for mail.
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            format!("replace(encode({column}, 'base64'), E'\\n', '')")
        }
        DataType::Timestamp(TimeUnit::Second, _) => format!("date_trunc('second', {column})"),
        DataType::Timestamp(TimeUnit::Millisecond, _) => format!("date_trunc('milliseconds', {column})"),
        _ => column,
    }
}

fn object_of(schema: &Schema) -> String {
    let columns =
        schema.fields().iter().map(|field| format!("{} AS {}", value_of(field), quoted(field.name())));
    columns.collect::<Vec<_>>().join(", ")
}

/// Rows from `$1` up to `$2` by a column of numbers: its number, and the row as JSON. `$3` is how many.
pub(super) fn select_by_number(table: &str, column: &str, schema: &Schema) -> String {
    let (column, object) = (quoted(column), object_of(schema));
    format!(
        "SELECT t.{column}::bigint, to_json(r)::text FROM {table} t, LATERAL (SELECT {object}) r \
         WHERE t.{column} >= $1::bigint AND t.{column} <= $2::bigint ORDER BY t.{column} LIMIT $3::bigint"
    )
}

/// Rows after the time `$1` and the number `$2` up to `$3` and `$4`, that are `$5` milliseconds old: time, number, and the row
/// as JSON. `$6` is how many. `type_name` is the time column's.
pub(super) fn select_by_time(
    table: &str,
    time: &str,
    type_name: &str,
    column: &str,
    schema: &Schema,
) -> String {
    let (time, column, object) = (quoted(time), quoted(column), object_of(schema));
    format!(
        "SELECT t.{time}::text, t.{column}::bigint, to_json(r)::text FROM {table} t, LATERAL (SELECT {object}) r \
         WHERE (t.{time}, t.{column}) > ($1::text::{type_name}, $2::bigint) \
         AND (t.{time}, t.{column}) <= ($3::text::{type_name}, $4::bigint) \
         AND t.{time} <= (now() - $5::bigint * interval '1 millisecond')::{type_name} \
         ORDER BY t.{time}, t.{column} LIMIT $6::bigint"
    )
}

/// The least and the greatest number.
pub(super) fn select_numbers(table: &str, column: &str) -> String {
    format!("SELECT min(t.{0})::bigint, max(t.{0})::bigint FROM {table} t", quoted(column))
}

/// The last time, and the last number that has it.
pub(super) fn select_last_time(table: &str, time: &str, column: &str) -> String {
    let (time, column) = (quoted(time), quoted(column));
    format!(
        "SELECT t.{time}::text, t.{column}::bigint FROM {table} t WHERE t.{time} IS NOT NULL \
         ORDER BY t.{time} DESC, t.{column} DESC LIMIT 1"
    )
}

/// `CREATE TABLE` with a column per field.
pub(super) fn create_table(table: &str, schema: &Schema, primary_key: &[String]) -> String {
    let mut parts: Vec<String> = schema
        .fields()
        .iter()
        .map(|field| {
            let not_null = if field.is_nullable() { "" } else { " NOT NULL" };
            format!("{} {}{not_null}", quoted(field.name()), column_type(field.data_type()))
        })
        .collect();
    if !primary_key.is_empty() {
        parts.push(format!("PRIMARY KEY ({})", list(primary_key)));
    }
    format!("CREATE TABLE {table} ({})", parts.join(", "))
}

fn column_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint".to_owned(),
        DataType::Int32 | DataType::UInt16 => "integer".to_owned(),
        DataType::Int64 | DataType::UInt32 => "bigint".to_owned(),
        DataType::UInt64 => "numeric(20)".to_owned(),
        DataType::Float16 | DataType::Float32 => "real".to_owned(),
        DataType::Float64 => "double precision".to_owned(),
        DataType::Decimal128(precision, scale) => format!("numeric({precision}, {scale})"),
        DataType::Date32 | DataType::Date64 => "date".to_owned(),
        DataType::Timestamp(..) => "timestamp with time zone".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "bytea".to_owned()
        }
        data_type if data_type.is_nested() => "jsonb".to_owned(),
        _ => "text".to_owned(),
    }
}

/// Writes all rows of `$1`, a JSON array of objects.
pub(super) fn write_rows(table: &str, columns: &[String], mode: Mode, primary_key: &[String]) -> String {
    let columns_listed = list(columns);
    let insert = format!(
        "INSERT INTO {table} ({columns_listed}) SELECT {columns_listed} FROM json_populate_recordset(NULL::{table}, $1::text::json)"
    );
    if mode == Mode::Insert {
        return insert;
    }
    let updates: Vec<String> = columns
        .iter()
        .filter(|column| !primary_key.contains(column))
        .map(|column| format!("{0} = excluded.{0}", quoted(column)))
        .collect();
    let action =
        if updates.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", updates.join(", ")) };
    format!("{insert} ON CONFLICT ({}) DO {action}", list(primary_key))
}

/// Deletes the rows whose keys are in `$1`, a JSON array of objects.
pub(super) fn delete_rows(table: &str, primary_key: &[String]) -> String {
    let conditions: Vec<String> =
        primary_key.iter().map(|column| format!("t.{0} = d.{0}", quoted(column))).collect();
    format!(
        "DELETE FROM {table} t USING json_populate_recordset(NULL::{table}, $1::text::json) d WHERE {}",
        conditions.join(" AND ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use ottla_formats::schema_of;

    #[test]
    fn names_end_where_they_should() {
        assert_eq!(table_name(Some("a.b"), "c\"d"), "\"a.b\".\"c\"\"d\"");
        let schema = schema_of([("k\"", "string"), ("b", "bytes?"), ("at", "timestamp")]).unwrap();
        let key = ["k\"".to_owned()];
        assert_eq!(
            create_table("\"t\"", &schema, &key),
            "CREATE TABLE \"t\" (\"k\"\"\" text NOT NULL, \"b\" bytea, \"at\" timestamp with time zone NOT NULL, PRIMARY KEY (\"k\"\"\"))"
        );
        assert!(
            write_rows("\"t\"", &key, Mode::Upsert, &key).ends_with("ON CONFLICT (\"k\"\"\") DO NOTHING")
        );
        assert!(select_by_number("\"t\"", "i\"d", &schema).contains("t.\"i\"\"d\" >= $1"));
    }

    #[test]
    fn a_columns_type_is_that_of_the_table() {
        let data_type = |name: &str, modifier| field_of("a", name, modifier, true).data_type().clone();
        assert_eq!(data_type("numeric", (10 << 16 | 2) + 4), DataType::Decimal128(10, 2));
        assert_eq!(data_type("numeric", -1), DataType::Utf8);
        assert_eq!(data_type("numeric", (50 << 16 | 2) + 4), DataType::Utf8);
        // A scale below zero has a bit that a Decimal128 here cannot have.
        assert_eq!(data_type("numeric", (2 << 16 | 0x7fd) + 4), DataType::Utf8);
        assert_eq!(data_type("uuid", -1), DataType::Utf8);
        assert!(field_of("a", "int4", -1, false).is_nullable());
    }
}
