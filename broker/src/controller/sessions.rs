//! Which brokers the controller hears of. Known only to the one that decides, and begun anew with its office: it gives everybody
//! the time that a silent one has.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::image::ClusterImage;
use crate::ids::NodeId;
use crate::quorum::Epoch;

/// See the module.
#[derive(Debug)]
pub(super) struct Sessions {
    /// `broker.session.timeout.ms`.
    timeout: Duration,
    epoch: Option<Epoch>,
    heard_at: BTreeMap<NodeId, Instant>,
}

impl Sessions {
    /// Of a controller that decides nothing yet.
    pub fn new(timeout: Duration) -> Sessions {
        Sessions { timeout, epoch: None, heard_at: BTreeMap::new() }
    }

    /// The controller decides in this epoch.
    pub fn begin(&mut self, epoch: Epoch, image: &ClusterImage) {
        if self.epoch != Some(epoch) {
            let now = Instant::now();
            self.epoch = Some(epoch);
            let serving = image.brokers().iter().filter(|(_, broker)| !broker.is_fenced);
            self.heard_at = serving.map(|(id, _)| (*id, now)).collect();
        }
    }

    /// A broker is there.
    pub fn heard_of(&mut self, id: NodeId) {
        self.heard_at.insert(id, Instant::now());
    }

    /// For so long nobody could be heard, whoever spoke: it is nobody's silence.
    pub fn was_deaf_for(&mut self, time: Duration) {
        let now = Instant::now();
        self.heard_at.values_mut().for_each(|at| *at = (*at + time).min(now));
    }

    /// Whether it was heard of not too long ago.
    pub fn is_alive(&self, id: NodeId) -> bool {
        self.heard_at.get(&id).is_some_and(|at| at.elapsed() < self.timeout)
    }

    /// Brokers that serve, as far as is known, and were not heard of for too long.
    pub fn silent(&self, image: &ClusterImage) -> Vec<NodeId> {
        let serving = image.brokers().iter().filter(|(_, broker)| !broker.is_fenced);
        serving.map(|(id, _)| *id).filter(|id| !self.is_alive(*id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_that_could_not_listen_takes_nobody_for_silent() {
        let timeout = Duration::from_secs(9);
        let mut sessions = Sessions::new(timeout);
        let long_ago = Instant::now().checked_sub(Duration::from_secs(12)).unwrap();
        sessions.heard_at.insert(NodeId(1), long_ago);
        assert!(!sessions.is_alive(NodeId(1)));
        sessions.was_deaf_for(Duration::from_secs(5));
        assert!(sessions.is_alive(NodeId(1)), "it may have spoken for five of the twelve seconds");
        sessions.heard_at.insert(NodeId(1), long_ago);
        sessions.was_deaf_for(Duration::from_secs(1));
        assert!(!sessions.is_alive(NodeId(1)), "it was silent for eleven seconds in which somebody listened");
        sessions.was_deaf_for(Duration::from_secs(3600));
        assert!(sessions.heard_at[&NodeId(1)] <= Instant::now());
    }
}
