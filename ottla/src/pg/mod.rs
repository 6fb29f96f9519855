//! The PostgreSQL wire protocol: psql, drivers and what is built on them run statements and read what is there.
//!
//! | file | owns |
//! |---|---|
//! | `mod.rs` | the listener and the two query protocols |
//! | `statements.rs` | what PostgreSQL's clients say besides SQL of Ottla's, and command tags |
//! | `parameters.rs` | `$1` in a prepared statement |
//! | `rows.rs` | Arrow columns as PostgreSQL's types, in text and in binary |
//!
//! Nobody is asked who they are, so it is served on loopback addresses only unless somebody says otherwise.

mod parameters;
mod rows;
mod statements;

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::{Sink, SinkExt};
use ottla_streams::engine::{Engine, EngineError, Outcome};
use ottla_streams::history::HistoryError;
use ottla_streams::{Position, SqlError};
use pgwire::api::auth::StartupHandler;
use pgwire::api::portal::{Format, Portal};
use pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use pgwire::api::results::{
    DescribePortalResponse, DescribeResponse, DescribeStatementResponse, FieldFormat, QueryResponse,
    Response, Tag,
};
use pgwire::api::stmt::{QueryParser, StoredStatement};
use pgwire::api::{ClientInfo, ClientPortalStore, NoopHandler, PgWireServerHandlers, Type};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::response::NoticeResponse;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::sql_api::SqlApi;
use statements::Word;

/// Connections at a time; each may send a statement of some megabytes.
const CONNECTIONS_MAX: usize = 256;

/// Serves connections until the process ends.
pub async fn serve(listener: TcpListener, sql: Arc<SqlApi>) {
    let handlers = Arc::new(Handlers { session: Arc::new(Session { sql }) });
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((socket, peer)) => {
                let handlers = Arc::clone(&handlers);
                tokio::spawn(async move {
                    let _permit = permit;
                    serve_one(socket, peer, handlers).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection of a PostgreSQL client was not accepted");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve_one(socket: tokio::net::TcpStream, peer: SocketAddr, handlers: Arc<Handlers>) {
    if let Err(error) = pgwire::tokio::process_socket(socket, None, handlers).await {
        tracing::debug!(%peer, %error, "a connection of a PostgreSQL client ended");
    }
}

struct Handlers {
    session: Arc<Session>,
}

impl PgWireServerHandlers for Handlers {
    fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
        Arc::clone(&self.session)
    }

    fn extended_query_handler(&self) -> Arc<impl ExtendedQueryHandler> {
        Arc::clone(&self.session)
    }

    fn startup_handler(&self) -> Arc<impl StartupHandler> {
        Arc::new(NoopHandler)
    }
}

/// Runs statements; all connections share it.
struct Session {
    sql: Arc<SqlApi>,
}

/// What a statement gave, for PostgreSQL's clients.
enum Answer {
    Done { tag: &'static str, note: Option<String> },
    Rows { tag: &'static str, schema: SchemaRef, batches: Vec<RecordBatch> },
}

impl Session {
    async fn engine(&self) -> PgWireResult<&Engine> {
        self.sql.engine().await.map_err(|error| refusal("", &error))
    }

    /// Runs statements; those before one that fails have been run.
    async fn run(&self, text: &str) -> PgWireResult<(Vec<Answer>, Option<PgWireError>)> {
        let failed = |error: &EngineError| refusal(text, error);
        let tags = statements::tags(text).map_err(|error| failed(&EngineError::Sql(error)))?;
        let (outcomes, error) = self.engine().await?.execute_each(text).await;
        let mut answers = Vec::with_capacity(outcomes.len());
        for (tag, outcome) in tags.into_iter().zip(outcomes) {
            answers.push(match outcome {
                // The first words repeat the tag; what follows is worth reading.
                Outcome::Done(done) => {
                    Answer::Done { tag, note: done.split_once("; ").map(|(_, note)| note.to_owned()) }
                }
                Outcome::Rows { schema, batches } => Answer::Rows { tag, schema, batches },
                Outcome::Changes(_) => return Err(refusal(text, &EngineError::Sql(no_changes()))),
            });
        }
        Ok((answers, error.as_ref().map(failed)))
    }
}

fn no_changes() -> SqlError {
    SqlError::new(
        Position::START,
        "EMIT gives changes without an end, which PostgreSQL's protocol has no place for",
    )
    .with_help("leave EMIT out to read what is there now, or use `ottla sql` or POST /sql")
}

/// An answer as the protocol has it.
async fn respond<C>(client: &mut C, answer: Answer, format: &Format) -> PgWireResult<Response>
where
    C: Sink<PgWireBackendMessage> + Unpin + Send,
    C::Error: Debug,
    PgWireError: From<C::Error>,
{
    match answer {
        Answer::Done { tag, note } => {
            if let Some(note) = note {
                let notice = ErrorInfo::new("WARNING".to_owned(), "01000".to_owned(), note);
                client.send(PgWireBackendMessage::NoticeResponse(NoticeResponse::from(notice))).await?;
            }
            Ok(Response::Execution(Tag::new(tag)))
        }
        Answer::Rows { tag, schema, batches } => {
            let fields = Arc::new(rows::fields(&schema, format));
            let formats: Vec<FieldFormat> = fields.iter().map(|field| field.format()).collect();
            let rows = rows::data_rows(batches, formats);
            let mut response = QueryResponse::new(fields, futures::stream::iter(rows));
            response.set_command_tag(tag);
            Ok(Response::Query(response))
        }
    }
}

#[async_trait]
impl SimpleQueryHandler for Session {
    async fn do_query<C>(&self, client: &mut C, query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if let Some(word) = Word::of(query) {
            return Ok(vec![word.response()]);
        }
        let (answers, error) = self.run(query).await?;
        let mut responses = Vec::with_capacity(answers.len() + 1);
        for answer in answers {
            responses.push(respond(client, answer, &Format::UnifiedText).await?);
        }
        match error {
            Some(error) if responses.is_empty() => Err(error),
            Some(error) => {
                responses.push(Response::Error(Box::new(error.into())));
                Ok(responses)
            }
            None => Ok(responses),
        }
    }
}

/// A prepared statement.
#[derive(Debug, Clone)]
struct Prepared {
    sql: Arc<str>,
    parameters: usize,
}

#[derive(Debug)]
struct Parser;

#[async_trait]
impl QueryParser for Parser {
    type Statement = Prepared;

    async fn parse_sql<C>(
        &self,
        _client: &C,
        sql: &str,
        _types: &[Option<Type>],
    ) -> PgWireResult<Option<Prepared>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        Ok(Some(Prepared { sql: Arc::from(sql), parameters: parameters::count(sql)? }))
    }

    fn get_parameter_types(&self, statement: &Prepared) -> PgWireResult<Vec<Type>> {
        Ok(vec![Type::UNKNOWN; statement.parameters])
    }

    fn get_result_schema(
        &self,
        _statement: &Prepared,
        _format: Option<&Format>,
    ) -> PgWireResult<Vec<pgwire::api::results::FieldInfo>> {
        // Describing asks the engine, which this cannot wait for: see `do_describe_…`.
        Ok(Vec::new())
    }
}

impl Session {
    /// The columns that a statement will give, if it gives rows.
    async fn columns(&self, sql: &str) -> PgWireResult<Option<SchemaRef>> {
        if Word::of(sql).is_some() {
            return Ok(None);
        }
        let columns = self.engine().await?.columns(sql).await;
        columns.map_err(|error| refusal(sql, &error))
    }
}

#[async_trait]
impl ExtendedQueryHandler for Session {
    type Statement = Prepared;
    type QueryParser = Parser;

    fn query_parser(&self) -> Arc<Parser> {
        Arc::new(Parser)
    }

    async fn do_query<C>(
        &self,
        client: &mut C,
        portal: &Portal<Prepared>,
        _max_rows: usize,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let sql = parameters::bound(portal)?;
        if let Some(word) = Word::of(&sql) {
            return Ok(word.response());
        }
        let (mut answers, error) = self.run(&sql).await?;
        match (answers.pop(), error) {
            (_, Some(error)) => Err(error),
            (Some(answer), None) if answers.is_empty() => {
                respond(client, answer, &portal.result_column_format).await
            }
            (Some(_), None) => Err(user_error("42601", "a prepared statement is one statement".to_owned())),
            (None, None) => Ok(Response::EmptyQuery),
        }
    }

    async fn do_describe_statement<C>(
        &self,
        _client: &mut C,
        statement: &StoredStatement<Prepared>,
    ) -> PgWireResult<DescribeStatementResponse>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let prepared = &statement.statement;
        let given = |place: usize| statement.parameter_types.get(place).cloned().flatten();
        let types: Vec<Type> =
            (0..prepared.parameters).map(|place| given(place).unwrap_or(Type::TEXT)).collect();
        // Columns do not depend on what the parameters are, so nulls will do.
        let columns = self.columns(&parameters::with_nulls(&prepared.sql)).await?;
        let fields = columns.map(|schema| rows::fields(&schema, &Format::UnifiedText)).unwrap_or_default();
        Ok(DescribeStatementResponse::new(types, fields))
    }

    async fn do_describe_portal<C>(
        &self,
        _client: &mut C,
        portal: &Portal<Prepared>,
    ) -> PgWireResult<DescribePortalResponse>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        match self.columns(&parameters::bound(portal)?).await? {
            Some(schema) => {
                Ok(DescribePortalResponse::new(rows::fields(&schema, &portal.result_column_format)))
            }
            None => Ok(DescribePortalResponse::no_data()),
        }
    }
}

fn user_error(code: &str, message: String) -> PgWireError {
    PgWireError::UserError(Box::new(ErrorInfo::new("ERROR".to_owned(), code.to_owned(), message)))
}

/// An error with PostgreSQL's code and, where the text is wrong, the place that psql points at.
fn refusal(text: &str, error: &EngineError) -> PgWireError {
    let code = match error {
        EngineError::Sql(_) | EngineError::History(HistoryError::Sql(_)) => "42601",
        EngineError::History(HistoryError::TooMuch { .. }) | EngineError::TooManyListeners => "53000",
        EngineError::History(HistoryError::Run(_)) => "22000",
        _ => "58000",
    };
    let mut info = ErrorInfo::new("ERROR".to_owned(), code.to_owned(), error.to_string());
    if let EngineError::Sql(wrong) | EngineError::History(HistoryError::Sql(wrong)) = error {
        info.position = Some(index_of(text, wrong.position).to_string());
    }
    PgWireError::UserError(Box::new(info))
}

/// The place of a line and column as the number of its character, from 1.
fn index_of(text: &str, position: Position) -> usize {
    let line = usize::try_from(position.line).unwrap_or(1).max(1);
    let column = usize::try_from(position.column).unwrap_or(1).max(1);
    let before: usize = text.split_inclusive('\n').take(line - 1).map(|line| line.chars().count()).sum();
    before + column
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_by_the_number_of_its_character() {
        let at = |line, column| index_of("SELECT ä\nFROM x", Position { line, column });
        assert_eq!((at(1, 1), at(1, 8), at(2, 6)), (1, 8, 15));
    }
}
