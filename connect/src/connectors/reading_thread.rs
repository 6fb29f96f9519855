//! A thread that reads for a source whose system knows only blocking calls, some batches ahead of whoever polls. It knows
//! nothing of what is read.

use std::io;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::connector::{SourceBatch, SourceProgress};
use crate::error::ConnectorError;

/// Batches that the thread is ahead.
const BATCHES_AHEAD: usize = 2;

/// How soon a thread that waits for rows notices that nobody wants them any more.
const ATTENTION: Duration = Duration::from_millis(50);

/// Where the thread sends what it reads; closed when nobody wants it any more.
pub(super) type Batches = mpsc::Sender<Result<SourceBatch, ConnectorError>>;

/// What the thread has read, and how far that is.
pub(super) struct ReadingThread {
    batches: mpsc::Receiver<Result<SourceBatch, ConnectorError>>,
    pub progress: SourceProgress,
}

impl ReadingThread {
    /// Starts a thread that runs `read` until it returns, which ends the source.
    pub fn start(
        name: String,
        progress: SourceProgress,
        read: impl FnOnce(&Batches) + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        std::thread::Builder::new().name(name).spawn(move || read(&sender))?;
        Ok(Self { batches, progress })
    }

    /// The next batch, or `None` when the thread has ended. Cancel safe.
    pub async fn poll(&mut self) -> Result<Option<SourceBatch>, ConnectorError> {
        let Some(batch) = self.batches.recv().await.transpose()? else { return Ok(None) };
        self.progress.position = batch.resume.position;
        self.progress.total = self.progress.total.max(batch.resume.position);
        Ok(Some(batch))
    }
}

/// Waits for rows to come; false when nobody wants them any more.
pub(super) fn wait(interval: Duration, sender: &Batches) -> bool {
    let until = Instant::now() + interval;
    while !sender.is_closed() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(ATTENTION));
    }
    false
}
