//! A thread that reads for a source whose system knows only blocking calls, some batches ahead of whoever polls. It knows
//! nothing of what is read.

use std::io;
use std::thread::JoinHandle;
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
    /// Until it has ended.
    thread: Option<JoinHandle<()>>,
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
        let thread = std::thread::Builder::new().name(name).spawn(move || read(&sender))?;
        Ok(Self { batches, thread: Some(thread), progress })
    }

    /// The next batch, or `None` when the thread has ended. Cancel safe.
    ///
    /// # Errors
    /// What the thread sent, or that it was lost: its end is no end of the source then.
    pub async fn poll(&mut self) -> Result<Option<SourceBatch>, ConnectorError> {
        let Some(batch) = self.batches.recv().await.transpose()? else {
            // It has let go of the batches, so it is ending.
            let is_lost = self.thread.take().is_some_and(|thread| thread.join().is_err());
            let lost = || ConnectorError::fatal("reading", "the thread that reads was lost");
            return if is_lost { Err(lost()) } else { Ok(None) };
        };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_that_panics_is_no_end_of_the_source() {
        let progress = SourceProgress { position: 0, total: 0 };
        let panics = |_: &Batches| panic!("a reader's bug");
        let mut thread = ReadingThread::start("lost".to_owned(), progress, panics).unwrap();
        assert!(thread.poll().await.unwrap_err().to_string().contains("was lost"));
        let mut thread = ReadingThread::start("done".to_owned(), progress, |_| {}).unwrap();
        assert!(thread.poll().await.unwrap().is_none());
    }
}
