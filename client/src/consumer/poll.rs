//! `poll`: hands out records, follows the group through its rebalances, and commits by itself if so configured.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};

use super::config::ConsumerConfig;
use super::group::{self, Command, Phase};
use super::partitions::Place;
use super::{Consumer, FetchedPartition, Mode, Shared, Subscription};
use crate::error::ClientError;

/// How often a subscription is checked for topics that appeared or grew.
const SUBSCRIPTION_CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// The same while a subscribed topic does not exist at all.
const MISSING_TOPIC_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// What only polls touch.
pub(super) struct PollState {
    auto_commit_at: Instant,
    check_subscription_at: Instant,
    /// The membership whose partitions are assigned.
    pub(super) applied: Option<group::Membership>,
    /// The last membership whose partitions were let go of.
    pub(super) let_go_round: u64,
}

impl PollState {
    pub(super) fn new(config: &ConsumerConfig) -> PollState {
        PollState {
            auto_commit_at: Instant::now() + config.auto_commit_interval,
            check_subscription_at: Instant::now() + SUBSCRIPTION_CHECK_INTERVAL,
            applied: None,
            let_go_round: 0,
        }
    }
}

impl Consumer {
    /// Records that are there, or that come within `timeout`. If none do: the partitions, without records, in which reading
    /// goes on elsewhere than the caller knows, because there was only what is given to nobody or because the place was looked up.
    /// In a group this also joins, lets go of partitions when the group rebalances, and commits what earlier polls
    /// returned, if so configured.
    ///
    /// Safe to drop before it is done: no record is lost by that.
    ///
    /// # Errors
    /// [`ClientError::OffsetOutOfRange`], [`ClientError::NoOffset`], [`ClientError::CorruptBatch`] of a partition
    /// (others go on with the next poll), or what being a member of the group met.
    pub async fn poll(&self, timeout: Duration) -> Result<Vec<FetchedPartition>, ClientError> {
        let shared = self.shared();
        let deadline = Instant::now() + timeout;
        let mut poll = self.handle.poll.lock().await;
        let _polling = Polling::begin(shared);
        let mut changes = shared.changes.subscribe();
        self.auto_commit_if_due(&mut poll);
        loop {
            shared.check_open()?;
            changes.borrow_and_update();
            let mut phase = None;
            if let Some(subscription) = shared.subscription() {
                phase = Some(subscription.phase.clone());
                self.follow_group(&mut poll, &subscription).await?;
            }
            let taken = shared.partitions().take()?;
            if !taken.is_empty() {
                // What comes next is fetched while the caller works on this.
                shared.wake_fetcher.notify_one();
                return Ok(taken);
            }
            let phase_changed = async {
                match &mut phase {
                    // Only a closed consumer ends the membership task.
                    Some(phase) => phase.changed().await.unwrap_or(()),
                    None => std::future::pending().await,
                }
            };
            let check_at = match &*shared.mode() {
                Mode::Subscribed(_) => Some(poll.check_subscription_at),
                Mode::Unassigned | Mode::Assigned => None,
            };
            tokio::select! {
                _ = changes.changed() => {}
                () = phase_changed => {}
                () = tokio::time::sleep_until(check_at.unwrap_or(deadline)), if check_at.is_some() => {}
                () = tokio::time::sleep_until(deadline) => return Ok(shared.partitions().take_passed()),
            }
        }
    }

    /// Does what the phase of the membership asks for.
    async fn follow_group(
        &self,
        poll: &mut PollState,
        subscription: &Subscription,
    ) -> Result<(), ClientError> {
        let shared = self.shared();
        let phase = subscription.phase.borrow().clone();
        match phase {
            Phase::Joining => Ok(()),
            Phase::Failed(error) => Err(error),
            Phase::Stable(membership) => {
                if poll.applied.as_ref() != Some(&membership) {
                    let stored = |each: &crate::TopicPartition| (each.clone(), Place::Stored);
                    shared.partitions().assign(membership.assignment.iter().map(stored));
                    shared.wake_fetcher.notify_one();
                    poll.applied = Some(membership);
                    poll.check_subscription_at = Instant::now();
                }
                self.check_subscription(poll, subscription).await;
                Ok(())
            }
            // The membership task has not yet taken notice.
            Phase::Revoking(group::Membership { round, .. }) | Phase::Lost { round }
                if round == poll.let_go_round =>
            {
                Ok(())
            }
            Phase::Revoking(membership) => {
                if shared.config.enable_auto_commit
                    && let Err(error) = shared.commit_positions().await
                {
                    warn!(%error, "positions were not committed before the rebalance; records will be read again");
                }
                self.let_go(poll, subscription, membership.round);
                Ok(())
            }
            Phase::Lost { round } => {
                self.let_go(poll, subscription, round);
                Ok(())
            }
        }
    }

    fn let_go(&self, poll: &mut PollState, subscription: &Subscription, round: u64) {
        self.shared().partitions().assign([]);
        poll.applied = None;
        poll.let_go_round = round;
        let _ = subscription.commands.send(Command::Rejoin);
    }

    /// The leader looks now and then whether what it divided is still what there is.
    async fn check_subscription(&self, poll: &mut PollState, subscription: &Subscription) {
        let now = Instant::now();
        if now < poll.check_subscription_at {
            return;
        }
        let Some(membership) = &poll.applied else { return };
        let cluster = &self.shared().cluster;
        let is_missing = |counts: &BTreeMap<String, i32>| {
            subscription.topics.iter().any(|topic| !counts.contains_key(topic))
        };
        poll.check_subscription_at = now + SUBSCRIPTION_CHECK_INTERVAL;
        let Some(divided) = membership.divided.clone() else { return };
        let topics: BTreeSet<String> = divided.keys().chain(&subscription.topics).cloned().collect();
        let counts = match group::partition_counts(cluster, &topics).await {
            Ok(counts) => counts,
            Err(error) => {
                debug!(%error, "the subscription was not checked");
                return;
            }
        };
        if is_missing(&counts) {
            poll.check_subscription_at = now + MISSING_TOPIC_CHECK_INTERVAL;
        }
        if counts != *divided {
            // The others learn of it by their heartbeats.
            let _ = subscription.commands.send(Command::Rejoin);
        }
    }

    /// Commits in the background what earlier polls returned: that this one was called says it is dealt with.
    fn auto_commit_if_due(&self, poll: &mut PollState) {
        let shared = self.shared();
        let is_on = shared.config.enable_auto_commit && shared.coordinator.is_some();
        if !is_on || Instant::now() < poll.auto_commit_at {
            return;
        }
        poll.auto_commit_at = Instant::now() + shared.config.auto_commit_interval;
        if shared.is_auto_committing.swap(true, Ordering::AcqRel) {
            return;
        }
        let shared = shared.clone();
        // Taken now: positions move on while the commit is on its way, and the group may too.
        let (committer, uncommitted) = (shared.committer(), shared.partitions().uncommitted());
        tokio::spawn(async move {
            if let Err(error) = shared.commit(&committer, &uncommitted).await {
                warn!(%error, "positions were not committed");
            }
            shared.is_auto_committing.store(false, Ordering::Release);
        });
    }
}

/// Tells the membership task that `poll` is going on, and when it no longer is.
struct Polling {
    subscription: Option<Subscription>,
}

impl Polling {
    fn begin(shared: &Shared) -> Polling {
        let polling = Polling { subscription: shared.subscription() };
        polling.tell(true);
        polling
    }

    fn tell(&self, is_going_on: bool) {
        if let Some(subscription) = &self.subscription {
            let _ = subscription.commands.send(Command::Polled(is_going_on));
        }
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        self.tell(false);
    }
}
