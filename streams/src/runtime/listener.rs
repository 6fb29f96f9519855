//! A query whose changes go to a listener instead of a topic, and that leaves nothing behind.
//!
//! It has no changelog: it reads its input from the beginning, and when the listener has gone it is forgotten.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use ottla_client::Client;
use tokio::sync::mpsc;

use super::driver::EpochPace;
use super::epoch::EpochRunner;
use super::error::QueryError;
use super::input::FetchedInput;
use super::kafka_input::{KafkaInput, now_ms};
use super::log::{EpochRecords, QueryLog, RawChangelogRecord};
use super::query::{Query, QueryHandle};
use crate::operators::Rows;
use crate::planner::QueryPlan;
use crate::state::changelog::InputOffsets;

/// Epochs whose changes wait for the listener; while there are as many, the query waits.
const EPOCHS_WAITING: usize = 1;

/// A running query and its changes. Dropping it ends the query.
#[derive(Debug)]
pub struct Changes {
    schema: SchemaRef,
    receiver: mpsc::Receiver<Vec<Rows>>,
    handle: QueryHandle,
}

impl Changes {
    /// Starts a query from the beginning of its topics.
    ///
    /// # Errors
    /// When a topic does not exist, or a format.
    pub async fn start(client: &Client, name: &str, plan: QueryPlan) -> Result<Changes, QueryError> {
        let failed = |source| QueryError::Client { query: name.to_owned(), source };
        let input = KafkaInput::open(client, &plan.sources).await.map_err(failed)?;
        let schema = Arc::clone(&plan.output_schema);
        let (sender, receiver) = mpsc::channel(EPOCHS_WAITING);
        let log = ListenerLog { query: name.to_owned(), input, sender };
        let runner = EpochRunner::of_changes(name, Arc::new(plan))?;
        let handle = Query::spawn(name, runner, Arc::new(log), EpochPace::default());
        Ok(Changes { schema, receiver, handle })
    }

    /// The columns of the rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The changes of the next epoch that has any: rows that go before rows that come.
    ///
    /// # Errors
    /// Why the query failed; it gives nothing more then.
    pub async fn next(&mut self) -> Result<Option<Vec<Rows>>, QueryError> {
        match self.receiver.recv().await {
            Some(changes) => Ok(Some(changes)),
            None => self.handle.wait().await.map(|_| None),
        }
    }
}

struct ListenerLog {
    query: String,
    input: KafkaInput,
    sender: mpsc::Sender<Vec<Rows>>,
}

impl ListenerLog {
    fn failed(&self, source: ottla_client::ClientError) -> QueryError {
        QueryError::Client { query: self.query.clone(), source }
    }
}

#[async_trait]
impl QueryLog for ListenerLog {
    async fn read_changelog(&self) -> Result<Vec<RawChangelogRecord>, QueryError> {
        Ok(Vec::new())
    }

    async fn commit(&self, records: EpochRecords) -> Result<(), QueryError> {
        if !records.dead_letters.is_empty() {
            // There is no topic to keep them in.
            tracing::warn!(
                query = self.query,
                count = records.dead_letters.len(),
                "records were left out: they are bad or late"
            );
        }
        if records.changes.is_empty() {
            return Ok(());
        }
        let gone = |_| QueryError::ListenerGone { query: self.query.clone() };
        self.sender.send(records.changes).await.map_err(gone)
    }

    async fn seek_input(&self, positions: &InputOffsets) -> Result<(), QueryError> {
        self.input.seek(positions).await.map_err(|source| self.failed(source))
    }

    async fn poll_input(&self, timeout: Duration) -> Result<Vec<FetchedInput>, QueryError> {
        self.input.poll(timeout).await.map_err(|source| self.failed(source))
    }

    async fn input_ends(&self) -> Result<InputOffsets, QueryError> {
        self.input.ends().await.map_err(|source| self.failed(source))
    }

    fn now_ms(&self) -> i64 {
        now_ms()
    }
}
