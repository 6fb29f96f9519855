//! The registry while it runs: one task that reads the topic, decides changes, writes them and gives answers.
//!
//! ```text
//!  change ─► caught up with the topic ─► decide ─► append, acknowledged ─► read back ─► apply ─► answer
//! ```
//!
//! What is applied always comes from the topic, so a registry that was restarted, or that somebody else writes beside,
//! knows the same. Answers to questions come from memory and wait for nothing once the topic was read.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use ottla_client::{ClientError, Record};
use tokio::sync::{mpsc, oneshot, watch};

use super::decide::{Change, Reply};
use super::error::RegistryError;
use super::log::SchemaLog;
use super::records::{SchemaRecord, TOPIC};
use super::subjects::Subjects;

/// Changes that wait for their turn; beyond that, callers wait.
const CHANGES_MAX: usize = 64;
/// How long one read of the topic waits for records.
const POLL_WAIT: Duration = Duration::from_millis(500);
/// How long after it was not there, or could not be read, the topic is looked for again.
const RETRY: Duration = Duration::from_secs(1);
/// How long a question waits for the topic to be read at the start.
const LOAD_WAIT: Duration = Duration::from_secs(30);

/// How far the registry is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Loading,
    Loaded,
    Failing(String),
}

struct Asked {
    change: Change,
    answer: oneshot::Sender<Result<Reply, RegistryError>>,
}

/// A running registry. Cheap to clone; it ends with its last clone.
#[derive(Clone)]
pub struct SchemaRegistry {
    subjects: Arc<RwLock<Subjects>>,
    phase: watch::Receiver<Phase>,
    changes: mpsc::Sender<Asked>,
}

impl SchemaRegistry {
    /// Starts a registry over a log; it reads the log before it answers.
    #[must_use]
    pub fn start(log: impl SchemaLog) -> SchemaRegistry {
        let subjects = Arc::new(RwLock::new(Subjects::default()));
        let (set_phase, phase) = watch::channel(Phase::Loading);
        let (changes, asked) = mpsc::channel(CHANGES_MAX);
        let owner = Owner { log, subjects: Arc::clone(&subjects), is_open: false };
        tokio::spawn(owner.run(asked, set_phase));
        SchemaRegistry { subjects, phase, changes }
    }

    /// Answers a question from what the topic says.
    ///
    /// # Errors
    /// [`RegistryError::NotReady`] while the topic has not been read; what `question` has.
    pub async fn ask<T>(
        &self,
        question: impl FnOnce(&Subjects) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let mut phase = self.phase.clone();
        let loaded = phase.wait_for(|phase| *phase == Phase::Loaded);
        if tokio::time::timeout(LOAD_WAIT, loaded).await.is_err() {
            let reason = match &*self.phase.borrow() {
                Phase::Failing(reason) => reason.clone(),
                Phase::Loading | Phase::Loaded => format!("the topic {TOPIC} is still being read"),
            };
            return Err(RegistryError::NotReady(reason));
        }
        question(&self.subjects.read().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    /// Makes a change; when this returns it is on all in-sync replicas.
    ///
    /// # Errors
    /// Why it was not made; [`RegistryError::Store`] where it is not known whether it was.
    pub async fn change(&self, change: Change) -> Result<Reply, RegistryError> {
        let (answer, answered) = oneshot::channel();
        let stopped = || RegistryError::NotReady("it is being stopped".to_owned());
        self.changes.send(Asked { change, answer }).await.map_err(|_| stopped())?;
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }
}

/// The task that owns the log.
struct Owner<L> {
    log: L,
    subjects: Arc<RwLock<Subjects>>,
    is_open: bool,
}

enum Event {
    Asked(Asked),
    Read(Result<(), ClientError>),
    Closed,
}

impl<L: SchemaLog> Owner<L> {
    async fn run(mut self, mut asked: mpsc::Receiver<Asked>, phase: watch::Sender<Phase>) {
        let mut loaded = false;
        loop {
            if !loaded {
                match self.load().await {
                    Ok(()) => {
                        loaded = true;
                        phase.send_replace(Phase::Loaded);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the schema registry cannot read its topic");
                        phase.send_replace(Phase::Failing(error.to_string()));
                    }
                }
            }
            let event = tokio::select! {
                received = asked.recv() => received.map_or(Event::Closed, Event::Asked),
                read = self.follow(loaded) => Event::Read(read),
            };
            match event {
                Event::Asked(Asked { change, answer }) => {
                    // Who asked may have gone; the change stands all the same.
                    let _ = answer.send(self.on_change(&change).await);
                }
                Event::Read(Ok(())) => {}
                Event::Read(Err(error)) => {
                    tracing::warn!(%error, "the schema registry cannot read its topic");
                    tokio::time::sleep(RETRY).await;
                }
                Event::Closed => return,
            }
        }
    }

    /// Reads what the topic holds, if there is one.
    async fn load(&mut self) -> Result<(), ClientError> {
        self.is_open = self.log.open(false).await?;
        if self.is_open {
            self.catch_up().await?;
        }
        Ok(())
    }

    /// Takes what comes, or waits until it is worth looking again. Cancel safe.
    async fn follow(&mut self, loaded: bool) -> Result<(), ClientError> {
        if !loaded || !self.is_open {
            tokio::time::sleep(RETRY).await;
            // Another registry may have made the topic meanwhile.
            self.is_open = loaded && self.log.open(false).await?;
            return Ok(());
        }
        self.read(POLL_WAIT).await
    }

    async fn read(&mut self, wait: Duration) -> Result<(), ClientError> {
        let records = self.log.poll(wait).await?;
        let mut subjects = self.subjects.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        for logged in records {
            let Record { key, value, .. } = logged.record;
            let read = SchemaRecord::read(key.as_deref().unwrap_or_default(), value.as_deref());
            match read {
                Ok(Some(record)) => subjects.apply(record),
                Ok(None) => {}
                Err(reason) => {
                    tracing::error!(topic = TOPIC, offset = logged.offset, reason, "a record cannot be read");
                }
            }
        }
        Ok(())
    }

    async fn catch_up(&mut self) -> Result<(), ClientError> {
        let end = self.log.end().await?;
        self.read_to(end).await
    }

    async fn read_to(&mut self, end: i64) -> Result<(), ClientError> {
        while self.log.position().await? < end {
            self.read(POLL_WAIT).await?;
        }
        Ok(())
    }

    async fn on_change(&mut self, change: &Change) -> Result<Reply, RegistryError> {
        let store = |error: ClientError| RegistryError::Store(error.to_string());
        // A change that is refused makes no topic.
        self.is_open = self.log.open(false).await.map_err(store)?;
        if self.is_open {
            self.catch_up().await.map_err(store)?;
        }
        let (records, reply) =
            self.subjects.read().unwrap_or_else(|poisoned| poisoned.into_inner()).decide(change)?;
        if records.is_empty() {
            return Ok(reply);
        }
        self.is_open = self.log.open(true).await.map_err(store)?;
        let record = |record: &SchemaRecord| Record {
            key: Some(record.key()),
            value: record.value(),
            ..Record::default()
        };
        let last = self.log.append(records.iter().map(record).collect()).await.map_err(store)?;
        self.read_to(last + 1).await.map_err(store)?;
        Ok(reply)
    }
}
