//! Where replicas should be: plans that even out a cluster, or empty a broker. Pure; [`Admin`](crate::Admin) tells how things are and carries
//! plans out.
//!
//! A plan keeps each partition's number of replicas, never puts two on one broker, and never puts them on fewer racks than they are on.
//! Within that, [`rebalance`] gives every broker as many replicas of each topic, as many replicas in all and as many preferred leaders as the
//! others, give or take one, and moves as little as that needs; [`evacuate`] moves only what is on brokers that shall have nothing.
//! A plan for what is already so is empty.

mod counts;
mod layout;
mod leaders;
mod replicas;
#[cfg(test)]
mod tests;

use thiserror::Error;

use crate::TopicPartition;
use layout::Layout;

/// A broker that may have replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacementBroker {
    pub id: i32,
    /// One whose rack is unknown stands on a rack of its own.
    pub rack: Option<String>,
    /// It may get more than it has. One that is down may not, and keeps what it has.
    pub takes_more: bool,
}

/// A partition as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedPartition {
    pub partition: TopicPartition,
    /// The brokers that have it, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Of one replica: what moving it costs. Of two partitions that serve as well, the smaller is moved.
    pub size_bytes: u64,
}

/// Other replicas for one partition, or the same in another order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacementChange {
    pub partition: TopicPartition,
    pub from: Vec<i32>,
    /// The preferred leader first.
    pub to: Vec<i32>,
    pub size_bytes: u64,
}

impl PlacementChange {
    /// The brokers that get a copy.
    pub fn added(&self) -> impl Iterator<Item = i32> {
        self.to.iter().filter(|broker| !self.from.contains(broker)).copied()
    }

    /// The brokers that give theirs up.
    pub fn removed(&self) -> impl Iterator<Item = i32> {
        self.from.iter().filter(|broker| !self.to.contains(broker)).copied()
    }

    /// Bytes that are copied for it, over all brokers that get a copy.
    pub fn copied_bytes(&self) -> u64 {
        self.size_bytes * self.added().count() as u64
    }
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlacementError {
    /// A partition needs more brokers than there are.
    #[error("{partition} has {replicas} replicas, and there would be {brokers} brokers for them")]
    TooFewBrokers { partition: TopicPartition, replicas: usize, brokers: usize },
}

/// The changes after which the brokers have the same share of `partitions`. Replicas on brokers that are not among `brokers` move away.
///
/// # Errors
/// [`PlacementError::TooFewBrokers`].
pub fn rebalance(
    brokers: &[PlacementBroker],
    partitions: &[PlacedPartition],
) -> Result<Vec<PlacementChange>, PlacementError> {
    let mut layout = Layout::of(brokers, partitions);
    replicas::evacuate(&mut layout)?;
    replicas::spread_over_racks(&mut layout);
    replicas::even_out(&mut layout);
    leaders::even_out(&mut layout, |_| true);
    Ok(layout.changes())
}

/// The changes after which nothing of `partitions` is on a broker that is not among `brokers`. Other replicas stay.
///
/// # Errors
/// [`PlacementError::TooFewBrokers`].
pub fn evacuate(
    brokers: &[PlacementBroker],
    partitions: &[PlacedPartition],
) -> Result<Vec<PlacementChange>, PlacementError> {
    let mut layout = Layout::of(brokers, partitions);
    let moved = replicas::evacuate(&mut layout)?;
    leaders::even_out(&mut layout, |partition| moved.contains(&partition));
    Ok(layout.changes())
}
