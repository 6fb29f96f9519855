//! How many connections there may be, and how fast they may be opened: of the broker, of each listener and of each address.
//! Beyond the number of broker or listener, and above the rate of either, clients wait in the socket to be accepted; beyond
//! the number of its address one is closed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::config::BrokerConfig;
use crate::quotas::{Rate, Windows};

/// Nobody waits longer for a rate to go down, whatever the arithmetic says.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// What limits connections of one listener.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionLimits {
    /// Of all listeners together.
    broker: Limit,
    listener: Limit,
    by_address: ByAddress,
}

/// Room for one connection, for as long as the value lives.
#[derive(Debug)]
pub(super) struct Room {
    _permits: [OwnedSemaphorePermit; 2],
}

impl ConnectionLimits {
    /// `max.connections` and `max.connection.creation.rate` of the broker; a listener has none of its own yet.
    pub fn new(config: &BrokerConfig) -> ConnectionLimits {
        let windows = config.quota_windows;
        ConnectionLimits {
            broker: Limit::new(config.connections_max, config.connection_creation_rate_max, windows),
            listener: Limit::new(usize::MAX, u32::MAX, windows),
            by_address: ByAddress::default(),
        }
    }

    /// The same with those of a listener.
    pub fn of_listener(&self, config: &BrokerConfig, listener: &str) -> ConnectionLimits {
        let (connections_max, rate_max) = config.listener_limits(listener);
        ConnectionLimits {
            listener: Limit::new(connections_max, rate_max, config.quota_windows),
            ..self.clone()
        }
    }

    /// Notes that a connection was opened, and gives how long it and those behind it have to wait.
    pub(super) fn opened(&self, now: Instant) -> Duration {
        self.broker.opened(now).max(self.listener.opened(now)).min(WAIT_MAX)
    }

    /// Waits until there is room for one more.
    pub(super) async fn room(&self) -> Option<Room> {
        // What is the listener's own first: who waits with what all share in hand would keep it from the others.
        let of_listener = self.listener.connections.clone().acquire_owned().await.ok()?;
        let of_broker = self.broker.connections.clone().acquire_owned().await.ok()?;
        Some(Room { _permits: [of_listener, of_broker] })
    }

    /// Counts one more connection of a host, unless it has `max`.
    pub(super) fn count(&self, host: IpAddr, max: usize) -> Option<Counted> {
        self.by_address.count(host, max)
    }
}

#[derive(Debug, Clone)]
struct Limit {
    connections: Arc<Semaphore>,
    /// Connections opened lately, where that is limited.
    opened: Option<Arc<Mutex<Rate>>>,
    rate_max: f64,
    windows: Windows,
}

impl Limit {
    fn new(connections_max: usize, rate_max: u32, windows: Windows) -> Limit {
        let is_limited = rate_max < i32::MAX as u32;
        Limit {
            connections: Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS))),
            opened: is_limited.then(Arc::default),
            rate_max: f64::from(rate_max),
            windows,
        }
    }

    fn opened(&self, now: Instant) -> Duration {
        let Some(opened) = &self.opened else { return Duration::ZERO };
        let mut opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.record(&self.windows, 1.0, now);
        opened.wait(&self.windows, self.rate_max, now)
    }
}

/// Open connections by the host that opened them.
#[derive(Debug, Clone, Default)]
struct ByAddress {
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One connection of a host, for as long as the value lives.
#[derive(Debug)]
pub(super) struct Counted {
    host: IpAddr,
    by_address: ByAddress,
}

impl ByAddress {
    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, host: IpAddr, max: usize) -> Option<Counted> {
        let mut counts = self.counts();
        let count = counts.entry(host).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Counted { host, by_address: self.clone() })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.by_address.counts();
        if let Some(count) = counts.get_mut(&self.host) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_to_by_waiting_and_every_listener_has_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = BrokerConfig::new(dir.path());
        config.set("quota.window.num", "2").unwrap();
        config.set("listener.name.outside.max.connection.creation.rate", "10").unwrap();
        let broker = ConnectionLimits::new(&config);
        let (outside, inside) =
            (broker.of_listener(&config, "OUTSIDE"), broker.of_listener(&config, "INSIDE"));
        let start = Instant::now();
        let waits: Vec<Duration> = (0..20).map(|_| outside.opened(start)).collect();
        assert!(waits[..10].iter().all(Duration::is_zero), "{waits:?}");
        assert!(waits[19] >= Duration::from_millis(900), "{waits:?}");
        assert!((0..100).all(|_| inside.opened(start).is_zero()));
        config.set("max.connection.creation.rate", "0").unwrap();
        assert_eq!(ConnectionLimits::new(&config).opened(start), WAIT_MAX);
    }

    #[test]
    fn a_host_has_no_more_than_its_share_and_gets_it_back() {
        let by_address = ByAddress::default();
        let (host, other) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let first = by_address.count(host, 1).unwrap();
        assert!(by_address.count(host, 1).is_none());
        assert!(by_address.count(other, 1).is_some());
        drop(first);
        assert!(by_address.count(host, 1).is_some());
    }
}
