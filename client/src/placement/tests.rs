use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

type Layout = Vec<(String, Vec<i32>)>;

fn brokers(racks: &[Option<u8>]) -> Vec<PlacementBroker> {
    (1..)
        .zip(racks)
        .map(|(id, rack)| PlacementBroker { id, rack: rack.map(|rack| rack.to_string()), takes_more: true })
        .collect()
}

fn partitions(layout: &[(&str, &[i32])]) -> Vec<PlacedPartition> {
    let mut next: BTreeMap<&str, i32> = BTreeMap::new();
    let placed = layout.iter().map(|(topic, replicas)| {
        let number = next.entry(topic).or_default();
        *number += 1;
        PlacedPartition {
            partition: TopicPartition::new(*topic, *number - 1),
            replicas: replicas.to_vec(),
            size_bytes: 100,
        }
    });
    placed.collect()
}

fn after(partitions: &[PlacedPartition], changes: &[PlacementChange]) -> Vec<PlacedPartition> {
    let to: BTreeMap<_, _> = changes.iter().map(|change| (&change.partition, &change.to)).collect();
    let changed = partitions.iter().cloned().map(|mut placed| {
        if let Some(to) = to.get(&placed.partition) {
            placed.replicas = (*to).clone();
        }
        placed
    });
    changed.collect()
}

/// How many replicas and leaders each broker has, of one topic or of all.
fn counts(
    brokers: &[PlacementBroker],
    partitions: &[PlacedPartition],
    topic: Option<&str>,
) -> [Vec<usize>; 2] {
    let of = |placed: &&PlacedPartition| topic.is_none_or(|topic| *placed.partition.topic == *topic);
    let replicas = |id| partitions.iter().filter(of).filter(|placed| placed.replicas.contains(&id)).count();
    let leaders =
        |id| partitions.iter().filter(of).filter(|placed| placed.replicas.first() == Some(&id)).count();
    [
        brokers.iter().map(|broker| replicas(broker.id)).collect(),
        brokers.iter().map(|broker| leaders(broker.id)).collect(),
    ]
}

fn spread(counts: &[usize]) -> usize {
    counts.iter().max().unwrap() - counts.iter().min().unwrap()
}

/// Distinct racks, where a broker of no known rack stands on its own.
fn racks_of(brokers: &[PlacementBroker], replicas: &[i32]) -> usize {
    let racks = replicas.iter().filter_map(|id| brokers.iter().find(|broker| broker.id == *id));
    racks
        .map(|broker| broker.rack.clone().unwrap_or(format!("of {}", broker.id)))
        .collect::<BTreeSet<_>>()
        .len()
}

#[test]
fn a_new_broker_gets_its_share_and_nothing_else_moves() {
    let placed = partitions(&[
        ("t", &[1, 2]),
        ("t", &[2, 1]),
        ("t", &[1, 2]),
        ("t", &[2, 1]),
        ("t", &[1, 2]),
        ("t", &[2, 1]),
    ]);
    let brokers = brokers(&[None; 3]);
    let changes = rebalance(&brokers, &placed).unwrap();
    let copies: usize = changes.iter().map(|change| change.added().count()).sum();
    assert_eq!(copies, 4, "{changes:?}");
    let [replicas, leaders] = counts(&brokers, &after(&placed, &changes), None);
    assert_eq!((replicas, leaders), (vec![4, 4, 4], vec![2, 2, 2]));
}

#[test]
fn of_partitions_that_serve_as_well_the_small_move() {
    let mut placed = partitions(&[("t", &[1]), ("t", &[1]), ("t", &[1]), ("t", &[1])]);
    placed[0].size_bytes = 1 << 40;
    placed[2].size_bytes = 1 << 30;
    let changes = rebalance(&brokers(&[None; 2]), &placed).unwrap();
    let moved: Vec<i32> = changes.iter().map(|change| change.partition.partition).collect();
    assert_eq!(moved, [1, 3]);
}

#[test]
fn a_topic_is_evened_out_though_all_replicas_are_even() {
    let placed = partitions(&[("a", &[1]), ("a", &[1]), ("b", &[2]), ("b", &[2])]);
    let brokers = brokers(&[None; 2]);
    let evened = after(&placed, &rebalance(&brokers, &placed).unwrap());
    for topic in ["a", "b"] {
        assert_eq!(counts(&brokers, &evened, Some(topic))[0], [1, 1]);
    }
}

#[test]
fn a_partition_goes_to_a_second_rack() {
    let placed = partitions(&[("t", &[1, 2])]);
    let changes = rebalance(&brokers(&[Some(0), Some(0), Some(1)]), &placed).unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].to, [1, 3], "its leader stays");
}

#[test]
fn leadership_goes_along_a_chain() {
    // 1 has too many and 3 too few, and no partition is on both.
    let placed = partitions(&[
        ("t", &[1, 2]),
        ("t", &[1, 2]),
        ("t", &[2, 3]),
        ("t", &[2, 1]),
        ("t", &[1, 2]),
        ("t", &[2, 3]),
    ]);
    let mut layout = layout::Layout::of(&brokers(&[None; 3]), &placed);
    leaders::even_out(&mut layout, |_| true);
    let changes = layout.changes();
    assert!(changes.iter().all(|change| change.copied_bytes() == 0));
    assert_eq!(counts(&brokers(&[None; 3]), &after(&placed, &changes), None)[1], [2, 2, 2]);
}

#[test]
fn a_broker_is_emptied_and_the_rest_stays() {
    let placed =
        partitions(&[("t", &[3, 1]), ("t", &[1, 2]), ("t", &[2, 3]), ("u", &[1]), ("u", &[1]), ("u", &[3])]);
    let left = brokers(&[None; 2]);
    let changes = evacuate(&left, &placed).unwrap();
    let names: Vec<String> = changes.iter().map(|change| change.partition.to_string()).collect();
    assert_eq!(names, ["t-0", "t-2", "u-2"]);
    assert!(changes.iter().all(|change| change.removed().eq([3])));
    assert_eq!(changes[2].to, [2], "where fewer are");
    assert_eq!(changes[1].to, [2, 1], "its leader was not to go");
}

#[test]
fn a_broker_that_is_down_keeps_what_it_has_and_gets_nothing() {
    let placed = partitions(&[("t", &[3, 1]), ("t", &[3, 2]), ("t", &[1, 2])]);
    let mut left = brokers(&[None; 2]);
    left.push(PlacementBroker { id: 4, rack: None, takes_more: false });
    left[1].takes_more = false;
    let refused = evacuate(&left, &placed).unwrap_err();
    assert_eq!(refused.to_string(), "t-0 has 2 replicas, and there would be 1 brokers for them");
    let changes = evacuate(&left, &placed[1..]).unwrap();
    assert_eq!((changes.len(), &changes[0].to), (1, &vec![1, 2]));
}

#[test]
fn too_few_brokers_are_said_with_the_partition() {
    let placed = partitions(&[("t", &[1]), ("t", &[1, 2])]);
    let error = rebalance(&brokers(&[None]), &placed).unwrap_err();
    assert_eq!(error.to_string(), "t-1 has 2 replicas, and there would be 1 brokers for them");
    assert_eq!(evacuate(&[], &[]), Ok(Vec::new()));
}

fn any_cluster() -> impl Strategy<Value = (Vec<PlacementBroker>, Layout)> {
    let racks = proptest::collection::vec(proptest::option::of(0u8..3), 1..7);
    let seeds = proptest::collection::vec((0usize..4, 1usize..4, any::<u64>()), 0..40);
    (racks, 0i32..3, seeds).prop_map(|(racks, gone, seeds)| {
        let brokers = brokers(&racks);
        let all: Vec<i32> = (1..=brokers.len() as i32 + gone).collect();
        let layout = seeds.into_iter().map(|(topic, count, seed)| {
            let mut free = all.clone();
            let count = count.min(brokers.len());
            let pick = |nth: usize| {
                let at = (seed >> (8 * nth)) as usize % free.len();
                free.remove(at)
            };
            (format!("topic-{topic}"), (0..count).map(pick).collect())
        });
        let layout = layout.collect();
        (brokers, layout)
    })
}

fn check(brokers: &[PlacementBroker], before: &[PlacedPartition], after: &[PlacedPartition]) {
    for (before, after) in before.iter().zip(after) {
        assert_eq!(before.replicas.len(), after.replicas.len());
        let distinct: BTreeSet<_> = after.replicas.iter().collect();
        assert_eq!(distinct.len(), after.replicas.len(), "two on one broker");
        assert!(after.replicas.iter().all(|id| brokers.iter().any(|broker| broker.id == *id)));
        assert!(racks_of(brokers, &after.replicas) >= racks_of(brokers, &before.replicas), "fewer racks");
    }
}

proptest! {
    #[test]
    fn a_rebalanced_cluster_is_even_and_stays((brokers, layout) in any_cluster()) {
        let layout: Vec<(&str, &[i32])> = layout.iter().map(|(topic, replicas)| (topic.as_str(), &replicas[..])).collect();
        let placed = partitions(&layout);
        let changes = rebalance(&brokers, &placed).unwrap();
        let evened = after(&placed, &changes);
        check(&brokers, &placed, &evened);
        let racks = racks_of(&brokers, &brokers.iter().map(|broker| broker.id).collect::<Vec<_>>());
        for placed in &evened {
            prop_assert_eq!(racks_of(&brokers, &placed.replicas), placed.replicas.len().min(racks));
        }
        if racks == brokers.len() {
            for topic in evened.iter().map(|placed| &*placed.partition.topic).collect::<BTreeSet<_>>() {
                prop_assert!(spread(&counts(&brokers, &evened, Some(topic))[0]) <= 1, "{topic}: {evened:?}");
            }
            prop_assert!(spread(&counts(&brokers, &evened, None)[0]) <= 1, "{evened:?}");
        }
        prop_assert_eq!(rebalance(&brokers, &evened).unwrap(), []);
    }

    #[test]
    fn an_emptied_broker_has_nothing_and_only_its_replicas_moved((brokers, layout) in any_cluster()) {
        let layout: Vec<(&str, &[i32])> = layout.iter().map(|(topic, replicas)| (topic.as_str(), &replicas[..])).collect();
        let placed = partitions(&layout);
        let changes = evacuate(&brokers, &placed).unwrap();
        check(&brokers, &placed, &after(&placed, &changes));
        let stays = |id: i32| brokers.iter().any(|broker| broker.id == id);
        for change in &changes {
            prop_assert!(change.removed().all(|id| !stays(id)));
            prop_assert!(change.from.iter().any(|id| !stays(*id)), "{change:?}");
            prop_assert!(!stays(change.from[0]) || change.to[0] == change.from[0], "{change:?}");
        }
        prop_assert_eq!(evacuate(&brokers, &after(&placed, &changes)).unwrap(), []);
    }

    #[test]
    fn leaders_are_as_even_as_the_replicas_let_them((brokers, layout) in any_cluster()) {
        let layout: Vec<(&str, &[i32])> = layout.iter().map(|(topic, replicas)| (topic.as_str(), &replicas[..])).collect();
        let placed = partitions(&layout);
        let evened = after(&placed, &rebalance(&brokers, &placed).unwrap());
        let [_, before] = counts(&brokers, &evened, None);
        // By no change of one partition's leader would two brokers be closer together, and its topic's no further apart.
        for placed in &evened {
            let at = |id: i32| brokers.iter().position(|broker| broker.id == id).unwrap();
            let of_topic = &counts(&brokers, &evened, Some(&placed.partition.topic))[1];
            let from = at(placed.replicas[0]);
            for to in placed.replicas[1..].iter().map(|id| at(*id)) {
                prop_assert!(of_topic[from] < of_topic[to] + 2, "{placed:?} of {evened:?}");
                prop_assert!(before[from] < before[to] + 2 || of_topic[from] <= of_topic[to], "{placed:?} of {evened:?}");
            }
        }
    }
}
