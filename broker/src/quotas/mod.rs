//! Quotas: how much users, client ids and addresses may take of a broker, and how long they wait when they took more
//! (KIP-13, 124, 219, 546, 599, 612). Pure but for the lock around what was counted; times are given.
//!
//! A client that took too much is told how long it should wait (`throttle_time_ms`), and is not read from for as long,
//! whether it heeds that or not.

mod entity;
mod rate;
mod throttle;
mod token_bucket;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use entity::{Counted, limit_of};
pub use rate::{Rate, Windows};
pub use throttle::{ReplicationThrottles, Throttle, UNLIMITED};
pub use token_bucket::TokenBucket;

use crate::controller::ClientQuotas;

/// What a quota limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QuotaType {
    /// Bytes of produce requests a second.
    Produce,
    /// Bytes of fetched records a second.
    Fetch,
    /// Time at work for requests, in percent of one processor.
    Request,
    /// Partitions made and deleted a second.
    ControllerMutation,
    /// Connections opened a second by an address.
    ConnectionCreation,
}

impl QuotaType {
    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            QuotaType::Produce => "producer_byte_rate",
            QuotaType::Fetch => "consumer_byte_rate",
            QuotaType::Request => "request_percentage",
            QuotaType::ControllerMutation => "controller_mutation_rate",
            QuotaType::ConnectionCreation => "connection_creation_rate",
        }
    }
}

/// What clients have taken. Entities that took nothing for a while are forgotten.
#[derive(Debug)]
pub struct Quotas {
    windows: Windows,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    rates: HashMap<(QuotaType, Counted), Rate>,
    mutations: HashMap<Counted, TokenBucket>,
    /// How many there may be before the idle ones are looked for.
    sweep_at: usize,
}

/// Idle entities are looked for only when there are more than so many.
const SWEEP_MIN: usize = 1000;

impl Quotas {
    /// Nothing was taken yet. `windows` are `quota.window.num` and `quota.window.size.seconds`.
    pub fn new(windows: Windows) -> Quotas {
        Quotas { windows, taken: Mutex::new(Taken { sweep_at: SWEEP_MIN, ..Taken::default() }) }
    }

    /// Notes that a client took `amount`, and gives how long it has to wait; zero where it is within its quota or has none.
    pub fn take(
        &self,
        quotas: &ClientQuotas,
        quota_type: QuotaType,
        client: (&str, &str),
        amount: f64,
        now: Instant,
    ) -> Duration {
        let Some((counted, limit)) = limit_of(quotas, quota_type.name(), client) else {
            return Duration::ZERO;
        };
        self.take_of(quota_type, counted, limit, amount, now)
    }

    /// The same for an address.
    pub fn take_of_address(&self, quotas: &ClientQuotas, address: &str, now: Instant) -> Duration {
        let quota_type = QuotaType::ConnectionCreation;
        let Some((counted, limit)) = entity::limit_of_address(quotas, quota_type.name(), address) else {
            return Duration::ZERO;
        };
        self.take_of(quota_type, counted, limit, 1.0, now)
    }

    fn take_of(
        &self,
        quota_type: QuotaType,
        counted: Counted,
        limit: f64,
        amount: f64,
        now: Instant,
    ) -> Duration {
        let mut taken = self.taken();
        taken.sweep(&self.windows, now);
        let rate = taken.rates.entry((quota_type, counted)).or_default();
        rate.record(&self.windows, amount, now);
        let wait = rate.wait(&self.windows, limit, now);
        // A wait on a percentage of time is never longer than a window: it would be over by then (KIP-124).
        if quota_type == QuotaType::Request { wait.min(self.windows.size) } else { wait }
    }

    /// Takes permission for changes of the controller's. Who has used up more than there was is refused, with how long to
    /// wait; the change that uses it up is still allowed (KIP-599).
    pub fn take_mutations(
        &self,
        quotas: &ClientQuotas,
        client: (&str, &str),
        changes: usize,
        now: Instant,
    ) -> Result<(), Duration> {
        let name = QuotaType::ControllerMutation.name();
        let Some((counted, limit)) = limit_of(quotas, name, client) else { return Ok(()) };
        let burst = limit * self.windows.seconds();
        let mut taken = self.taken();
        taken.sweep(&self.windows, now);
        let bucket = taken.mutations.entry(counted).or_insert_with(|| TokenBucket::full(burst, now));
        bucket.take(limit, burst, changes as f64, now)
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Forgets who took nothing for all windows.
    fn sweep(&mut self, windows: &Windows, now: Instant) {
        if self.rates.len() + self.mutations.len() < self.sweep_at {
            return;
        }
        self.rates.retain(|_, rate| !rate.is_idle(windows, now));
        let idle = windows.size * windows.count * 2;
        self.mutations.retain(|_, bucket| bucket.last_taken() + idle > now);
        self.sweep_at = ((self.rates.len() + self.mutations.len()) * 2).max(SWEEP_MIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::QuotaEntity;

    fn quotas(user: Option<&str>, name: &str, limit: f64) -> ClientQuotas {
        let entity = QuotaEntity { user: Some(user.map(str::to_owned)), ..QuotaEntity::default() };
        [(entity, [(name.to_owned(), limit)].into())].into()
    }

    #[test]
    fn a_client_that_takes_twice_its_quota_is_slowed_down_to_it() {
        let limits = quotas(Some("alice"), "producer_byte_rate", 1000.0);
        let quotas = Quotas::new(Windows::default());
        let start = Instant::now();
        let (mut now, mut sent) = (start, 0.0);
        while now < start + Duration::from_secs(60) {
            sent += 500.0;
            let wait = quotas.take(&limits, QuotaType::Produce, ("alice", "c"), 500.0, now);
            now += Duration::from_millis(250) + wait;
        }
        let rate = sent / now.duration_since(start).as_secs_f64();
        assert!((900.0..1200.0).contains(&rate), "{rate} bytes a second");
        assert_eq!(quotas.take(&limits, QuotaType::Produce, ("bob", "c"), 1e9, now), Duration::ZERO);
        assert_eq!(quotas.take(&limits, QuotaType::Fetch, ("alice", "c"), 1e9, now), Duration::ZERO);
    }

    #[test]
    fn changes_of_the_controller_are_refused_once_the_burst_is_used_up() {
        let limits = quotas(None, "controller_mutation_rate", 2.0);
        let quotas = Quotas::new(Windows::default());
        let now = Instant::now();
        let take = |changes, now| quotas.take_mutations(&limits, ("alice", ""), changes, now);
        assert_eq!(take(30, now), Ok(()), "22 were there, and the change that uses them up is allowed");
        let wait = take(1, now).unwrap_err();
        assert_eq!(wait, Duration::from_secs(4));
        assert!(take(1, now + wait - Duration::from_millis(1)).is_err());
        assert_eq!(take(1, now + wait), Ok(()));
    }

    #[test]
    fn entities_that_take_nothing_are_forgotten() {
        let limits = quotas(None, "producer_byte_rate", 1e9);
        let quotas = Quotas::new(Windows::default());
        let now = Instant::now();
        for user in 0..SWEEP_MIN * 3 {
            let later = now + Duration::from_millis(user as u64 * 100);
            quotas.take(&limits, QuotaType::Produce, (&user.to_string(), ""), 1.0, later);
        }
        assert!(quotas.taken().rates.len() <= SWEEP_MIN);
    }
}
