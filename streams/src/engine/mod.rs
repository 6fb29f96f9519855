//! SQL as a service over a cluster: statements that last are kept in a topic, and their queries run.
//!
//! ```text
//! text ─▶ sql::parse ─▶ Objects::decide ─▶ `ottla-sql` (compacted) ─▶ Objects::apply ─▶ queries started, stopped
//! ```
//!
//! | file | owns | pure |
//! |---|---|---|
//! | `objects.rs` | what is named, and what may follow what | yes |
//! | `answers.rs` | SHOW, DESCRIBE and EXPLAIN as rows | yes |
//! | `store.rs` | the topic of the statements kept | no |
//! | `mod.rs` | the order of effects | no |

mod answers;
mod objects;
mod store;

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use ottla_client::{Client, ClientError, ErrorCode, NewTopic};
use tokio::sync::Mutex;

use crate::history::{self, HistoryError};
use crate::planner::plan_query;
use crate::runtime::{Query, QueryConfig, QueryError, QueryHandle};
use crate::sql::{self, DropObject, ObjectKind, QueryStatement, SqlError, Statement};
use objects::{Object, Objects};
use store::Store;

/// Why statements could not be run. Those before the one that failed have been.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The text is wrong; it knows where.
    #[error("{0}")]
    Sql(#[from] SqlError),
    /// The cluster could not be reached or refused.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// A batch query failed.
    #[error("{0}")]
    History(#[from] HistoryError),
    /// A query that runs on could not start.
    #[error("{0}")]
    Query(#[from] QueryError),
    /// The topic of statements holds something else.
    #[error("the topic {topic} holds a record that is no statement: {reason}")]
    Store {
        /// The topic.
        topic: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// What a statement gave.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It has been done, in words.
    Done(String),
    /// Rows.
    Rows {
        /// Their columns.
        schema: SchemaRef,
        /// The rows.
        batches: Vec<RecordBatch>,
    },
}

/// The streams, tables, views and queries of a cluster.
pub struct Engine {
    client: Client,
    /// One statement at a time.
    state: Mutex<State>,
}

struct State {
    store: Store,
    objects: Objects,
    running: BTreeMap<String, QueryHandle>,
}

impl Engine {
    /// Reads what has been kept and starts its queries, which go on from their last commits.
    ///
    /// # Errors
    /// When the cluster cannot be reached, or what was kept cannot be run any more.
    pub async fn open(client: Client) -> Result<Engine, EngineError> {
        let (store, kept) = Store::open(&client).await?;
        let mut state = State { store, objects: Objects::default(), running: BTreeMap::new() };
        for kept in kept {
            for statement in sql::parse(&kept.sql)? {
                let mut object = state.objects.decide_create(&statement, &kept.sql)?;
                // The name of an INSERT was chosen when it was made.
                object.kept.name.clone_from(&kept.name);
                state.start(&client, &object).await?;
                state.objects.apply_create(object);
            }
        }
        Ok(Engine { client, state: Mutex::new(state) })
    }

    /// Whether statements have been kept in this cluster, so that there is something to go on with.
    ///
    /// # Errors
    /// When the cluster cannot be reached.
    pub async fn is_used(client: &Client) -> Result<bool, EngineError> {
        Ok(client.admin().list_topics().await?.iter().any(|topic| topic.name == store::TOPIC))
    }

    /// Runs statements one after the other.
    ///
    /// # Errors
    /// The first that could not be run; those before it have been.
    pub async fn execute(&self, text: &str) -> Result<Vec<Outcome>, EngineError> {
        let statements = sql::parse_with_text(text)?;
        let mut outcomes = Vec::with_capacity(statements.len());
        let mut state = self.state.lock().await;
        for (statement, text) in statements {
            outcomes.push(Box::pin(state.run(&self.client, statement, text)).await?);
        }
        Ok(outcomes)
    }

    /// Stops all queries after the epoch in hand.
    pub async fn stop(&self) {
        let running = std::mem::take(&mut self.state.lock().await.running);
        for (name, query) in running {
            if let Err(error) = query.stop().await {
                tracing::warn!(query = name, %error, "the query had failed before it was stopped");
            }
        }
    }
}

impl State {
    async fn run(
        &mut self,
        client: &Client,
        statement: Statement,
        text: &str,
    ) -> Result<Outcome, EngineError> {
        match statement {
            Statement::CreateStream(_) | Statement::CreateView(_) | Statement::Insert(_) => {
                self.create(client, &statement, text).await
            }
            Statement::Drop(drop) => self.drop_object(client, &drop).await,
            Statement::Show(kind) => Ok(answers::show(&self.objects, kind, |name| self.status_of(name))?),
            Statement::Describe(name) => Ok(answers::describe(&self.objects, &name)?),
            Statement::Explain(query) => Ok(answers::explain(&plan_query(&query, &self.objects.catalog())?)?),
            Statement::Query(query) => self.pull(client, *query).await,
        }
    }

    async fn create(
        &mut self,
        client: &Client,
        statement: &Statement,
        text: &str,
    ) -> Result<Outcome, EngineError> {
        let object = self.objects.decide_create(statement, text)?;
        let name = object.kept.name.clone();
        if let Some(relation) = object.relation.as_ref().filter(|_| object.query.is_none()) {
            make_topic(client, &relation.topic).await?;
        }
        self.start(client, &object).await?;
        // Kept only now: what cannot start is not there after a restart either.
        self.store.keep(&object.kept).await?;
        let warnings = object.query.as_ref().map(|(plan, _)| plan.warnings()).unwrap_or_default();
        let mut done = format!("{} {name} created", object.kind.word());
        warnings.iter().for_each(|warning| done.push_str(&format!("; {warning}")));
        self.objects.apply_create(object);
        Ok(Outcome::Done(done))
    }

    async fn start(&mut self, client: &Client, object: &Object) -> Result<(), EngineError> {
        let Some((plan, target)) = &object.query else { return Ok(()) };
        let config = QueryConfig {
            output_topic: target.topic.clone(),
            output_format: target.format.clone(),
            ..QueryConfig::new(&object.kept.name, plan.clone())
        };
        let handle = Query::start(client, config).await?;
        self.running.insert(object.kept.name.clone(), handle);
        Ok(())
    }

    async fn drop_object(&mut self, client: &Client, drop: &DropObject) -> Result<Outcome, EngineError> {
        let Some(object) = self.objects.decide_drop(drop)?.cloned() else {
            return Ok(Outcome::Done(format!("there is no {} {}", drop.kind.word(), drop.name.text)));
        };
        let name = object.kept.name.clone();
        self.store.forget(&name).await?;
        if let Some(query) = self.running.remove(&name)
            && let Err(error) = query.stop().await
        {
            tracing::warn!(query = name, %error, "the query had failed before it was dropped");
        }
        if let Some((plan, target)) = &object.query {
            // What the query made for itself goes with it; a view's rows are its own, too.
            let config = QueryConfig::new(&name, plan.clone());
            let mut topics = vec![config.changelog_topic(), config.dead_letter_topic];
            if object.kind == ObjectKind::View {
                topics.push(target.topic.clone());
            }
            for topic in topics {
                delete_topic(client, &topic).await?;
            }
        }
        self.objects.apply_drop(&name);
        Ok(Outcome::Done(format!("{} {name} dropped", object.kind.word())))
    }

    async fn pull(&self, client: &Client, query: QueryStatement) -> Result<Outcome, EngineError> {
        let catalog = self.objects.catalog();
        let result = Box::pin(history::query_statement(client, query, &catalog)).await?;
        Ok(Outcome::Rows { schema: result.schema, batches: result.batches })
    }

    fn status_of(&self, name: &str) -> Option<crate::QueryStatus> {
        self.running.get(name).map(QueryHandle::status)
    }
}

async fn make_topic(client: &Client, topic: &str) -> Result<(), ClientError> {
    match client.admin().create_topics(&[NewTopic::new(topic, 1)]).await {
        Err(error) if error.code() != Some(ErrorCode::TopicAlreadyExists) => Err(error),
        _ => Ok(()),
    }
}

async fn delete_topic(client: &Client, topic: &str) -> Result<(), ClientError> {
    match client.admin().delete_topics(&[topic]).await {
        Err(error) if error.code() != Some(ErrorCode::UnknownTopicOrPartition) => Err(error),
        _ => Ok(()),
    }
}
