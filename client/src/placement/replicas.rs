//! Which brokers have the replicas.

use std::collections::BTreeSet;

use super::PlacementError;
use super::counts::uneven;
use super::layout::{Layout, Place};

/// Puts the replicas that are elsewhere on brokers of the plan: on racks where the partition is not yet, then where the topic has the fewest, then where
/// the fewest are. Returns the partitions whose preferred leader was moved so.
pub(super) fn evacuate(layout: &mut Layout<'_>) -> Result<BTreeSet<usize>, PlacementError> {
    let mut moved = BTreeSet::new();
    for partition in 0..layout.partition_count() {
        for nth in 0..layout.places(partition).len() {
            if let Place::Elsewhere(_) = layout.places(partition)[nth] {
                let broker = best(layout, partition, nth).ok_or_else(|| layout.too_few_brokers(partition))?;
                layout.put(partition, nth, broker);
                if nth == 0 {
                    moved.insert(partition);
                }
            }
        }
    }
    Ok(moved)
}

/// The best broker without the partition for its replica at `nth`.
fn best(layout: &Layout<'_>, partition: usize, nth: usize) -> Option<usize> {
    let topic = layout.topic_of(partition);
    let racks = layout.racks(partition, Some(nth));
    let free = (0..layout.broker_count()).filter(|broker| layout.may_get(partition, *broker));
    free.min_by_key(|broker| {
        let is_known = racks.contains(&layout.rack_of(*broker));
        (is_known, layout.replicas.of_topic(topic, *broker), layout.replicas.in_all(*broker))
    })
}

/// Puts every partition on as many racks as it can be on.
pub(super) fn spread_over_racks(layout: &mut Layout<'_>) {
    for partition in 0..layout.partition_count() {
        while layout.racks(partition, None).len() < layout.racks_max(partition) {
            let all = layout.racks(partition, None).len();
            // One that shares its rack, where the most are; the preferred leader only if it must be.
            let shares = |nth: &usize| layout.racks(partition, Some(*nth)).len() == all;
            let worst = (0..layout.places(partition).len()).filter(shares).max_by_key(|nth| {
                let count = match layout.places(partition)[*nth] {
                    Place::On(broker) => layout.replicas.in_all(broker),
                    Place::Elsewhere(_) => usize::MAX,
                };
                (*nth > 0, count)
            });
            let Some((nth, broker)) = worst.and_then(|nth| Some((nth, best(layout, partition, nth)?))) else {
                break;
            };
            // Brokers of the other racks may take nothing.
            if layout.racks(partition, Some(nth)).contains(&layout.rack_of(broker)) {
                break;
            }
            layout.put(partition, nth, broker);
        }
    }
}

/// Evens out the replicas of every topic, and with that kept all replicas, until no single move makes it better.
pub(super) fn even_out(layout: &mut Layout<'_>) {
    // A move of the second kind can make room for one of the first. Each lessens the sum of the topics' squares, or keeps it and lessens
    // that of the totals, so it ends.
    loop {
        let mut has_moved = false;
        for topic in 0..layout.topic_count() {
            while even_out_topic(layout, topic) {
                has_moved = true;
            }
        }
        while even_out_totals(layout) {
            has_moved = true;
        }
        if !has_moved {
            return;
        }
    }
}

/// Makes the best move between brokers that differ by at least two in a topic's replicas.
fn even_out_topic(layout: &mut Layout<'_>, topic: usize) -> bool {
    let counts = |broker| layout.replicas.of_topic(topic, broker);
    let pairs = uneven(layout.broker_count(), counts, |broker| layout.replicas.in_all(broker));
    let found = pairs.into_iter().find_map(|(from, to)| Some((cheapest(layout, topic, from, to)?, to)));
    let Some(((partition, nth), to)) = found else { return false };
    layout.put(partition, nth, to);
    true
}

/// Makes the best move between brokers that differ by at least two in all replicas, of a topic of which the first has more.
fn even_out_totals(layout: &mut Layout<'_>) -> bool {
    let counts = |broker| layout.replicas.in_all(broker);
    let found = uneven(layout.broker_count(), counts, counts).into_iter().find_map(|(from, to)| {
        let topics = (0..layout.topic_count())
            .filter(|topic| layout.replicas.of_topic(*topic, from) > layout.replicas.of_topic(*topic, to));
        let movable = topics.filter_map(|topic| cheapest(layout, topic, from, to));
        Some((movable.min_by_key(|(partition, nth)| cost(layout, *partition, *nth))?, to))
    });
    let Some(((partition, nth), to)) = found else { return false };
    layout.put(partition, nth, to);
    true
}

/// The replica of a topic that costs the least to move from one broker to another, with its place in the order.
fn cheapest(layout: &Layout<'_>, topic: usize, from: usize, to: usize) -> Option<(usize, usize)> {
    let movable = layout.of_topic(topic).iter().filter_map(|partition| {
        let nth = layout.position(*partition, from)?;
        let may = layout.may_get(*partition, to) && keeps_racks(layout, *partition, nth, to);
        may.then_some((*partition, nth))
    });
    movable.min_by_key(|(partition, nth)| cost(layout, *partition, *nth))
}

/// A preferred leader is moved only if nothing else serves: its clients would have to follow.
fn cost(layout: &Layout<'_>, partition: usize, nth: usize) -> (bool, u64) {
    (nth == 0, layout.size_bytes(partition))
}

fn keeps_racks(layout: &Layout<'_>, partition: usize, nth: usize, to: usize) -> bool {
    let others = layout.racks(partition, Some(nth));
    let before = layout.racks(partition, None).len();
    others.len() + usize::from(!others.contains(&layout.rack_of(to))) >= before
}
