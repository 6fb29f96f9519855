//! Which of its replicas is a partition's preferred leader. Nothing is copied for it.
//!
//! Leadership goes along a chain: from a broker that leads much to one that leads little, over brokers between them that have partitions of both.

use std::collections::VecDeque;

use super::counts::uneven;
use super::layout::{Layout, Place};

/// Evens out the preferred leaders of every topic, and with that kept all of them. Only partitions that `may` change do.
pub(super) fn even_out(layout: &mut Layout<'_>, may: impl Fn(usize) -> bool) {
    loop {
        let mut has_changed = false;
        for topic in 0..layout.topic_count() {
            while even_out_topic(layout, topic, &may) {
                has_changed = true;
            }
        }
        while even_out_totals(layout, &may) {
            has_changed = true;
        }
        if !has_changed {
            return;
        }
    }
}

fn even_out_topic(layout: &mut Layout<'_>, topic: usize, may: &impl Fn(usize) -> bool) -> bool {
    let partitions: Vec<usize> =
        layout.of_topic(topic).iter().copied().filter(|partition| may(*partition)).collect();
    let edges = Edges::of(layout, &partitions, |_, _, _| true);
    let counts = |broker| layout.leaders.of_topic(topic, broker);
    let pairs = uneven(layout.broker_count(), counts, |broker| layout.leaders.in_all(broker));
    let chain = pairs.into_iter().find_map(|(from, to)| edges.chain(from, to));
    hand_over(layout, chain)
}

/// Hands over only where a topic's leaders are as even after it as before.
fn even_out_totals(layout: &mut Layout<'_>, may: &impl Fn(usize) -> bool) -> bool {
    let partitions: Vec<usize> = (0..layout.partition_count()).filter(|partition| may(*partition)).collect();
    let leads_more =
        |topic, from, to| layout.leaders.of_topic(topic, from) > layout.leaders.of_topic(topic, to);
    let edges = Edges::of(layout, &partitions, leads_more);
    let counts = |broker| layout.leaders.in_all(broker);
    let chain = uneven(layout.broker_count(), counts, counts)
        .into_iter()
        .find_map(|(from, to)| edges.chain(from, to));
    hand_over(layout, chain)
}

fn hand_over(layout: &mut Layout<'_>, chain: Option<Vec<(usize, usize)>>) -> bool {
    let Some(chain) = chain else { return false };
    chain.into_iter().for_each(|(partition, broker)| layout.lead(partition, broker));
    true
}

/// From which broker to which a leadership can be handed, and by which partition.
struct Edges {
    brokers: usize,
    by: Vec<Option<usize>>,
}

impl Edges {
    /// Of some partitions, where `may` says of a topic and two brokers whether the first may hand one to the second.
    fn of(layout: &Layout<'_>, partitions: &[usize], may: impl Fn(usize, usize, usize) -> bool) -> Edges {
        let brokers = layout.broker_count();
        let mut by = vec![None; brokers * brokers];
        for partition in partitions {
            let places = layout.places(*partition);
            let Some(Place::On(from)) = places.first() else { continue };
            for place in &places[1..] {
                let Place::On(to) = place else { continue };
                let edge = &mut by[from * brokers + to];
                if edge.is_none() && layout.takes_more(*to) && may(layout.topic_of(*partition), *from, *to) {
                    *edge = Some(*partition);
                }
            }
        }
        Edges { brokers, by }
    }

    /// The shortest chain between two brokers: partitions, each with the broker that is to lead it.
    fn chain(&self, from: usize, to: usize) -> Option<Vec<(usize, usize)>> {
        let mut came_from = vec![None; self.brokers];
        let mut next = VecDeque::from([from]);
        while let Some(broker) = next.pop_front() {
            for other in (0..self.brokers).filter(|other| *other != from) {
                if let Some(partition) = self.by[broker * self.brokers + other]
                    && came_from[other].is_none()
                {
                    came_from[other] = Some((broker, partition));
                    next.push_back(other);
                }
            }
        }
        let mut chain = Vec::new();
        let mut at = to;
        while at != from {
            let (before, partition) = came_from[at]?;
            chain.push((partition, at));
            at = before;
        }
        Some(chain)
    }
}
