//! A task that reads for a source whose system is asked over the network, some batches ahead of whoever polls: a poll may be
//! dropped at any time, a request should not be.

use std::future::Future;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::connector::SourceBatch;
use crate::error::ConnectorError;

/// Batches that the task is ahead.
const BATCHES_AHEAD: usize = 1;

/// Where the task sends what it reads; closed when nobody wants it any more.
pub(super) type Batches = mpsc::Sender<SourceBatch>;

/// What the task has read.
pub(super) struct ReadingTask {
    batches: mpsc::Receiver<SourceBatch>,
    outcome: tokio::sync::oneshot::Receiver<Result<(), ConnectorError>>,
    task: AbortHandle,
    what: String,
}

impl ReadingTask {
    /// Starts a task that runs `read` until it returns, which ends the source. Must be called on a runtime.
    pub fn start<F>(what: &str, read: impl FnOnce(Batches) -> F) -> Self
    where
        F: Future<Output = Result<(), ConnectorError>> + Send + 'static,
    {
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        let (ended, outcome) = tokio::sync::oneshot::channel();
        let reading = read(sender);
        let task = tokio::spawn(async move {
            // Nobody may be there to hear it.
            let _ = ended.send(reading.await);
        });
        Self { batches, outcome, task: task.abort_handle(), what: what.to_owned() }
    }

    /// The next batch, or `None` when the task has ended. Cancel safe.
    pub async fn poll(&mut self) -> Result<Option<SourceBatch>, ConnectorError> {
        if let Some(batch) = self.batches.recv().await {
            return Ok(Some(batch));
        }
        let lost = |_| Err(ConnectorError::fatal(&self.what, "what read for it was lost"));
        (&mut self.outcome).await.unwrap_or_else(lost).map(|()| None)
    }
}

impl Drop for ReadingTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}
