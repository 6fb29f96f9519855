//! Limits and delays of transactions, by Kafka's names and defaults.

use std::time::Duration;

/// See the module.
#[derive(Clone, Debug)]
pub struct TransactionConfig {
    /// `transaction.max.timeout.ms`: what a producer may ask for.
    pub timeout_max: Duration,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`: how often those that take too long are looked for.
    pub abort_interval: Duration,
    /// `transactional.id.expiration.ms`: how long an id that is not used is remembered.
    pub id_expiration: Duration,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`: how often such ids are looked for.
    pub expire_interval: Duration,
}

impl Default for TransactionConfig {
    fn default() -> TransactionConfig {
        TransactionConfig {
            timeout_max: Duration::from_secs(15 * 60),
            abort_interval: Duration::from_secs(10),
            id_expiration: Duration::from_secs(7 * 24 * 3600),
            expire_interval: Duration::from_secs(3600),
        }
    }
}
