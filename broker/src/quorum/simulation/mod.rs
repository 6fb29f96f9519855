//! Seeded simulations of a quorum: three or five voters and two observers, a network that loses, delays, doubles and cuts, disks
//! that lose what was not synced, processes that crash, stop for a while and lose their disks, operators that give votes to and
//! take them from whichever node (KIP-853), one that has lost its disk too. After every step the invariants
//! hold (`checker.rs`); left in peace, the quorum has a leader again and everybody the same log.
//!
//! A failing seed is printed; `OTTLA_SEED=<seed> cargo test -p ottla-broker quorum` runs it alone, and `OTTLA_SEEDS=<count>`
//! runs more of them.

mod checker;
mod disk;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::bugs::Bug;
use world::World;

const STEPS: usize = 10_000;
const SEEDS: u64 = 20;
/// Within so many seeds each bug must be found.
const SEEDS_FOR_A_BUG: u64 = 1_000;

fn run(seed: u64, bug: Option<Bug>) -> u64 {
    let mut world = World::new(seed, bug);
    for _ in 0..STEPS {
        world.step();
    }
    // Safety is checked by now; what is left is that it gets to work once it is left in peace.
    world.heal();
    world.isolate_one();
    world.trace()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

#[test]
fn nothing_committed_is_lost_and_an_epoch_has_one_leader_whatever_happens() {
    let seeds = match number("OTTLA_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("OTTLA_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        let outcome = catch_unwind(|| run(seed, None));
        assert!(outcome.is_ok(), "seed {seed} fails; run it alone with OTTLA_SEED={seed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [1, 2] {
        assert_eq!(run(seed, None), run(seed, None), "seed {seed}");
    }
    assert_ne!(run(1, None), run(2, None));
}

/// The seeds after which a run with the bug fails, and what it fails of.
fn caught(bug: Bug) -> Option<(u64, String)> {
    (1..=SEEDS_FOR_A_BUG).find_map(|seed| {
        let why = catch_unwind(AssertUnwindSafe(|| run(seed, Some(bug)))).err()?;
        let why = why
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| why.downcast_ref::<&str>().map(|w| w.to_string()));
        Some((seed, why.unwrap_or_default()))
    })
}

#[test]
#[ignore = "takes a minute without optimisation; CI runs it in release"]
fn every_bug_of_the_bank_is_caught() {
    // Hundreds of failures are expected here, and none elsewhere.
    let (loud, here) = (std::panic::take_hook(), std::thread::current().id());
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() != here {
            loud(info);
        }
    }));
    let found: Vec<(Bug, Option<(u64, String)>)> = Bug::ALL
        .iter()
        .map(|bug| {
            let found = caught(*bug);
            println!("{bug:?}: {found:?}");
            (*bug, found)
        })
        .collect();
    let _ = std::panic::take_hook();
    let missed: Vec<Bug> = found.iter().filter(|(_, found)| found.is_none()).map(|(bug, _)| *bug).collect();
    assert!(missed.is_empty(), "the simulation does not see {missed:?}");
}
