//! The topic in memory, which outlives the registries that read it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ottla_client::{ClientError, ErrorCode, Record};
use tokio::sync::Notify;

use crate::registry::{Logged, SchemaLog};

#[derive(Default)]
struct Topic {
    is_made: bool,
    records: Vec<Record>,
    is_failing: bool,
}

/// What stays when a registry goes.
#[derive(Clone, Default)]
pub struct Storage {
    topic: Arc<Mutex<Topic>>,
    written: Arc<Notify>,
}

impl Storage {
    fn topic(&self) -> MutexGuard<'_, Topic> {
        self.topic.lock().unwrap()
    }

    pub fn log(&self) -> MemoryLog {
        MemoryLog { storage: self.clone(), position: 0 }
    }

    pub fn is_made(&self) -> bool {
        self.topic().is_made
    }

    /// Appends are refused from now on, or no longer.
    pub fn fail(&self, is_failing: bool) {
        self.topic().is_failing = is_failing;
    }

    /// Writes as another registry would.
    pub fn write(&self, key: &str, value: &str) {
        let mut topic = self.topic();
        topic.is_made = true;
        let (key, value) = (Bytes::from(key.to_owned()), Bytes::from(value.to_owned()));
        topic.records.push(Record::new(key, value));
        self.written.notify_waiters();
    }
}

pub struct MemoryLog {
    storage: Storage,
    position: usize,
}

#[async_trait]
impl SchemaLog for MemoryLog {
    async fn open(&mut self, may_create: bool) -> Result<bool, ClientError> {
        let mut topic = self.storage.topic();
        topic.is_made |= may_create;
        Ok(topic.is_made)
    }

    async fn end(&mut self) -> Result<i64, ClientError> {
        Ok(i64::try_from(self.storage.topic().records.len()).unwrap())
    }

    async fn poll(&mut self, wait: Duration) -> Result<Vec<Logged>, ClientError> {
        let written = self.storage.written.clone();
        let notified = written.notified();
        let is_behind = self.position < self.storage.topic().records.len();
        if !is_behind {
            let _ = tokio::time::timeout(wait, notified).await;
        }
        let topic = self.storage.topic();
        let new = topic.records.iter().enumerate().skip(self.position);
        let logged = new.map(|(offset, record)| Logged {
            offset: i64::try_from(offset).unwrap(),
            record: record.clone(),
        });
        let logged: Vec<Logged> = logged.collect();
        self.position = topic.records.len();
        Ok(logged)
    }

    async fn position(&mut self) -> Result<i64, ClientError> {
        Ok(i64::try_from(self.position).unwrap())
    }

    async fn append(&mut self, records: Vec<Record>) -> Result<i64, ClientError> {
        let mut topic = self.storage.topic();
        if topic.is_failing {
            let (what, code) = ("appending".to_owned(), ErrorCode::NotEnoughReplicas);
            return Err(ClientError::Broker { what, code, message: None });
        }
        topic.records.extend(records);
        self.storage.written.notify_waiters();
        Ok(i64::try_from(topic.records.len()).unwrap() - 1)
    }
}
