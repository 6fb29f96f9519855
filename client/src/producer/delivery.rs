//! The promise of an acknowledgement. One completion per batch is shared by the deliveries of its records, so a
//! record costs no allocation of its own.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use crate::RecordMetadata;
use crate::error::ClientError;

/// What the broker said of a whole batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    /// Offset of the first record; -1 when it is not known.
    pub(crate) base_offset: i64,
    /// The broker's time, or -1 when the records keep their own.
    pub(crate) log_append_time_ms: i64,
}

pub(crate) type Outcome = Result<Acknowledged, ClientError>;

/// The outcome of a batch, once it is known, and who waits for it.
#[derive(Debug, Default)]
pub(crate) struct Completion {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    outcome: Option<Outcome>,
    wakers: Vec<Waker>,
}

impl Completion {
    /// Tells everyone. Only the first outcome counts.
    pub(crate) fn complete(&self, outcome: Outcome) {
        let wakers = {
            let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            state.outcome.get_or_insert(outcome);
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Outcome> {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(outcome) = &state.outcome {
            return Poll::Ready(outcome.clone());
        }
        if !state.wakers.last().is_some_and(|last| last.will_wake(context.waker())) {
            state.wakers.push(context.waker().clone());
        }
        Poll::Pending
    }

    /// Waits for the outcome.
    pub(crate) async fn wait(&self) -> Outcome {
        std::future::poll_fn(|context| self.poll(context)).await
    }
}

/// Resolves when the records are acknowledged, or given up: to the metadata of the first of them.
///
/// Dropping it takes nothing back.
#[must_use = "a record may fail after `send`; await this to know"]
#[derive(Debug)]
pub struct Delivery {
    /// The batch with the first record, and that record's place in it.
    pub(crate) first: Arc<Completion>,
    pub(crate) index: u32,
    pub(crate) partition: i32,
    pub(crate) timestamp_ms: i64,
    /// The batches that the other records went to.
    pub(crate) rest: Vec<Arc<Completion>>,
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, ClientError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // The last batch first: it is usually the last to be done, so earlier ones are rarely polled in vain.
        while let Some(last) = self.rest.last() {
            match last.poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(_)) => {
                    self.rest.pop();
                }
            }
        }
        self.first.poll(context).map_ok(|acknowledged| RecordMetadata {
            partition: self.partition,
            offset: match acknowledged.base_offset {
                -1 => -1,
                base_offset => base_offset + i64::from(self.index),
            },
            timestamp_ms: match acknowledged.log_append_time_ms {
                -1 => self.timestamp_ms,
                log_append_time_ms => log_append_time_ms,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(first: &Arc<Completion>, rest: Vec<Arc<Completion>>) -> Delivery {
        Delivery { first: first.clone(), index: 2, partition: 1, timestamp_ms: 9, rest }
    }

    #[tokio::test]
    async fn resolves_to_the_records_own_offset() {
        let batch = Arc::new(Completion::default());
        let waiting = tokio::spawn(delivery(&batch, Vec::new()));
        batch.complete(Ok(Acknowledged { base_offset: 40, log_append_time_ms: -1 }));
        batch.complete(Err(ClientError::Closed("producer")));
        let metadata = waiting.await.unwrap().unwrap();
        assert_eq!(metadata, RecordMetadata { partition: 1, offset: 42, timestamp_ms: 9 });
    }

    #[tokio::test]
    async fn one_failed_batch_fails_the_whole_delivery() {
        let (first, second) = (Arc::new(Completion::default()), Arc::new(Completion::default()));
        first.complete(Ok(Acknowledged { base_offset: 0, log_append_time_ms: -1 }));
        second.complete(Err(ClientError::Closed("producer")));
        assert!(delivery(&first, vec![second]).await.is_err());
    }
}
