//! Batch queries over what topics hold now, for `ottla sql -e`.
//!
//! Each topic that the query reads is read from its beginning to its present end into memory, and DataFusion runs the
//! query over it: any SELECT, window table functions included, with the meaning that the streaming planner gives them.
//! A topic that `CREATE STREAM` declares in the same text has the declared columns; of any other topic the columns are
//! inferred from its JSON values, and `_key`, `_partition`, `_offset` and `_timestamp` come with them.

mod infer;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::common::DataFusionError;
use datafusion::datasource::provider_as_source;
use datafusion::execution::TaskContext;
use datafusion::execution::context::SessionContext;
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::TableSource;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use ottla_client::{Client, ClientError, ConsumerRecord, ErrorCode};
use ottla_formats::FormatError;

use crate::planner::{
    Catalog, PlanningContext, Stream, from_datafusion, streams_read, to_logical, without_sessions,
};
use crate::runtime::topics;
use crate::sql::{self, Position, QueryStatement, SqlError, Statement};
use crate::state::changelog::Offsets;

/// The result of a batch query.
#[derive(Debug, Clone)]
pub struct HistoryResult {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows, in the query's order.
    pub batches: Vec<RecordBatch>,
    /// Records left out because they are not what their stream declares, over all topics read.
    pub bad_records: u64,
}

/// Why a batch query gave no result.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The text is wrong; it knows where.
    #[error("{0}")]
    Sql(#[from] SqlError),
    /// A topic could not be read.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// A declared column has a type that the topic's format cannot hold.
    #[error("topic {topic}: {source}")]
    Format {
        /// The topic.
        topic: String,
        /// What is wrong.
        source: FormatError,
    },
    /// It takes more memory than it may.
    #[error(
        "{what} more than {} MiB, which is as much as one query may take; make a MATERIALIZED VIEW of it, whose result is smaller, or read with `ottla sql --bootstrap-server`, which has no limit",
        bytes_max >> 20
    )]
    TooMuch {
        /// What does.
        what: &'static str,
        /// How much it may.
        bytes_max: usize,
    },
    /// The query failed while it ran, e.g. by a division by zero.
    #[error("{0}")]
    Run(String),
}

/// How much memory a batch query may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Bytes of keys and values read from topics.
    pub read_bytes_max: usize,
    /// Bytes of the result, and of what DataFusion holds on the way to it.
    pub run_bytes_max: usize,
}

impl HistoryLimits {
    /// What one query of many takes at the most in a server.
    pub fn of_a_server() -> Self {
        HistoryLimits { read_bytes_max: 1 << 30, run_bytes_max: 512 << 20 }
    }

    /// As much as there is: for a process that does nothing else.
    pub fn none() -> Self {
        HistoryLimits { read_bytes_max: usize::MAX, run_bytes_max: usize::MAX }
    }
}

/// What is left to read.
struct Budget {
    left: usize,
    max: usize,
}

impl Budget {
    fn of(limits: HistoryLimits) -> Self {
        Budget { left: limits.read_bytes_max, max: limits.read_bytes_max }
    }

    /// Takes what the records hold; breaks off when that is too much.
    fn take(&mut self, records: &[ConsumerRecord]) -> ControlFlow<()> {
        let held = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let bytes: usize = records.iter().map(|record| held(&record.key) + held(&record.value)).sum();
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(()),
        }
    }

    fn spent(&self) -> HistoryError {
        HistoryError::TooMuch { what: "the topics that the query reads hold", bytes_max: self.max }
    }
}

/// Runs the one SELECT of `sql` over the topics of a cluster. `catalog` says which streams are known besides those that
/// the text declares; every other name is a topic's.
///
/// # Errors
/// A wrong text, a topic that does not exist, or what DataFusion meets while running the query.
pub async fn query(client: &Client, sql: &str, catalog: &Catalog) -> Result<HistoryResult, HistoryError> {
    let (query, catalog) = read_text(sql, catalog)?;
    query_statement(client, query, &catalog, HistoryLimits::none()).await
}

/// The same for a SELECT that has been parsed.
///
/// # Errors
/// As [`query`].
pub async fn query_statement(
    client: &Client,
    query: QueryStatement,
    catalog: &Catalog,
    limits: HistoryLimits,
) -> Result<HistoryResult, HistoryError> {
    let mut bad_records = 0;
    let tables = tables(client, &query, catalog, limits, Reading::Rows, &mut bad_records).await?;
    let (schema, batches) = run(&query, tables, catalog, limits).await?;
    Ok(HistoryResult { schema, batches, bad_records })
}

/// The columns of a query's result. Only topics that nothing declares are read for it.
///
/// # Errors
/// As [`query`].
pub async fn columns(
    client: &Client,
    query: QueryStatement,
    catalog: &Catalog,
    limits: HistoryLimits,
) -> Result<SchemaRef, HistoryError> {
    let tables = tables(client, &query, catalog, limits, Reading::Columns, &mut 0).await?;
    planned(&query, tables, catalog).await.map(|physical| physical.schema())
}

/// What is wanted of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Rows,
    Columns,
}

/// The tables that a query reads.
async fn tables(
    client: &Client,
    query: &QueryStatement,
    catalog: &Catalog,
    limits: HistoryLimits,
    reading: Reading,
    bad_records: &mut u64,
) -> Result<BTreeMap<String, Arc<dyn TableSource>>, HistoryError> {
    if let Some((_, position)) = query.emit {
        return Err(SqlError::new(
            position,
            "EMIT is for queries that run on; this one reads what is there and ends",
        )
        .into());
    }
    let mut tables: BTreeMap<String, Arc<dyn TableSource>> = BTreeMap::new();
    let mut budget = Budget::of(limits);
    for name in streams_read(query) {
        let table = match catalog.get(&name) {
            Some(stream) if reading == Reading::Columns => table(&stream.schema, Vec::new())?,
            Some(stream) => declared(client, stream, &mut budget, bad_records).await?,
            None => match undeclared(client, &name, &mut budget).await {
                // The planner says it with the place and the nearest name.
                Err(HistoryError::Client(error))
                    if error.code() == Some(ErrorCode::UnknownTopicOrPartition) =>
                {
                    add_topic_names(client, &mut tables).await?;
                    continue;
                }
                table => table?,
            },
        };
        tables.insert(name, provider_as_source(table));
    }
    Ok(tables)
}

/// Runs the one SELECT of `sql` over rows at hand: what a streaming query of the same text must have given when it has
/// read exactly these rows. EMIT and ALLOWED LATENESS say when, not what, so they are let pass.
///
/// # Errors
/// A wrong text, or what DataFusion meets while running the query.
pub async fn answer(
    sql: &str,
    catalog: &Catalog,
    rows: &BTreeMap<String, RecordBatch>,
) -> Result<Vec<RecordBatch>, HistoryError> {
    let (mut query, mut catalog) = (None, catalog.clone());
    for statement in sql::parse(sql)? {
        match statement {
            Statement::CreateStream(create) => catalog.declare(create)?,
            Statement::Query(found) => query = Some(*found),
            _ => {}
        }
    }
    let query = query.ok_or_else(|| SqlError::new(Position::START, "there is no query here"))?;
    let mut tables: BTreeMap<String, Arc<dyn TableSource>> = BTreeMap::new();
    for name in streams_read(&query) {
        let Some(stream) = catalog.get(&name) else { continue };
        let batches = rows.get(&name).cloned().into_iter().collect();
        tables.insert(name, provider_as_source(table(&stream.schema, batches)?));
    }
    run(&query, tables, &catalog, HistoryLimits::none()).await.map(|(_, batches)| batches)
}

async fn run(
    query: &QueryStatement,
    tables: BTreeMap<String, Arc<dyn TableSource>>,
    catalog: &Catalog,
    limits: HistoryLimits,
) -> Result<(SchemaRef, Vec<RecordBatch>), HistoryError> {
    let physical = planned(query, tables, catalog).await?;
    let schema = physical.schema();
    let failed = |error: DataFusionError| match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => {
            HistoryError::TooMuch { what: "the query holds", bytes_max: limits.run_bytes_max }
        }
        _ => HistoryError::Run(from_datafusion(&error, query.position).message),
    };
    let pool = Arc::new(GreedyMemoryPool::new(limits.run_bytes_max));
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc().map_err(failed)?;
    let context = Arc::new(TaskContext::default().with_runtime(runtime));
    let mut stream = execute_stream(physical, context).map_err(failed)?;
    let (mut batches, mut bytes) = (Vec::new(), 0_usize);
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(failed)?;
        bytes = bytes.saturating_add(batch.get_array_memory_size());
        if bytes > limits.run_bytes_max {
            return Err(HistoryError::TooMuch { what: "the result holds", bytes_max: limits.run_bytes_max });
        }
        batches.push(batch);
    }
    Ok((schema, batches))
}

/// How DataFusion runs a query.
async fn planned(
    query: &QueryStatement,
    tables: BTreeMap<String, Arc<dyn TableSource>>,
    catalog: &Catalog,
) -> Result<Arc<dyn ExecutionPlan>, HistoryError> {
    let context = PlanningContext::new(tables, catalog);
    let plan = to_logical(query, &context)?;
    let plan = without_sessions(plan).map_err(|error| from_datafusion(&error, query.position))?;
    let at = |error: DataFusionError| HistoryError::Sql(from_datafusion(&error, query.position));
    let session = SessionContext::new();
    let frame = session.execute_logical_plan(plan).await.map_err(at)?;
    frame.create_physical_plan().await.map_err(at)
}

/// The query and the streams it may read.
fn read_text(sql: &str, catalog: &Catalog) -> Result<(QueryStatement, Catalog), SqlError> {
    let mut catalog = catalog.clone();
    let mut query: Option<QueryStatement> = None;
    for statement in sql::parse(sql)? {
        match statement {
            Statement::CreateStream(create) => catalog.declare(create)?,
            Statement::Query(second) if query.is_some() => {
                return Err(SqlError::new(second.position, "this is a second query; run them one by one"));
            }
            Statement::Query(first) => query = Some(*first),
            _ => {
                return Err(SqlError::new(
                    Position::START,
                    "this reads what is there: declarations and one SELECT",
                ));
            }
        }
    }
    let query = query.ok_or_else(|| SqlError::new(Position::START, "there is no query here"))?;
    Ok((query, catalog))
}

async fn declared(
    client: &Client,
    stream: &Stream,
    budget: &mut Budget,
    bad_records: &mut u64,
) -> Result<Arc<dyn TableProvider>, HistoryError> {
    let failed = |source| HistoryError::Format { topic: stream.topic.clone(), source };
    let format = ottla_formats::format_named(&stream.format).ok_or_else(|| {
        SqlError::new(Position::START, format!("the stream's format `{}` is not known", stream.format))
    })?;
    let mut partitions: BTreeMap<i32, Vec<RecordBatch>> = BTreeMap::new();
    let mut outcome = Ok(());
    if stream.primary_key.is_some() {
        let mut newest: BTreeMap<Bytes, Option<Bytes>> = BTreeMap::new();
        read_topic(client, &stream.topic, budget, |_, records| {
            let keyed = records.into_iter().map(|record| (record.key.unwrap_or_default(), record.value));
            newest.extend(keyed);
        })
        .await?;
        let payloads: Vec<&[u8]> = newest.values().flatten().map(|value| value.as_ref()).collect();
        let decoded = format.decode(&payloads, &stream.schema).map_err(failed)?;
        *bad_records += decoded.bad.len() as u64;
        return table(&stream.schema, vec![decoded.batch]);
    }
    read_topic(client, &stream.topic, budget, |partition, records| {
        let payloads: Vec<&[u8]> = records.iter().filter_map(|record| record.value.as_deref()).collect();
        *bad_records += (records.len() - payloads.len()) as u64;
        match format.decode(&payloads, &stream.schema) {
            Ok(decoded) => {
                *bad_records += decoded.bad.len() as u64;
                partitions.entry(partition).or_default().push(decoded.batch);
            }
            Err(error) => outcome = Err(failed(error)),
        }
    })
    .await?;
    outcome?;
    table(&stream.schema, partitions.into_values().flatten().collect())
}

async fn undeclared(
    client: &Client,
    topic: &str,
    budget: &mut Budget,
) -> Result<Arc<dyn TableProvider>, HistoryError> {
    let mut partitions: BTreeMap<i32, Vec<ConsumerRecord>> = BTreeMap::new();
    read_topic(client, topic, budget, |partition, mut records| {
        partitions.entry(partition).or_default().append(&mut records)
    })
    .await?;
    let batch = infer::infer(&partitions).map_err(|error| HistoryError::Run(error.to_string()))?;
    table(&batch.schema(), vec![batch])
}

async fn read_topic(
    client: &Client,
    topic: &str,
    budget: &mut Budget,
    mut each: impl FnMut(i32, Vec<ConsumerRecord>),
) -> Result<(), HistoryError> {
    let partitions = topics::partitions(client, topic).await?;
    let consumer = topics::reader(client).await?;
    let ends = topics::end_offsets(&consumer, &partitions).await?;
    consumer.close().await?;
    let within = |partition, records: Vec<ConsumerRecord>| {
        budget.take(&records)?;
        each(partition, records);
        ControlFlow::Continue(())
    };
    let begin = Offsets::new();
    match topics::read_range(client, topic, &begin, &ends, within).await? {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(budget.spent()),
    }
}

/// Names of topics as tables without columns, so that a wrong name is told with a right one.
async fn add_topic_names(
    client: &Client,
    tables: &mut BTreeMap<String, Arc<dyn TableSource>>,
) -> Result<(), HistoryError> {
    for topic in client.admin().list_topics().await? {
        if !topic.is_internal && !tables.contains_key(&topic.name) {
            let empty: SchemaRef = Arc::new(arrow::datatypes::Schema::empty());
            tables.insert(topic.name, provider_as_source(table(&empty, Vec::new())?));
        }
    }
    Ok(())
}

fn table(schema: &SchemaRef, batches: Vec<RecordBatch>) -> Result<Arc<dyn TableProvider>, HistoryError> {
    let table = MemTable::try_new(Arc::clone(schema), vec![batches])
        .map_err(|error| HistoryError::Run(error.strip_backtrace()))?;
    Ok(Arc::new(table))
}
