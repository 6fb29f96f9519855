//! Which brokers get the replicas of new partitions: leaders in turn, so that every broker leads as many; the others on other racks
//! than those before them as far as there are, then where the fewest are. A broker that does not serve gets replicas only where
//! there are not enough others, and leads none. Pure.

use uuid::Uuid;

use crate::ids::NodeId;

/// A broker that may get replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    pub id: NodeId,
    /// Where it stands, if that is known.
    pub rack: Option<String>,
    /// Where its replicas may be.
    pub log_dirs: Vec<Uuid>,
    /// It serves.
    pub is_active: bool,
}

/// The replicas of each new partition, the preferred leader first. `begin` is the place of the first leader among the hosts that
/// serve, so that topics do not all begin with the same. Nothing where there are fewer hosts than replicas, or none serves.
pub(super) fn place(hosts: &[Host], begin: usize, partitions: usize, replicas: usize) -> Vec<Vec<NodeId>> {
    let ring: Vec<usize> = (0..hosts.len()).filter(|at| hosts[*at].is_active).collect();
    if ring.is_empty() || replicas > hosts.len() || replicas == 0 {
        return Vec::new();
    }
    let mut loads = vec![0usize; hosts.len()];
    let mut placed = Vec::with_capacity(partitions);
    for nth in 0..partitions {
        let leader = ring[(begin + nth) % ring.len()];
        // Each time around, the followers of a leader begin one further.
        let first = leader + 1 + (begin + nth) / ring.len() % hosts.len().saturating_sub(1).max(1);
        let mut chosen = vec![leader];
        while chosen.len() < replicas {
            let others_in_rack = |at: usize| {
                let rack = &hosts[at].rack;
                chosen.iter().filter(|other| rack.is_some() && hosts[**other].rack == *rack).count()
            };
            let distance = |at: usize| (at + 2 * hosts.len() - first) % hosts.len();
            let free = (0..hosts.len()).filter(|at| !chosen.contains(at));
            let best =
                free.min_by_key(|at| (!hosts[*at].is_active, others_in_rack(*at), loads[*at], distance(*at)));
            let Some(best) = best else { break };
            chosen.push(best);
        }
        for at in &chosen {
            loads[*at] += 1;
        }
        placed.push(chosen.into_iter().map(|at| hosts[at].id).collect());
    }
    placed
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn hosts(racks: &[Option<u8>]) -> Vec<Host> {
        let host = |(id, rack): (i32, &Option<u8>)| Host {
            id: NodeId(id),
            rack: rack.map(|rack| rack.to_string()),
            log_dirs: Vec::new(),
            is_active: true,
        };
        (1..).zip(racks).map(host).collect()
    }

    #[test]
    fn a_broker_that_does_not_serve_comes_last_and_leads_nothing() {
        let mut hosts = hosts(&[None; 3]);
        hosts[1].is_active = false;
        let placed = place(&hosts, 0, 4, 3);
        for (replicas, leader) in placed.iter().zip([1, 3, 1, 3]) {
            assert_eq!((replicas[0], replicas[2]), (NodeId(leader), NodeId(2)));
        }
        assert!(place(&hosts, 0, 4, 2).iter().flatten().all(|node| *node != NodeId(2)));
        assert!(place(&hosts, 0, 1, 4).is_empty(), "there are three");
        hosts.iter_mut().for_each(|host| host.is_active = false);
        assert!(place(&hosts, 0, 1, 1).is_empty(), "nobody serves");
    }

    #[test]
    fn who_takes_over_from_a_leader_is_not_always_the_same() {
        let placed = place(&hosts(&[None; 5]), 0, 40, 3);
        let seconds = placed.iter().filter(|replicas| replicas[0] == NodeId(1)).map(|replicas| replicas[1]);
        assert_eq!(seconds.collect::<BTreeSet<_>>().len(), 4);
    }

    proptest! {
        #[test]
        fn replicas_are_on_different_brokers_and_racks_and_every_broker_has_as_many(
            racks in proptest::collection::vec(proptest::option::of(0u8..3), 1..8),
            begin in 0usize..100,
            partitions in 0usize..60,
            replicas in 1usize..5,
        ) {
            let replicas = replicas.min(racks.len());
            let hosts = hosts(&racks);
            let placed = place(&hosts, begin, partitions, replicas);
            prop_assert_eq!(placed.len(), partitions);
            let (mut leads, mut has) = (BTreeMap::<NodeId, i64>::new(), BTreeMap::<NodeId, i64>::new());
            for chosen in &placed {
                prop_assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), replicas);
                *leads.entry(chosen[0]).or_default() += 1;
                chosen.iter().for_each(|node| *has.entry(*node).or_default() += 1);
                let rack = |node: &NodeId| hosts[node.0 as usize - 1].rack.clone();
                let known: Vec<_> = chosen.iter().filter_map(rack).collect();
                let all: BTreeSet<_> = hosts.iter().filter_map(|host| host.rack.clone()).collect();
                let unknown = hosts.iter().filter(|host| host.rack.is_none()).count();
                // As many racks as there are, where each broker of an unknown one counts as its own.
                let different = known.iter().collect::<BTreeSet<_>>().len() + chosen.len() - known.len();
                prop_assert_eq!(different, replicas.min(all.len() + unknown));
            }
            let spread = |counts: &BTreeMap<NodeId, i64>| {
                let counts: Vec<i64> =
                    hosts.iter().map(|host| counts.get(&host.id).copied().unwrap_or_default()).collect();
                counts.iter().max().unwrap() - counts.iter().min().unwrap()
            };
            prop_assert!(spread(&leads) <= 1, "{:?}", leads);
            if racks.iter().all(Option::is_none) {
                prop_assert!(spread(&has) <= 2, "{:?}", has);
            }
        }
    }
}
