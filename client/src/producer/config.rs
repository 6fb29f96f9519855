//! How a producer batches, retries and promises. Names and most defaults are Kafka's.

use std::time::Duration;

use ottla_protocol::records::Compression;

use crate::error::ClientError;

/// When the broker answers a produce request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acks {
    /// Never: a lost record goes unnoticed, and offsets are not known.
    None,
    /// When the leader has it.
    Leader,
    /// When every in-sync replica has it.
    #[default]
    All,
}

impl Acks {
    pub(crate) fn code(self) -> i16 {
        match self {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        }
    }
}

/// How a producer batches, retries and promises.
#[derive(Debug, Clone)]
pub struct ProducerConfig {
    pub acks: Acks,
    /// Each record is written exactly once and in order per partition, through retries (KIP-98). Needs `acks` all.
    pub enable_idempotence: bool,
    pub compression: Compression,
    /// How long a batch waits for company.
    pub linger: Duration,
    /// Bytes at which a batch is closed, before compression. Also what the broker's `message.max.bytes` must allow.
    pub batch_size: usize,
    /// Bytes of batches in one request; also the largest record.
    pub max_request_size: usize,
    /// Bytes of records not yet acknowledged, beyond which `send` waits.
    pub buffer_memory: usize,
    /// Requests on their way to one broker. Kafka remembers five batches per producer and partition, so no more
    /// than that with idempotence.
    pub max_in_flight: usize,
    /// How long a record may take from `send` to its acknowledgement, retries included.
    pub delivery_timeout: Duration,
    /// How long `send` waits for a topic to be known.
    pub max_block: Duration,
    /// Makes the producer transactional (see [`Producer::init_transactions`]). Whoever comes later with the same id
    /// ends what this one left open, and fences it.
    ///
    /// [`Producer::init_transactions`]: crate::Producer::init_transactions
    pub transactional_id: Option<String>,
    /// After how long the coordinator aborts a transaction that was neither committed nor aborted.
    pub transaction_timeout: Duration,
}

impl Default for ProducerConfig {
    fn default() -> ProducerConfig {
        ProducerConfig {
            acks: Acks::All,
            enable_idempotence: true,
            compression: Compression::None,
            linger: Duration::from_millis(5),
            batch_size: 1 << 20,
            max_request_size: 8 << 20,
            buffer_memory: 32 << 20,
            max_in_flight: 5,
            delivery_timeout: Duration::from_secs(120),
            max_block: Duration::from_secs(60),
            transactional_id: None,
            transaction_timeout: Duration::from_secs(60),
        }
    }
}

impl ProducerConfig {
    pub(crate) fn validate(&self) -> Result<(), ClientError> {
        let wrong = |reason: &str| Err(ClientError::InvalidConfig(reason.to_owned()));
        if self.enable_idempotence && self.acks != Acks::All {
            return wrong("enable_idempotence needs acks all");
        }
        match self.transactional_id.as_deref() {
            Some("") => return wrong("transactional_id is empty"),
            Some(_) if !self.enable_idempotence => return wrong("transactional_id needs enable_idempotence"),
            Some(_) | None => {}
        }
        if self.max_in_flight == 0 || (self.enable_idempotence && self.max_in_flight > 5) {
            return wrong("max_in_flight must be 1 to 5 with enable_idempotence, at least 1 without");
        }
        if self.buffer_memory < self.max_request_size {
            return wrong("buffer_memory must be at least max_request_size");
        }
        if u32::try_from(self.buffer_memory).is_err() {
            return wrong("buffer_memory must be below 4 GiB");
        }
        Ok(())
    }

    /// Batches of one partition that may be under way at once. Without sequences nothing keeps a retried batch from
    /// landing behind its successor, so then there is only one.
    pub(crate) fn max_in_flight_per_partition(&self) -> usize {
        if self.enable_idempotence { self.max_in_flight } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idempotence_with_weaker_acks_is_refused() {
        assert!(ProducerConfig::default().validate().is_ok());
        let config = ProducerConfig { acks: Acks::Leader, ..ProducerConfig::default() };
        assert!(config.validate().is_err());
        assert!(ProducerConfig { enable_idempotence: false, ..config }.validate().is_ok());
        assert!(ProducerConfig { max_in_flight: 6, ..ProducerConfig::default() }.validate().is_err());
    }
}
