//! Records and positions in one transaction: the one engine behind sources and the stages of pipelines, on a real cluster.
//!
//! ```text
//!   open      init_transactions: whoever had this id before is fenced, and what it left open is aborted
//!   send …    the first one begins a transaction
//!   commit    asked again until the coordinator says how it ended; nothing is open afterwards
//! ```
//! After an error the writer is given up: where to go on from is what was committed last, and whoever opens the next writer of
//! this id ends what is open before it looks.

use std::time::Duration;

use ottla_client::{
    Client, ClientError, CommittedOffset, GroupMetadata, Producer, ProducerConfig, Record, TopicPartition,
};
use tokio::time::{Instant, sleep};

/// How long a commit whose outcome is not known is asked for. Longer than coordinators give a transaction.
const COMMIT_TIME_MAX: Duration = Duration::from_secs(120);
/// Between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Writes transactions, one after the other.
pub struct TransactionalWriter {
    producer: Producer,
    is_open: bool,
}

impl TransactionalWriter {
    /// Becomes the one writer of this transactional id.
    ///
    /// # Errors
    /// What the transaction's coordinator answers.
    pub async fn open(client: &Client, transactional_id: &str) -> Result<Self, ClientError> {
        let config = ProducerConfig {
            transactional_id: Some(transactional_id.to_owned()),
            ..ProducerConfig::default()
        };
        let producer = client.producer(config).await?;
        producer.init_transactions().await?;
        Ok(Self { producer, is_open: false })
    }

    /// Adds records to the open transaction, or begins one with them. Waits only for room; whether they were written tells
    /// the commit.
    ///
    /// # Errors
    /// As [`Producer::send_batch`].
    pub async fn send(&mut self, topic: &str, partition: i32, records: &[Record]) -> Result<(), ClientError> {
        if records.is_empty() {
            return Ok(());
        }
        self.begin()?;
        drop(self.producer.send_batch(topic, partition, records).await?);
        Ok(())
    }

    /// Adds offsets of a consumer group to the open transaction, or begins one with them.
    ///
    /// # Errors
    /// As [`Producer::send_offsets_to_transaction`].
    pub async fn send_offsets(
        &mut self,
        group_id: &str,
        offsets: &[(TopicPartition, CommittedOffset)],
    ) -> Result<(), ClientError> {
        if offsets.is_empty() {
            return Ok(());
        }
        self.begin()?;
        self.producer.send_offsets_to_transaction(offsets, &GroupMetadata::of_group(group_id)).await
    }

    /// Commits what was sent since the last commit; nothing when that is nothing. When it returns an error nothing is
    /// committed, except after [`COMMIT_TIME_MAX`] without a coordinator: then only the next writer of this id can know.
    ///
    /// # Errors
    /// As [`Producer::commit_transaction`].
    pub async fn commit(&mut self) -> Result<(), ClientError> {
        if !self.is_open {
            return Ok(());
        }
        let give_up_at = Instant::now() + COMMIT_TIME_MAX;
        loop {
            match self.producer.commit_transaction().await {
                Err(error) if error.is_retriable() && Instant::now() < give_up_at => {
                    sleep(RETRY_PAUSE).await;
                }
                outcome => {
                    self.is_open = outcome.is_err();
                    return outcome;
                }
            }
        }
    }

    /// Ends it; what is not committed is aborted, as far as the cluster can be reached.
    pub async fn close(self) {
        // What is left failed, and whoever waited for it was told.
        let _ = self.producer.close().await;
    }

    fn begin(&mut self) -> Result<(), ClientError> {
        if !self.is_open {
            self.producer.begin_transaction()?;
            self.is_open = true;
        }
        Ok(())
    }
}

/// Whether an attempt that is begun anew with another writer may succeed.
#[must_use]
pub fn may_pass(error: &ClientError) -> bool {
    error.is_retriable() || error.must_abort()
}
