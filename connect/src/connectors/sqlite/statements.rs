//! The SQL that the sink speaks. Pure: schema in, text out.

use arrow::datatypes::{DataType, Schema};

use super::config::Mode;

/// The sink's own table: what is consumed, committed together with the rows.
pub(super) const CREATE_OFFSETS: &str = "CREATE TABLE IF NOT EXISTS _ottla_offsets (\
    connector TEXT NOT NULL, topic_id TEXT NOT NULL, topic TEXT NOT NULL, \
    partition INTEGER NOT NULL, next_offset INTEGER NOT NULL, \
    PRIMARY KEY (connector, topic_id, partition))";

pub(super) const SELECT_OFFSETS: &str =
    "SELECT topic_id, topic, partition, next_offset FROM _ottla_offsets WHERE connector = ?1";

pub(super) const UPSERT_OFFSET: &str = "INSERT INTO _ottla_offsets \
    (connector, topic_id, topic, partition, next_offset) VALUES (?1, ?2, ?3, ?4, ?5) \
    ON CONFLICT (connector, topic_id, partition) DO UPDATE SET next_offset = excluded.next_offset";

/// `CREATE TABLE IF NOT EXISTS` with a column per field.
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
    format!("CREATE TABLE IF NOT EXISTS {} ({})", quoted(table), parts.join(", "))
}

/// The statement that writes one row, its parameters in the order of `columns`.
pub(super) fn write_row(table: &str, columns: &[String], mode: Mode, primary_key: &[String]) -> String {
    let marks: Vec<String> = (1..=columns.len()).map(|number| format!("?{number}")).collect();
    let insert = format!("INSERT INTO {} ({}) VALUES ({})", quoted(table), list(columns), marks.join(", "));
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

/// The statement that deletes one row, its parameters in the order of the key.
pub(super) fn delete_row(table: &str, primary_key: &[String]) -> String {
    let conditions: Vec<String> = primary_key
        .iter()
        .enumerate()
        .map(|(index, column)| format!("{} = ?{}", quoted(column), index + 1))
        .collect();
    format!("DELETE FROM {} WHERE {}", quoted(table), conditions.join(" AND "))
}

/// The column type for a field. Times are text, because SQLite has none and ISO-8601 text sorts and compares as time.
fn column_type(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Boolean => "BOOLEAN",
        data_type if data_type.is_integer() => "INTEGER",
        data_type if data_type.is_floating() => "REAL",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "BLOB"
        }
        _ => "TEXT",
    }
}

/// A name that cannot end early, whatever is in it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ottla_formats::schema_of;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_table_has_the_schemas_columns_and_the_key() {
        let schema =
            schema_of([("origin", "string"), ("window_start", "timestamp"), ("avg", "double?")]).unwrap();
        assert_eq!(
            create_table("t", &schema, &names(&["origin", "window_start"])),
            "CREATE TABLE IF NOT EXISTS \"t\" (\"origin\" TEXT NOT NULL, \"window_start\" TEXT NOT NULL, \"avg\" REAL, \
             PRIMARY KEY (\"origin\", \"window_start\"))"
        );
    }

    #[test]
    fn an_upsert_updates_what_is_not_key() {
        let columns = names(&["k", "a\"b"]);
        assert_eq!(
            write_row("t", &columns, Mode::Upsert, &names(&["k"])),
            "INSERT INTO \"t\" (\"k\", \"a\"\"b\") VALUES (?1, ?2) \
             ON CONFLICT (\"k\") DO UPDATE SET \"a\"\"b\" = excluded.\"a\"\"b\""
        );
        assert!(write_row("t", &names(&["k"]), Mode::Upsert, &names(&["k"])).ends_with("DO NOTHING"));
        assert!(write_row("t", &columns, Mode::Insert, &names(&["k"])).ends_with("VALUES (?1, ?2)"));
        assert_eq!(delete_row("t", &names(&["k", "l"])), "DELETE FROM \"t\" WHERE \"k\" = ?1 AND \"l\" = ?2");
    }
}
