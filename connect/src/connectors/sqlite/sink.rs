//! The SQLite sink: one transaction from the first write after a commit to the next commit, rows and offsets together.
//!
//! The database is opened and closed with the sink; a transaction that is open then is rolled back by SQLite itself. All
//! calls block, so they run on the runtime's blocking threads, and the connection moves there and back.

use std::path::Path;
use std::time::Duration;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::cells::SqlColumn;
use super::config::{Mode, SqliteSinkConfig};
use super::statements::{CREATE_OFFSETS, SELECT_OFFSETS, UPSERT_OFFSET, create_table, delete_row, write_row};
use crate::connector::{ConsumedOffset, Operation, Rejected, Rows, Sink, SinkBatch, SinkContext};
use crate::error::ConnectorError;

/// A table being written to.
pub(crate) struct SqliteSink {
    connector: String,
    /// The key columns if records without a value delete, else none.
    key_columns: Vec<String>,
    /// Names the database and table in errors.
    what: String,
    /// `None` only while a call is on its way, or after one was lost.
    open: Option<Open>,
}

/// What moves to a blocking thread and back.
struct Open {
    connection: Connection,
    write_row: String,
    delete_row: String,
}

impl SqliteSink {
    pub(crate) fn open(config: &SqliteSinkConfig, context: SinkContext) -> Result<Self, ConnectorError> {
        let what = format!("writing to table {} of {}", config.table, config.path.display());
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

        let connection = connect(&config.path)?;
        let failed = |error: rusqlite::Error| setup_error(&what, &config.path, error);
        connection.busy_timeout(Duration::from_millis(u64::from(config.busy_timeout_ms))).map_err(failed)?;
        // Writes are made durable before a commit returns, whatever a build of SQLite has for its default.
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        connection.execute_batch(CREATE_OFFSETS).map_err(failed)?;
        connection
            .execute_batch(&create_table(&config.table, &schema, &config.primary_key))
            .map_err(failed)?;
        let open = Open {
            write_row: write_row(&config.table, &columns, config.mode, &config.primary_key),
            delete_row: delete_row(&config.table, &config.primary_key),
            connection,
        };
        // A table of that name may have been there with other columns or without the key: better to know now.
        open.connection.prepare_cached(&open.write_row).map_err(|error| {
            ConnectorError::fatal(&what, error).remedy(
                "the table has other columns or no such primary key: choose another table or drop this one",
            )
        })?;
        let key_columns = if config.mode == Mode::Upsert { config.primary_key.clone() } else { Vec::new() };
        Ok(Self { connector: context.name, key_columns, what, open: Some(open) })
    }

    /// Runs a call on a blocking thread.
    async fn blocking<T: Send + 'static>(
        &mut self,
        call: impl FnOnce(&Open) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, ConnectorError> {
        let lost = || ConnectorError::retriable(&self.what, "an earlier call to the database was lost");
        let open = self.open.take().ok_or_else(lost)?;
        let (open, result) = tokio::task::spawn_blocking(move || {
            let result = call(&open);
            (open, result)
        })
        .await
        .map_err(|error| ConnectorError::retriable(&self.what, error))?;
        self.open = Some(open);
        result.map_err(|error| call_error(&self.what, error))
    }
}

#[async_trait]
impl Sink for SqliteSink {
    async fn committed(&mut self) -> Result<Vec<ConsumedOffset>, ConnectorError> {
        let connector = self.connector.clone();
        self.blocking(move |open| {
            let mut statement = open.connection.prepare_cached(SELECT_OFFSETS)?;
            let rows = statement.query_map([connector], |row| {
                Ok(ConsumedOffset {
                    topic_id: row.get(0)?,
                    topic: row.get(1)?,
                    partition: row.get(2)?,
                    next_offset: row.get(3)?,
                })
            })?;
            rows.collect()
        })
        .await
    }

    fn key_columns(&self) -> &[String] {
        &self.key_columns
    }

    async fn write(&mut self, batch: SinkBatch) -> Result<Vec<Rejected>, ConnectorError> {
        let Rows::Arrow(rows) = batch.rows else {
            return Err(ConnectorError::fatal(&self.what, "the rows have no columns"));
        };
        let columns = SqlColumn::of_batch(&rows).map_err(|error| ConnectorError::fatal(&self.what, error))?;
        self.blocking(move |open| {
            open.begin()?;
            open.execute_rows(batch.operation, &rows, &columns)
        })
        .await
    }

    async fn commit(&mut self, offsets: &[ConsumedOffset]) -> Result<(), ConnectorError> {
        let connector = self.connector.clone();
        let offsets = offsets.to_vec();
        self.blocking(move |open| {
            open.begin()?;
            let mut statement = open.connection.prepare_cached(UPSERT_OFFSET)?;
            for offset in &offsets {
                statement.execute((
                    &connector,
                    &offset.topic_id,
                    &offset.topic,
                    offset.partition,
                    offset.next_offset,
                ))?;
            }
            open.connection.execute_batch("COMMIT")
        })
        .await
    }
}

impl Open {
    /// Begins a transaction unless one is open. It takes the write lock at once: waiting for it in the middle could end
    /// in a deadlock with another program.
    fn begin(&self) -> rusqlite::Result<()> {
        if self.connection.is_autocommit() {
            self.connection.execute_batch("BEGIN IMMEDIATE")
        } else {
            Ok(())
        }
    }

    /// Runs the operation's statement for every row. A row that breaks a constraint is undone alone by SQLite.
    fn execute_rows(
        &self,
        operation: Operation,
        rows: &RecordBatch,
        columns: &[SqlColumn],
    ) -> rusqlite::Result<Vec<Rejected>> {
        let sql = match operation {
            Operation::Write => &self.write_row,
            Operation::Delete => &self.delete_row,
        };
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rejected = Vec::new();
        for row in 0..rows.num_rows() {
            for (parameter, column) in (1_usize..).zip(columns) {
                statement.raw_bind_parameter(parameter, column.value(row))?;
            }
            match statement.raw_execute() {
                Ok(_) => {}
                Err(error) if is_about_the_row(&error) => {
                    rejected.push(Rejected { row, reason: error.to_string() });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(rejected)
    }
}

fn is_about_the_row(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig)
    )
}

fn connect(path: &Path) -> Result<Connection, ConnectorError> {
    let what = || format!("opening {}", path.display());
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        let reason = format!("the folder {} does not exist", folder.display());
        return Err(ConnectorError::fatal(what(), reason).remedy("create it or set `path` to another place"));
    }
    // Without the URI flag, a path is a path whatever it begins with.
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).map_err(|error| {
        ConnectorError::fatal(what(), error).remedy("make the file and its folder writable for this user")
    })
}

fn setup_error(what: &str, path: &Path, error: rusqlite::Error) -> ConnectorError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => ConnectorError::fatal(what, error)
            .remedy(format!("{} is no SQLite database: set `path` to another file", path.display())),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            ConnectorError::fatal(what, error).remedy("make the file and its folder writable for this user")
        }
        _ => call_error(what, error),
    }
}

fn call_error(what: &str, error: rusqlite::Error) -> ConnectorError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ConnectorError::retriable(what, error)
            .remedy("end the other program's transaction on this database"),
        Some(ErrorCode::DiskFull) => ConnectorError::retriable(what, error).remedy("make room on the disk"),
        Some(ErrorCode::SystemIoFailure) => ConnectorError::retriable(what, error),
        _ => ConnectorError::fatal(what, error),
    }
}
