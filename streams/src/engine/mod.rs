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
//! | `modules.rs` | the topic of plugins' components | no |
//! | `installed.rs` | plugins that have names | no |
//! | `functions.rs` | modules read and started | no |
//! | `pausing.rs` | queries that rest | no |
//! | `mod.rs` | the order of effects | no |

mod answers;
mod functions;
mod installed;
mod modules;
mod objects;
mod pausing;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use ottla_client::{Client, ClientError, ErrorCode, NewTopic};
use ottla_plugins::PluginError;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use crate::history::{self, HistoryError, HistoryLimits};
use crate::operators::Rows;
use crate::planner::{Catalog, plan_changes, plan_query};
use crate::runtime::{Changes, Query, QueryConfig, QueryError, QueryHandle, QueryPhase, QueryStatus};
use crate::sql::{self, CreateFunction, DropObject, ObjectKind, QueryStatement, SqlError, Statement};
use functions::Module;
use objects::{Kept, Object, Objects};
use store::Store;

pub use installed::{CheckedPlugin, InstalledPlugin, installed_plugins};

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
    /// There are as many listeners as there may be.
    #[error(
        "{LISTENERS_MAX} queries with EMIT are listened to already; end one of them, or make a MATERIALIZED VIEW"
    )]
    TooManyListeners,
    /// A component that no query could use.
    #[error("{0}")]
    Plugin(#[from] PluginError),
    /// No plugin can be called so.
    #[error("`{0}` is no name of a plugin: a letter, then letters, digits, - and _, at most 64")]
    PluginName(String),
    /// No plugin is installed under this name.
    #[error("no plugin `{name}` is installed{}", .nearest.as_ref().map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default())]
    NoPlugin {
        /// The name.
        name: String,
        /// One that is.
        nearest: Option<String>,
    },
    /// A plugin stays as it is while it is used.
    #[error("the plugin `{name}` is used by {users}; drop what uses it first, or install under another name")]
    PluginInUse {
        /// The plugin.
        name: String,
        /// What uses it, in words.
        users: String,
    },
    /// A topic of the engine's own holds something else.
    #[error("the topic {topic} holds a record that cannot be read: {reason}")]
    Store {
        /// The topic.
        topic: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// What a statement gave.
#[derive(Debug)]
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
    /// Changes of a result, for as long as somebody takes them; only the last statement of a text gives them.
    Changes(Box<PushQuery>),
}

/// A `SELECT … EMIT` that runs for a listener.
#[derive(Debug)]
pub struct PushQuery {
    changes: Changes,
    _counted: OwnedSemaphorePermit,
}

impl PushQuery {
    /// The columns of the rows.
    pub fn schema(&self) -> &SchemaRef {
        self.changes.schema()
    }

    /// The next changes: rows that go, with a negative weight, before rows that come.
    ///
    /// # Errors
    /// Why the query failed.
    pub async fn next(&mut self) -> Result<Option<Vec<Rows>>, QueryError> {
        self.changes.next().await
    }
}

/// Queries with a listener that may run at a time: each has its own input buffer and state.
const LISTENERS_MAX: usize = 64;

/// The streams, tables, views and queries of a cluster.
pub struct Engine {
    client: Client,
    /// One statement at a time, but for those that only read.
    state: Mutex<State>,
    listeners: Arc<Semaphore>,
}

struct State {
    store: Store,
    objects: Objects,
    running: BTreeMap<String, QueryHandle>,
    /// Queries that could not be started again, and why.
    failed: BTreeMap<String, String>,
    /// Queries that rest.
    paused: BTreeSet<String>,
    /// Plugins by their names.
    installed: BTreeMap<String, InstalledPlugin>,
    /// Functions that are kept and could not be started again, and their modules, which they need still.
    lost: BTreeMap<String, LostFunction>,
}

/// What is kept of a function that is not there.
struct LostFunction {
    module: String,
    /// How long the module is, if it is kept.
    module_bytes: Option<usize>,
}

impl Engine {
    /// Reads what has been kept and starts its queries, which go on from their last commits.
    ///
    /// # Errors
    /// When the cluster cannot be reached, or what was kept cannot be run any more.
    pub async fn open(client: Client) -> Result<Engine, EngineError> {
        let (store, kept, paused) = Store::open(&client).await?;
        let (running, failed) = (BTreeMap::new(), BTreeMap::new());
        let wanted: BTreeSet<String> = kept.iter().filter_map(|kept| kept.module.clone()).collect();
        let modules::Found { modules, installed } = modules::read(&client, &wanted).await?;
        let (objects, lost) = (Objects::default(), BTreeMap::new());
        let mut state = State { store, objects, running, failed, paused, installed, lost };
        for kept in kept {
            // One that cannot run any more, as one whose topic is gone, must not keep the others from running.
            if let Err(error) = state.resume(&client, &kept, &modules).await {
                tracing::error!(name = kept.name, %error, "what was made before could not be started");
                state.failed.insert(kept.name.clone(), error.to_string());
                if let Some(module) = kept.module {
                    let module_bytes = modules.get(&module).map(Bytes::len);
                    state.lost.insert(kept.name, LostFunction { module, module_bytes });
                }
            }
        }
        Ok(Engine { client, state: Mutex::new(state), listeners: Arc::new(Semaphore::new(LISTENERS_MAX)) })
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
        match self.execute_each(text).await {
            (outcomes, None) => Ok(outcomes),
            (_, Some(error)) => Err(error),
        }
    }

    /// Runs statements one after the other up to the first that fails, and tells what those before it gave.
    pub async fn execute_each(&self, text: &str) -> (Vec<Outcome>, Option<EngineError>) {
        let mut outcomes = Vec::new();
        let statements = match statements(text) {
            Ok(statements) => statements,
            Err(error) => return (outcomes, Some(error)),
        };
        for (statement, text) in statements {
            match self.run(statement, text).await {
                Ok(outcome) => outcomes.push(outcome),
                Err(error) => return (outcomes, Some(error)),
            }
        }
        (outcomes, None)
    }

    /// The columns of the rows that a text's one statement will give; nothing where it gives none. It changes nothing.
    ///
    /// # Errors
    /// As [`Engine::execute`].
    pub async fn columns(&self, text: &str) -> Result<Option<SchemaRef>, EngineError> {
        match sql::parse(text)?.pop() {
            Some(Statement::Query(query)) => {
                let catalog = self.state.lock().await.objects.catalog();
                let limits = HistoryLimits::of_a_server();
                Ok(Some(Box::pin(history::columns(&self.client, *query, &catalog, limits)).await?))
            }
            // These only tell, and little.
            Some(
                Statement::Show(_)
                | Statement::Describe(_)
                | Statement::Explain(_)
                | Statement::ExplainQuery(_),
            ) => match self.execute(text).await?.pop() {
                Some(Outcome::Rows { schema, .. }) => Ok(Some(schema)),
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }

    async fn run(&self, statement: Statement, text: &str) -> Result<Outcome, EngineError> {
        match statement {
            // Reading may take long and keeps nobody waiting.
            Statement::Query(query) => {
                let catalog = self.state.lock().await.objects.catalog();
                match query.emit {
                    Some(_) => Box::pin(self.push(&query, &catalog)).await,
                    None => Box::pin(self.pull(*query, &catalog)).await,
                }
            }
            // So may compiling.
            Statement::CreateFunction(create) => {
                let module = self.module(&create).await?;
                Box::pin(self.state.lock().await.create_function(&self.client, &create, &module, text)).await
            }
            other => Box::pin(self.state.lock().await.run(&self.client, other, text)).await,
        }
    }

    /// The module that a statement names: an installed plugin, or else a path.
    async fn module(&self, create: &CreateFunction) -> Result<Module, EngineError> {
        let is_installed = self.state.lock().await.installed.contains_key(&create.module.text);
        Ok(match is_installed {
            true => Module::of_bytes(create, self.plugin_component(&create.module.text).await?).await?,
            false => Module::of_statement(create).await?,
        })
    }

    async fn pull(&self, query: QueryStatement, catalog: &Catalog) -> Result<Outcome, EngineError> {
        let limits = HistoryLimits::of_a_server();
        let result = history::query_statement(&self.client, query, catalog, limits).await?;
        Ok(Outcome::Rows { schema: result.schema, batches: result.batches })
    }

    async fn push(&self, query: &QueryStatement, catalog: &Catalog) -> Result<Outcome, EngineError> {
        let listener = Arc::clone(&self.listeners).try_acquire_owned();
        let counted = listener.map_err(|_| EngineError::TooManyListeners)?;
        let plan = plan_changes(query, catalog)?;
        let changes = Changes::start(&self.client, "a listener's", plan).await?;
        Ok(Outcome::Changes(Box::new(PushQuery { changes, _counted: counted })))
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
            Statement::ExplainQuery(name) => {
                let (object, (plan, _)) = self.objects.query(&name)?;
                Ok(answers::explain_query(&object.kept.sql, plan)?)
            }
            Statement::Pause(name) => self.pause(&name).await,
            Statement::Resume(name) => self.resume_query(client, &name).await,
            other @ (Statement::Query(_) | Statement::CreateFunction(_)) => {
                unreachable!("{other:?} is not run here")
            }
        }
    }

    /// Takes up what was kept.
    async fn resume(
        &mut self,
        client: &Client,
        kept: &Kept,
        modules: &BTreeMap<String, Bytes>,
    ) -> Result<(), EngineError> {
        for statement in sql::parse(&kept.sql)? {
            if let Statement::CreateFunction(create) = &statement {
                let sha256 = kept.module.as_deref().unwrap_or_default();
                let Some(bytes) = modules.get(sha256) else {
                    let gone =
                        format!("the module {sha256} of the function `{}` is not kept any more", kept.name);
                    let error = SqlError::new(create.module.position, gone);
                    return Err(error.with_help("drop the function and create it again").into());
                };
                let module = Module::of_bytes(create, bytes.clone()).await?;
                let function = module.function(create)?;
                let object = self.objects.decide_function(&create.name, &kept.sql, function, bytes.len())?;
                self.objects.apply_create(object);
                continue;
            }
            let mut object = self.objects.decide_create(&statement, &kept.sql)?;
            // The name of an INSERT was chosen when it was made.
            object.kept.name.clone_from(&kept.name);
            let started = match self.paused.contains(&kept.name) {
                true => Ok(()),
                false => self.start(client, &object).await,
            };
            self.objects.apply_create(object);
            started?;
        }
        Ok(())
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
            make_topic(client, &relation.topic, relation.primary_key.is_some()).await?;
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

    async fn create_function(
        &mut self,
        client: &Client,
        create: &CreateFunction,
        module: &Module,
        text: &str,
    ) -> Result<Outcome, EngineError> {
        let function = module.function(create)?;
        let object = self.objects.decide_function(&create.name, text, function, module.bytes.len())?;
        // The module first: a statement must not be kept without it.
        if !self.is_module_kept(module.sha256()) {
            modules::keep(client, module.sha256(), &module.bytes).await?;
        }
        self.store.keep(&object.kept).await?;
        let name = &create.name.text;
        let done = format!("FUNCTION {name} created of the module {}", module.sha256());
        self.objects.apply_create(object);
        // One of this name that could not be started again is not kept any more.
        self.forget_lost(client, name).await?;
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
        if drop.kind == ObjectKind::Function && self.lost.contains_key(&drop.name.text) {
            let name = &drop.name.text;
            self.store.forget(name).await?;
            self.forget_lost(client, name).await?;
            return Ok(Outcome::Done(format!("FUNCTION {name} dropped")));
        }
        let Some(object) = self.objects.decide_drop(drop)?.cloned() else {
            return Ok(Outcome::Done(format!("there is no {} {}", drop.kind.word(), drop.name.text)));
        };
        let name = object.kept.name.clone();
        self.store.forget(&name).await?;
        if self.paused.remove(&name) {
            self.store.keep_paused(&name, false).await?;
        }
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
        self.failed.remove(&name);
        self.objects.apply_drop(&name);
        if let (Some(sha256), Some(function)) = (&object.kept.module, &object.function) {
            self.forget_module(client, sha256, function.module_bytes).await?;
        }
        Ok(Outcome::Done(format!("{} {name} dropped", object.kind.word())))
    }

    /// Forgets a function that could not be started again and is not kept any more.
    async fn forget_lost(&mut self, client: &Client, name: &str) -> Result<(), EngineError> {
        let Some(lost) = self.lost.remove(name) else { return Ok(()) };
        self.failed.remove(name);
        match lost.module_bytes {
            Some(bytes) => self.forget_module(client, &lost.module, bytes).await,
            None => Ok(()),
        }
    }

    fn status_of(&self, name: &str) -> Option<QueryStatus> {
        let of_phase = |phase| QueryStatus { phase, ..QueryStatus::default() };
        let failed = || self.failed.get(name).map(|reason| of_phase(QueryPhase::Failed(reason.clone())));
        let paused = || self.paused.contains(name).then(|| of_phase(QueryPhase::Stopped));
        self.running.get(name).map(QueryHandle::status).or_else(failed).or_else(paused)
    }
}

/// The statements of a text; a query with EMIT is the last.
fn statements(text: &str) -> Result<Vec<(Statement, &str)>, EngineError> {
    let statements = sql::parse_with_text(text)?;
    let before_last = statements.len().saturating_sub(1);
    for (statement, _) in statements.iter().take(before_last) {
        if let Statement::Query(query) = statement
            && let Some((_, position)) = query.emit
        {
            let error =
                SqlError::new(position, "a query with EMIT does not end, so nothing after it would be run");
            return Err(error.with_help("put it last").into());
        }
    }
    Ok(statements)
}

/// Makes a topic where it is missing; of a table only the newest record of each key is needed.
async fn make_topic(client: &Client, topic: &str, is_table: bool) -> Result<(), ClientError> {
    let mut topic = NewTopic::new(topic, 1);
    if is_table {
        topic.configs.insert("cleanup.policy".to_owned(), "compact".to_owned());
    }
    match client.admin().create_topics(&[topic]).await {
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
