//! The SQLite source: the rows of a table in the order of a column that only grows, by default SQLite's own row number.
//!
//! ```text
//!   id    1   2   5   6  |          a row's position is its number; what comes later has a higher one
//!                     ^ resume: 6
//! ```
//! A thread of its own reads, at most two batches ahead. A row that is changed or deleted after it was read, or that gets
//! a number below one that was read, is not seen.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use base64::Engine as _;
use bytes::Bytes;
use ottla_formats::{Format, FormatError, JsonFormat};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use serde_json::{Map, Number, Value};

use super::config::SqliteSourceConfig;
use super::statements::quoted;
use crate::connector::{BadInput, Rows, Source, SourceBatch, SourceContext, SourceOffset, SourceProgress};
use crate::connectors::reading_thread::{Batches, ReadingThread, wait};
use crate::error::ConnectorError;

/// A table being read.
pub(crate) struct SqliteSource {
    thread: ReadingThread,
    is_bounded: bool,
}

/// What the thread owns.
struct Reading {
    connection: Connection,
    select: String,
    schema: SchemaRef,
    what: String,
    batch_size: usize,
    poll_interval: Option<Duration>,
    position: u64,
}

impl SqliteSource {
    pub(crate) fn open(config: &SqliteSourceConfig, context: SourceContext) -> Result<Self, ConnectorError> {
        let what = format!("reading table {} of {}", config.table, config.path.display());
        let connection = open_database(&config.path, config.busy_timeout_ms)?;
        let failed = |error: &rusqlite::Error| sqlite_error(&what, error);
        let columns = columns_of(&connection, &config.table).map_err(|error| failed(&error))?;
        if columns.is_empty() {
            let remedy = "make the table, or set `table` to one that exists";
            return Err(ConnectorError::fatal(&what, "there is no such table").remedy(remedy));
        }
        let schema = context.schema.unwrap_or_else(|| Arc::new(Schema::new(columns.clone())));
        if let Some(field) =
            schema.fields().iter().find(|field| columns.iter().all(|column| column.name() != field.name()))
        {
            let names: Vec<&str> = columns.iter().map(|column| column.name().as_str()).collect();
            let reason = format!("there is no column '{}'; there are: {}", field.name(), names.join(", "));
            return Err(ConnectorError::fatal(&what, reason).remedy("name the table's columns in the schema"));
        }
        let order = config.column.as_deref().map_or_else(|| "rowid".to_owned(), quoted);
        let table = quoted(&config.table);
        let names: Vec<String> = schema.fields().iter().map(|field| quoted(field.name())).collect();
        let select = format!(
            "SELECT {order}, {} FROM {table} WHERE {order} > ?1 ORDER BY {order} LIMIT ?2",
            names.join(", ")
        );
        let ends = format!("SELECT min({order}), max({order}) FROM {table}");
        let ends = connection
            .query_row(&ends, [], |row| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?)));
        let (least, greatest) = ends.map_err(|error| {
            sqlite_error(&what, &error).remedy("set `column` to one of integers that only grows")
        })?;
        if let Some(least) = least.filter(|least| *least < 1) {
            let reason = format!("{order} of a row is {least}; numbers must begin at 1");
            return Err(ConnectorError::fatal(&what, reason).remedy("set `column` to another one"));
        }
        let position = context.offset.map_or(0, |offset| offset.position);
        let total = greatest.and_then(|greatest| u64::try_from(greatest).ok()).unwrap_or(0).max(position);
        let reading = Reading {
            connection,
            select,
            schema,
            what: what.clone(),
            batch_size: config.batch_size,
            poll_interval: config.poll_interval_ms.map(|ms| Duration::from_millis(ms.into())),
            position,
        };
        let is_bounded = reading.poll_interval.is_none();
        let progress = SourceProgress { position, total };
        let thread = ReadingThread::start(format!("sqlite-{}", context.name), progress, |batches| {
            reading.run(batches)
        });
        Ok(Self { thread: thread.map_err(|error| ConnectorError::retriable(what, error))?, is_bounded })
    }
}

#[async_trait]
impl Source for SqliteSource {
    async fn poll(&mut self) -> Result<Option<SourceBatch>, ConnectorError> {
        self.thread.poll().await
    }

    fn progress(&self) -> Option<SourceProgress> {
        self.is_bounded.then_some(self.thread.progress)
    }
}

impl Reading {
    /// Reads until there are no more rows (one that follows waits for more), to an error, or until nobody wants the batches.
    fn run(mut self, sender: &Batches) {
        loop {
            let batch = match self.next_batch() {
                Ok(Some(batch)) => Ok(batch),
                Ok(None) => match self.poll_interval {
                    Some(interval) if wait(interval, sender) => continue,
                    _ => return,
                },
                Err(error) => Err(error),
            };
            let failed = batch.is_err();
            if sender.blocking_send(batch).is_err() || failed {
                return;
            }
        }
    }

    fn next_batch(&mut self) -> Result<Option<SourceBatch>, ConnectorError> {
        let (mut positions, mut payloads, mut bad) = (Vec::new(), Vec::new(), Vec::new());
        let after = i64::try_from(self.position).unwrap_or(i64::MAX);
        let limit = i64::try_from(self.batch_size).unwrap_or(i64::MAX);
        let mut twice = None;
        let mut read = || -> Result<(), rusqlite::Error> {
            let mut statement = self.connection.prepare_cached(&self.select)?;
            let mut rows = statement.query([after, limit])?;
            while let Some(row) = rows.next()? {
                let position = u64::try_from(row.get::<_, i64>(0)?).unwrap_or_default();
                if position <= self.position {
                    twice = Some(position);
                    break;
                }
                self.position = position;
                let mut object = Map::new();
                let mut reason = None;
                for (number, field) in self.schema.fields().iter().enumerate() {
                    let value = cell(row.get_ref(number + 1)?, field.data_type());
                    let value = value.unwrap_or_else(|why| {
                        reason = Some(format!("column '{}': {why}", field.name()));
                        Value::Null
                    });
                    object.insert(field.name().clone(), value);
                }
                let payload = Bytes::from(Value::Object(object).to_string());
                match reason {
                    Some(reason) => bad.push(BadInput { position, line: None, raw: payload, reason }),
                    None => {
                        positions.push(position);
                        payloads.push(payload);
                    }
                }
            }
            Ok(())
        };
        read().map_err(|error| sqlite_error(&self.what, &error))?;
        if let Some(number) = twice {
            // One of them could fall between two batches and never be read.
            let reason = format!("two rows have the number {number}");
            return Err(ConnectorError::fatal(&self.what, reason).remedy("set `column` to a unique one"));
        }
        if positions.is_empty() && bad.is_empty() {
            return Ok(None);
        }
        let slices: Vec<&[u8]> = payloads.iter().map(|payload| &payload[..]).collect();
        let decoded = JsonFormat.decode(&slices, &self.schema);
        let decoded = decoded.map_err(|error: FormatError| ConnectorError::fatal(&self.what, error))?;
        let place = |index: u32| usize::try_from(index).unwrap_or(usize::MAX);
        bad.extend(decoded.bad.into_iter().filter_map(|record| {
            let (position, raw) =
                positions.get(place(record.index)).zip(payloads.get(place(record.index)))?;
            Some(BadInput { position: *position, line: None, raw: raw.clone(), reason: record.reason })
        }));
        bad.sort_by_key(|bad| bad.position);
        Ok(Some(SourceBatch {
            rows: Rows::Arrow(decoded.batch),
            positions: decoded.rows.iter().filter_map(|row| positions.get(place(*row)).copied()).collect(),
            bad,
            resume: SourceOffset { position: self.position, state: Map::new() },
        }))
    }
}

/// A value as the JSON that a column of this type is read from.
fn cell(value: ValueRef<'_>, wanted: &DataType) -> Result<Value, String> {
    let is_text = matches!(wanted, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let is_binary = matches!(wanted, DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) if *wanted == DataType::Boolean && (0..=1).contains(&number) => {
            Value::Bool(number == 1)
        }
        ValueRef::Integer(number) if is_text => Value::String(number.to_string()),
        ValueRef::Integer(number) => Value::from(number),
        ValueRef::Real(number) if is_text => Value::String(number.to_string()),
        ValueRef::Real(number) => {
            Value::Number(Number::from_f64(number).ok_or_else(|| format!("{number} is no number of JSON"))?)
        }
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) if is_binary => {
            Value::String(base64::engine::general_purpose::STANDARD.encode(bytes))
        }
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            let text = std::str::from_utf8(bytes).map_err(|_| "the bytes are no text".to_owned())?;
            Value::String(text.to_owned())
        }
    })
}

fn open_database(path: &Path, busy_timeout_ms: u32) -> Result<Connection, ConnectorError> {
    let what = format!("opening {}", path.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags);
    let connection = opened.map_err(|error| {
        sqlite_error(&what, &error).remedy("set `path` to a database that exists and may be read")
    })?;
    connection
        .busy_timeout(Duration::from_millis(busy_timeout_ms.into()))
        .map_err(|error| sqlite_error(&what, &error))?;
    Ok(connection)
}

/// Columns with the types that SQLite's affinities stand for.
fn columns_of(connection: &Connection, table: &str) -> Result<Vec<Field>, rusqlite::Error> {
    let mut statement =
        connection.prepare("SELECT name, type, \"notnull\" OR pk > 0 FROM pragma_table_info(?1)")?;
    let columns = statement.query_map([table], |row| {
        let (name, declared, is_set): (String, String, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Field::new(name, type_of(&declared), !is_set))
    })?;
    columns.collect()
}

/// By the rules of SQLite's documentation ("Datatypes In SQLite", 3.1), with booleans as what they are.
fn type_of(declared: &str) -> DataType {
    let declared = declared.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    if has(&["BOOL"]) {
        DataType::Boolean
    } else if has(&["INT"]) {
        DataType::Int64
    } else if has(&["REAL", "FLOA", "DOUB"]) {
        DataType::Float64
    } else if has(&["BLOB"]) {
        DataType::Binary
    } else {
        DataType::Utf8
    }
}

fn sqlite_error(what: &str, error: &rusqlite::Error) -> ConnectorError {
    let passes = matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::SystemIoFailure)
    );
    match passes {
        true => ConnectorError::retriable(what, error),
        false => ConnectorError::fatal(what, error),
    }
}
