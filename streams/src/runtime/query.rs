//! Starting a query and the handle to a running one.

use std::sync::Arc;

use ottla_client::Client;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;

use super::driver::{Command, Driver, EpochPace};
use super::epoch::EpochRunner;
use super::error::QueryError;
use super::kafka::KafkaLog;
use super::log::QueryLog;
use super::status::QueryStatus;
use crate::planner::QueryPlan;

/// What a query is called and where its records go.
#[derive(Debug, Clone)]
pub struct QueryConfig {
    /// The query's name: its changelog is `<name>-changelog`. Two queries of one cluster must not share a name.
    pub name: String,
    /// What it computes, from [`crate::plan`].
    pub plan: QueryPlan,
    /// The topic it writes; made if it does not exist.
    pub output_topic: String,
    /// Partitions of the output topic if it has to be made.
    pub output_partitions: i32,
    /// The format of the output's values. Keys are JSON.
    pub output_format: String,
    /// The topic of records that cannot be processed and of late rows; made if it does not exist.
    pub dead_letter_topic: String,
    /// When epochs are cut.
    pub pace: EpochPace,
}

impl QueryConfig {
    /// A query with the defaults: the output topic is named as the query, with one partition, JSON values and dead
    /// letters in `<name>.dlq`.
    pub fn new(name: impl Into<String>, plan: QueryPlan) -> Self {
        let name = name.into();
        QueryConfig {
            output_topic: name.clone(),
            output_partitions: 1,
            output_format: "json".to_owned(),
            dead_letter_topic: format!("{name}.dlq"),
            pace: EpochPace::default(),
            plan,
            name,
        }
    }

    /// The topic that holds the query's progress and state.
    pub fn changelog_topic(&self) -> String {
        format!("{}-changelog", self.name)
    }
}

/// A streaming query.
#[derive(Debug)]
pub struct Query;

impl Query {
    /// Makes the query's topics where they are missing and starts it in a task of the current runtime. The input topic
    /// must exist. A query that ran before goes on from its last commit.
    ///
    /// # Errors
    /// When the topics cannot be made or the configuration names a format that does not exist. What happens later is in
    /// the handle.
    pub async fn start(client: &Client, config: QueryConfig) -> Result<QueryHandle, QueryError> {
        let log = Arc::new(KafkaLog::open(client, &config).await?);
        Query::start_on(log, config)
    }

    /// The same over any log; for tests without a broker.
    ///
    /// # Errors
    /// When the configuration names a format that does not exist.
    pub fn start_on(log: Arc<dyn QueryLog>, config: QueryConfig) -> Result<QueryHandle, QueryError> {
        let runner = EpochRunner::new(&config.name, Arc::new(config.plan), &config.output_format)?
            .with_output_topic(&config.output_topic);
        Ok(Query::spawn(&config.name, runner, log, config.pace))
    }

    /// Runs a query in a task of the current runtime.
    pub(super) fn spawn(
        name: &str,
        runner: EpochRunner,
        log: Arc<dyn QueryLog>,
        pace: EpochPace,
    ) -> QueryHandle {
        let (status_sender, status) = watch::channel(QueryStatus::default());
        let (commands, command_receiver) = mpsc::channel(4);
        let driver = Driver::new(name, runner, log, pace, status_sender, command_receiver);
        let task = tokio::spawn(async move {
            let name = driver.name().to_owned();
            let outcome = driver.run().await;
            match &outcome {
                Ok(status) => {
                    tracing::info!(query = name, phase = ?status.phase, epoch = status.epoch.0, "query ended")
                }
                Err(QueryError::ListenerGone { .. }) => tracing::info!(query = name, "the listener has gone"),
                Err(error) => tracing::error!(query = name, %error, "query failed"),
            }
            outcome
        });
        QueryHandle { name: name.to_owned(), status, commands, task: Mutex::new(Some(task)) }
    }
}

/// A running query. Dropping it stops the query after the epoch in hand.
#[derive(Debug)]
pub struct QueryHandle {
    name: String,
    status: watch::Receiver<QueryStatus>,
    commands: mpsc::Sender<Command>,
    task: Mutex<Option<JoinHandle<Result<QueryStatus, QueryError>>>>,
}

impl QueryHandle {
    /// The query's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its progress as of its last commit.
    pub fn status(&self) -> QueryStatus {
        self.status.borrow().clone()
    }

    /// Whether it runs no more, for whatever reason.
    pub fn has_ended(&self) -> bool {
        self.commands.is_closed()
    }

    /// A receiver that wakes when the status changes.
    pub fn watch(&self) -> watch::Receiver<QueryStatus> {
        self.status.clone()
    }

    /// Processes everything that is in the input topic now, lets the watermark pass it all so that every window closes,
    /// and ends the query. For bounded input: call it when its producer is done.
    ///
    /// # Errors
    /// Why the query failed.
    pub async fn finish(&self) -> Result<QueryStatus, QueryError> {
        self.command(Command::Finish).await;
        self.wait().await
    }

    /// Ends the query after the epoch in hand; a later start goes on from there.
    ///
    /// # Errors
    /// Why the query failed before.
    pub async fn stop(&self) -> Result<QueryStatus, QueryError> {
        self.command(Command::Stop).await;
        self.wait().await
    }

    /// Waits until the query ends, by itself or by another's command. Only the first of several callers is told why it
    /// failed; the others see it in the status.
    ///
    /// # Errors
    /// Why the query failed.
    pub async fn wait(&self) -> Result<QueryStatus, QueryError> {
        let mut task = self.task.lock().await;
        let Some(running) = task.as_mut() else { return Ok(self.status()) };
        let outcome = running.await;
        *task = None;
        match outcome {
            Ok(outcome) => outcome,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(QueryError::TornDown { query: self.name.clone() }),
        }
    }

    async fn command(&self, command: Command) {
        if self.commands.send(command).await.is_err() {
            tracing::debug!(query = self.name, ?command, "the query has ended already");
        }
    }
}
