//! The PostgreSQL sink: one transaction from the first write after a commit to the next commit, rows and offsets together.
//!
//! Rows go as one statement. When one breaks a constraint the statement is undone to its savepoint and done again in halves,
//! until the row is found that the table does not take. One task of a connector at a time holds a lock of the database, so
//! that nobody reads offsets which another is just committing.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use serde_json::json;
use tokio_postgres::Statement;
use tokio_postgres::types::Oid;

use super::cells::{Distinct, array, distinct, objects};
use super::config::{Mode, Place, PostgresSinkConfig};
use super::session::Session;
use super::statements::{
    CREATE_OFFSETS, FIND_TABLE, LOCK_CONNECTOR, OFFSETS_TABLE, SELECT_OFFSETS, UPSERT_OFFSETS, create_table,
    delete_rows, table_name, write_rows,
};
use crate::connector::{ConsumedOffset, Operation, Rejected, Rows, Sink, SinkBatch, SinkContext};
use crate::error::ConnectorError;

/// Rows of one statement, at most.
const ROWS_MAX: usize = 5_000;

/// A table being written to.
pub(crate) struct PostgresSink {
    connector: String,
    place: Place,
    what: String,
    table: String,
    create: String,
    write: String,
    /// None when records without a value do not delete.
    delete: Option<String>,
    primary_key: Vec<String>,
    key_columns: Vec<String>,
    open: Option<Open>,
}

/// A connection that is ready.
struct Open {
    session: Session,
    write: Statement,
    delete: Option<Statement>,
    offsets: Statement,
    is_in_transaction: bool,
}

impl PostgresSink {
    /// Connects when it is first asked for its offsets.
    pub(crate) fn new(config: &PostgresSinkConfig, context: SinkContext) -> Result<Self, ConnectorError> {
        let place = config.place();
        let what = format!("writing to table {} of {}", config.table, place.database());
        let schema = context.schema.ok_or_else(|| {
            ConnectorError::fatal(&what, "the records have no schema, so the table's columns are not known")
                .remedy("write the sink's input with a schema")
        })?;
        let columns: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        if let Some(missing) = config.primary_key.iter().find(|key| !columns.contains(key)) {
            let reason =
                format!("primary_key: there is no column '{missing}'; there are: {}", columns.join(", "));
            return Err(ConnectorError::fatal(what, reason));
        }
        let table = table_name(config.table_schema.as_deref(), &config.table);
        let is_upsert = config.mode == Mode::Upsert;
        Ok(Self {
            connector: context.name,
            create: create_table(&table, &schema, &config.primary_key),
            write: write_rows(&table, &columns, config.mode, &config.primary_key),
            delete: is_upsert.then(|| delete_rows(&table, &config.primary_key)),
            primary_key: config.primary_key.clone(),
            key_columns: if is_upsert { config.primary_key.clone() } else { Vec::new() },
            place,
            what,
            table,
            open: None,
        })
    }

    async fn connect(&self) -> Result<Open, ConnectorError> {
        let session = Session::connect(&self.place, &self.what, &self.connector).await?;
        let locked = session.call(session.client.query_one(LOCK_CONNECTOR, &[&self.connector])).await?;
        let is_locked: bool = session.call(async { locked.try_get(0) }).await?;
        if !is_locked {
            let reason = "another task of a connector of this name writes to this database";
            return Err(ConnectorError::retriable(&self.what, reason)
                .remedy("stop the other, or give this connector another name"));
        }
        for (table, create) in [(OFFSETS_TABLE, CREATE_OFFSETS), (&self.table, &self.create)] {
            let found = session.call(session.client.query_one(FIND_TABLE, &[&table])).await?;
            let found: Option<Oid> = session.call(async { found.try_get(0) }).await?;
            if found.is_some() {
                continue;
            }
            // Another connector may have made it in between, of which it is told by one of several errors.
            if let Err(error) = session.call(session.client.batch_execute(create)).await {
                let again = session.call(session.client.query_one(FIND_TABLE, &[&table])).await?;
                if session.call(async { again.try_get::<_, Option<Oid>>(0) }).await?.is_none() {
                    return Err(error);
                }
            }
        }
        // A table of that name may have been there with other columns or without the key: better to know now.
        let write = session.call(session.client.prepare(&self.write)).await?;
        let delete = match &self.delete {
            Some(delete) => Some(session.call(session.client.prepare(delete)).await?),
            None => None,
        };
        let offsets = session.call(session.client.prepare(UPSERT_OFFSETS)).await?;
        Ok(Open { session, write, delete, offsets, is_in_transaction: false })
    }

    fn open(&mut self) -> Result<&mut Open, ConnectorError> {
        let lost = || ConnectorError::retriable(&self.what, "there is no connection");
        self.open.as_mut().ok_or_else(lost)
    }
}

#[async_trait]
impl Sink for PostgresSink {
    async fn committed(&mut self) -> Result<Vec<ConsumedOffset>, ConnectorError> {
        // Nothing of a connection before is left.
        self.open = None;
        let open = self.connect().await?;
        let session = &open.session;
        let rows = session.call(session.client.query(SELECT_OFFSETS, &[&self.connector])).await?;
        let read = |row: &tokio_postgres::Row| {
            Ok(ConsumedOffset {
                topic_id: row.try_get(0)?,
                topic: row.try_get(1)?,
                partition: row.try_get(2)?,
                next_offset: row.try_get(3)?,
            })
        };
        let committed = session.call(async { rows.iter().map(read).collect() }).await?;
        self.open = Some(open);
        Ok(committed)
    }

    fn key_columns(&self) -> &[String] {
        &self.key_columns
    }

    async fn write(&mut self, batch: SinkBatch) -> Result<Vec<Rejected>, ConnectorError> {
        let Rows::Arrow(rows) = batch.rows else {
            return Err(ConnectorError::fatal(&self.what, "the rows have no columns"));
        };
        let what = self.what.clone();
        let key_columns = if self.delete.is_some() { self.primary_key.clone() } else { Vec::new() };
        // Some megabytes take some milliseconds: too long for a thread that serves connections.
        let told = tokio::task::spawn_blocking(move || {
            let kept = match key_columns.is_empty() {
                true => Distinct { rows: (0..rows.num_rows()).collect(), before: HashMap::new() },
                false => distinct(&keys_of(&rows, &key_columns)?)?,
            };
            objects(&rows).map(|objects| (objects, kept))
        });
        let told = told.await.map_err(|lost| ConnectorError::fatal(&what, lost))?;
        let (objects, kept) = told.map_err(|error| ConnectorError::fatal(&what, error))?;
        let open = self.open()?;
        open.begin().await?;
        let statement = match batch.operation {
            Operation::Write => Some(open.write.clone()),
            Operation::Delete => open.delete.clone(),
        };
        let Some(statement) = statement else {
            return Err(ConnectorError::fatal(what, "without a primary key nothing can be deleted"));
        };
        let mut rejected = Vec::new();
        // The next to write is the last: what is split keeps its order.
        let mut left: Vec<Vec<usize>> = kept.rows.chunks(ROWS_MAX).rev().map(<[usize]>::to_vec).collect();
        while let Some(rows) = left.pop() {
            let Err(reason) = open.execute(&statement, array(&objects, &rows)).await? else { continue };
            match rows.as_slice() {
                [] => {}
                [row] => {
                    left.extend(kept.before.get(row).map(|earlier| vec![*earlier]));
                    rejected.push(Rejected { row: *row, reason });
                }
                rows => {
                    let (first, second) = rows.split_at(rows.len() / 2);
                    left.extend([second.to_vec(), first.to_vec()]);
                }
            }
        }
        rejected.sort_by_key(|rejected| rejected.row);
        Ok(rejected)
    }

    async fn commit(&mut self, offsets: &[ConsumedOffset]) -> Result<(), ConnectorError> {
        let told: Vec<_> = offsets
            .iter()
            .map(|offset| {
                json!({
                    "topic_id": offset.topic_id,
                    "topic": offset.topic,
                    "partition": offset.partition,
                    "next_offset": offset.next_offset,
                })
            })
            .collect();
        let told = serde_json::Value::Array(told).to_string();
        let connector = self.connector.clone();
        let open = self.open()?;
        open.begin().await?;
        let session = &open.session;
        // In a transaction that has failed this fails too; COMMIT alone would roll back and say nothing.
        session.call(session.client.execute(&open.offsets, &[&connector, &told])).await?;
        session.call(session.client.batch_execute("COMMIT")).await?;
        open.is_in_transaction = false;
        Ok(())
    }
}

fn keys_of(rows: &RecordBatch, key_columns: &[String]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let schema = rows.schema();
    let places = key_columns.iter().map(|column| schema.index_of(column)).collect::<Result<Vec<_>, _>>()?;
    rows.project(&places)
}

impl Open {
    /// Begins a transaction unless one is open. Constraints are checked at once, so that a row which breaks one is known.
    async fn begin(&mut self) -> Result<(), ConnectorError> {
        if !self.is_in_transaction {
            let begin = "BEGIN ISOLATION LEVEL READ COMMITTED; SET CONSTRAINTS ALL IMMEDIATE";
            self.session.call(self.session.client.batch_execute(begin)).await?;
            self.is_in_transaction = true;
        }
        Ok(())
    }

    /// Runs a statement over rows; when they are refused it is undone, and the reason given.
    async fn execute(
        &self,
        statement: &Statement,
        rows: String,
    ) -> Result<Result<(), String>, ConnectorError> {
        let session = &self.session;
        session.call(session.client.batch_execute("SAVEPOINT rows")).await?;
        let done = session.call_with_rows(session.client.execute(statement, &[&rows])).await?;
        let end = match &done {
            Ok(_) => "RELEASE SAVEPOINT rows",
            Err(_) => "ROLLBACK TO SAVEPOINT rows; RELEASE SAVEPOINT rows",
        };
        session.call(session.client.batch_execute(end)).await?;
        Ok(done.map(drop))
    }
}
