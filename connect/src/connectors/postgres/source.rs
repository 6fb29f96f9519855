//! The PostgreSQL source: the rows of a table in the order of a column of numbers, or of a time and a number.
//!
//! ```text
//!   by number            1   2   5   6  |        a row's position is its number; what comes later has a higher one
//!   by time and number   10:00 7   10:00 9  |    a row that is changed gets a later time, and comes again
//! ```
//! Only rows are read before which nobody can still write (`settled.rs`). A task of its own asks, at most two batches ahead.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Map, Value};
use tokio_postgres::types::{Oid, ToSql};

use super::config::PostgresSourceConfig;
use super::session::Session;
use super::settled::Settled;
use super::statements::{
    COLUMNS, FIND_TABLE, WRITERS, field_of, select_by_number, select_by_time, select_last_time,
    select_numbers, table_name,
};
use crate::connector::{Source, SourceBatch, SourceContext, SourceOffset};
use crate::connectors::json_rows::batch_of;
use crate::connectors::numbering::next_position;
use crate::connectors::reading_task::{Batches, ReadingTask};
use crate::error::ConnectorError;

/// How often a source that is to end looks whether those who write have ended.
const WRITERS_PAUSE: Duration = Duration::from_millis(100);

/// A table being read.
pub(crate) struct PostgresSource {
    reading: ReadingTask,
}

/// What is to be read, and from where on.
struct Reading {
    config: PostgresSourceConfig,
    name: String,
    what: String,
    schema: Option<SchemaRef>,
    position: u64,
    /// By time: where the last row was.
    time: Option<(String, i64)>,
}

/// A table that was found.
struct Table {
    session: Session,
    oid: Oid,
    name: String,
    schema: SchemaRef,
    /// The time column's type, if it is read by that.
    time_type: Option<String>,
}

const TIME: &str = "timestamp";
const NUMBER: &str = "number";

impl PostgresSource {
    /// Must be called on a runtime.
    pub(crate) fn open(
        config: &PostgresSourceConfig,
        context: SourceContext,
    ) -> Result<Self, ConnectorError> {
        let place = config.place();
        let what = format!("reading table {} of {}", config.table, place.database());
        let (position, time) = match context.offset {
            None => (0, None),
            Some(SourceOffset { position, state }) => {
                let time = state.get(TIME).and_then(Value::as_str).map(str::to_owned);
                (position, time.zip(state.get(NUMBER).and_then(Value::as_i64)))
            }
        };
        if position > 0 && config.timestamp_column.is_some() != time.is_some() {
            let reason = "the stored offset is of a table read in another order";
            return Err(ConnectorError::fatal(what, reason)
                .remedy("set `timestamp_column` as it was, or reset the connector's offsets"));
        }
        let reading = Reading {
            config: config.clone(),
            name: context.name,
            what: what.clone(),
            schema: context.schema,
            position,
            time,
        };
        Ok(Self { reading: ReadingTask::start(&what, |batches| reading.run(batches)) })
    }
}

#[async_trait]
impl Source for PostgresSource {
    async fn poll(&mut self) -> Result<Option<SourceBatch>, ConnectorError> {
        self.reading.poll().await
    }
}

impl Reading {
    async fn run(mut self, batches: Batches) -> Result<(), ConnectorError> {
        let table = self.find().await?;
        match table.time_type.clone() {
            Some(time_type) => self.by_time(&table, &time_type, &batches).await,
            None => self.by_number(&table, &batches).await,
        }
    }

    /// Finds the table, and the columns that are wanted of it.
    async fn find(&self) -> Result<Table, ConnectorError> {
        let fatal = |reason: String, remedy: &str| ConnectorError::fatal(&self.what, reason).remedy(remedy);
        let session = Session::connect(&self.config.place(), &self.what, &self.name).await?;
        let name = table_name(self.config.table_schema.as_deref(), &self.config.table);
        let found = session.call(session.client.query_one(FIND_TABLE, &[&name])).await?;
        let oid: Option<Oid> = session.call(async { found.try_get(0) }).await?;
        let oid = oid.ok_or_else(|| {
            fatal("there is no such table".to_owned(), "make the table, or set `table` and `table_schema`")
        })?;
        let rows = session.call(session.client.query(COLUMNS, &[&oid])).await?;
        let mut columns = Vec::new();
        for row in rows {
            let column = async { Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?)) };
            let column: (String, String, i32, bool) = session.call(column).await?;
            columns.push(column);
        }
        let names = || columns.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>().join(", ");
        let type_of = |wanted: &str| {
            columns.iter().find(|(name, ..)| name == wanted).map(|(_, word, ..)| word.as_str())
        };
        let missing = |field: &str, column: &str| {
            let reason = format!("there is no column '{column}'; there are: {}", names());
            fatal(reason, &format!("set `{field}` to one of them"))
        };
        match type_of(&self.config.column) {
            Some("int2" | "int4" | "int8") => {}
            Some(other) => {
                let reason = format!("the column '{}' is of type {other}", self.config.column);
                return Err(fatal(reason, "set `column` to one of integers"));
            }
            None => return Err(missing("column", &self.config.column)),
        }
        let time_type = match self.config.timestamp_column.as_deref().map(|column| (column, type_of(column)))
        {
            None => None,
            Some((_, Some(word @ ("timestamp" | "timestamptz")))) => Some(word.to_owned()),
            Some((column, Some(other))) => {
                let reason = format!("the column '{column}' is of type {other}");
                return Err(fatal(reason, "set `timestamp_column` to one of type timestamp or timestamptz"));
            }
            Some((column, None)) => return Err(missing("timestamp_column", column)),
        };
        let schema = self.schema.clone().unwrap_or_else(|| {
            let field = |(name, word, modifier, is_set): &(String, String, i32, bool)| {
                field_of(name, word, *modifier, *is_set)
            };
            Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
        });
        if let Some(field) = schema.fields().iter().find(|field| type_of(field.name()).is_none()) {
            return Err(missing("value.schema", field.name()));
        }
        Ok(Table { session, oid, name, schema, time_type })
    }

    async fn by_number(&mut self, table: &Table, batches: &Batches) -> Result<(), ConnectorError> {
        let (client, column) = (&table.session.client, &self.config.column);
        let numbers = table.session.call(client.prepare(&select_numbers(&table.name, column))).await?;
        let select = select_by_number(&table.name, column, &table.schema);
        let select = table.session.call(client.prepare(&select)).await?;
        let limit = i64::try_from(self.config.batch_size + 1).unwrap_or(i64::MAX);
        let mut settled = Settled::new();
        loop {
            let ends = table.session.call(client.query_one(&numbers, &[])).await?;
            let ends = async { Ok((ends.try_get(0)?, ends.try_get(1)?)) };
            let (least, greatest): (Option<i64>, Option<i64>) = table.session.call(ends).await?;
            if let Some(least) = least.filter(|least| *least < 1) {
                let reason = format!("{column} of a row is {least}; numbers must begin at 1");
                return Err(ConnectorError::fatal(&self.what, reason).remedy("set `column` to another one"));
            }
            let upto = settled.look(greatest, table.writers().await?);
            while let Some(upto) =
                upto.filter(|upto| u64::try_from(*upto).is_ok_and(|upto| upto > self.position))
            {
                let after = i64::try_from(self.position).unwrap_or(i64::MAX);
                let rows = table.session.call(client.query(&select, &[&after, &upto, &limit])).await?;
                let mut values = Vec::with_capacity(rows.len());
                for (place, row) in rows.iter().enumerate() {
                    let cells = async { Ok((row.try_get(0)?, row.try_get(1)?)) };
                    let (number, text): (i64, String) = table.session.call(cells).await?;
                    let number = u64::try_from(number).unwrap_or_default();
                    // The last row that was read comes again, so that another with its number is noticed.
                    if number == self.position && place == 0 {
                        continue;
                    }
                    if number == self.position {
                        // One of them could fall between two batches and never be read.
                        let reason = format!("two rows have the number {number}");
                        return Err(
                            ConnectorError::fatal(&self.what, reason).remedy("set `column` to a unique one")
                        );
                    }
                    self.position = number;
                    values.push((number, Bytes::from(text)));
                }
                if values.is_empty() {
                    break;
                }
                let resume = SourceOffset { position: self.position, state: Map::new() };
                if !self.give(values, &table.schema, resume, batches).await? {
                    return Ok(());
                }
            }
            if self.pause(upto == greatest).await {
                return Ok(());
            }
        }
    }

    async fn by_time(
        &mut self,
        table: &Table,
        time_type: &str,
        batches: &Batches,
    ) -> Result<(), ConnectorError> {
        let client = &table.session.client;
        let time = self.config.timestamp_column.clone().unwrap_or_default();
        let last = select_last_time(&table.name, &time, &self.config.column);
        let last = table.session.call(client.prepare(&last)).await?;
        let select = select_by_time(&table.name, &time, time_type, &self.config.column, &table.schema);
        let select = table.session.call(client.prepare(&select)).await?;
        let limit = i64::try_from(self.config.batch_size).unwrap_or(i64::MAX);
        let delay = i64::from(self.config.delay_ms);
        let mut settled = Settled::new();
        loop {
            let row = table.session.call(client.query_opt(&last, &[])).await?;
            let last: Option<(String, i64)> = match row {
                Some(row) => {
                    Some(table.session.call(async { Ok((row.try_get(0)?, row.try_get(1)?)) }).await?)
                }
                None => None,
            };
            let upto = settled.look(last.clone(), table.writers().await?);
            while let Some((upto_time, upto_number)) =
                upto.as_ref().filter(|upto| self.time.as_ref() != Some(upto))
            {
                let beginning = ("-infinity".to_owned(), i64::MIN);
                let (after_time, after_number) = self.time.as_ref().unwrap_or(&beginning);
                let parameters: [&(dyn ToSql + Sync); 6] =
                    [after_time, after_number, upto_time, upto_number, &delay, &limit];
                let rows = table.session.call(client.query(&select, &parameters)).await?;
                let mut values = Vec::with_capacity(rows.len());
                for row in &rows {
                    let cells = async { Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)) };
                    let (time, number, text): (String, i64, String) = table.session.call(cells).await?;
                    if self.time.as_ref() == Some(&(time.clone(), number)) {
                        let reason = format!("two rows have the time {time} and the number {number}");
                        return Err(
                            ConnectorError::fatal(&self.what, reason).remedy("set `column` to a unique one")
                        );
                    }
                    // The order is part of it: what was written in this place before is known by it.
                    self.position = next_position(self.position, text.as_bytes());
                    self.time = Some((time, number));
                    values.push((self.position, Bytes::from(text)));
                }
                if values.is_empty() {
                    break;
                }
                let resume = SourceOffset { position: self.position, state: self.time_state() };
                if !self.give(values, &table.schema, resume, batches).await? {
                    return Ok(());
                }
            }
            // What is too young to be read now is read later.
            if self.pause(upto == last && self.time == last).await {
                return Ok(());
            }
        }
    }

    fn time_state(&self) -> Map<String, Value> {
        let mut state = Map::new();
        if let Some((time, number)) = &self.time {
            state.insert(TIME.to_owned(), Value::from(time.as_str()));
            state.insert(NUMBER.to_owned(), Value::from(*number));
        }
        state
    }

    /// False when nobody wants rows any more.
    async fn give(
        &self,
        values: Vec<(u64, Bytes)>,
        schema: &SchemaRef,
        resume: SourceOffset,
        batches: &Batches,
    ) -> Result<bool, ConnectorError> {
        let schema = Arc::clone(schema);
        // Some thousand rows take some milliseconds: too long for a thread that serves connections.
        let batch = tokio::task::spawn_blocking(move || batch_of(values, Some(&schema), resume)).await;
        let batch = batch.map_err(|lost| ConnectorError::fatal(&self.what, lost))?;
        let batch = batch.map_err(|error| ConnectorError::fatal(&self.what, error))?;
        Ok(batches.send(batch).await.is_ok())
    }

    /// Waits before the next look. True when there is none: everything is read.
    async fn pause(&self, is_all_read: bool) -> bool {
        match self.config.poll_interval_ms {
            Some(interval) => tokio::time::sleep(Duration::from_millis(interval.into())).await,
            None if is_all_read => return true,
            None => tokio::time::sleep(WRITERS_PAUSE).await,
        }
        false
    }
}

impl Table {
    async fn writers(&self) -> Result<BTreeSet<String>, ConnectorError> {
        let rows = self.session.call(self.session.client.query(WRITERS, &[&self.oid])).await?;
        self.session.call(async { rows.iter().map(|row| row.try_get(0)).collect() }).await
    }
}
