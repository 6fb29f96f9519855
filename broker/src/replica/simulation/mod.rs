//! Seeded simulations of one partition on three brokers, with the controller that decides about it: the replica machines of this
//! folder and the decisions of `controller/`, a network that loses, delays, doubles and cuts one way or both, disks that lose what
//! was not synced, brokers that crash, stop for a while, stop in good order and lose their disks. What the quorum that keeps the
//! metadata has to do with it has a simulation of its own; here every decision is kept.
//!
//! After every step the invariants hold (`checker.rs`); left in peace, the partition has a leader again, everybody is in sync,
//! and all logs are the same.
//!
//! A failing seed is printed; `OTTLA_SEED=<seed> cargo test -p ottla-broker replica` runs it alone, and `OTTLA_SEEDS=<count>`
//! runs more of them.

mod broker;
mod checker;
mod disk;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::bugs::Bug;
use crate::controller::simulated::Bug as ControllerBug;
use world::World;

const STEPS: usize = 10_000;
const SEEDS: u64 = 10;
/// Within so many seeds each bug must be found.
const SEEDS_FOR_A_BUG: u64 = 1_000;

/// Those of the controller's mistakes that lose something here within so many seeds; `controller/replication_model.rs` finds all.
const CONTROLLER_BUGS: [ControllerBug; 6] = [
    ControllerBug::LastReplicaStanding,
    ControllerBug::UncleanRestartKeepsSeat,
    ControllerBug::StaleLeaderAlters,
    ControllerBug::StaleChangeAlters,
    ControllerBug::ElectAnybody,
    ControllerBug::EligibleForEver,
];

/// A mistake of either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    Replica(Bug),
    Controller(ControllerBug),
}

fn run(seed: u64, mistake: Option<Mistake>) -> u64 {
    let mut world = World::new(seed, mistake);
    for _ in 0..STEPS {
        world.step();
    }
    // Safety is checked by now; what is left is that it gets to work once it is left in peace.
    world.heal();
    world.trace()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

#[test]
fn nothing_acknowledged_is_lost_and_logs_agree_whatever_happens() {
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

/// The seeds after which a run with the mistake fails, and what it fails of.
fn caught(mistake: Mistake) -> Option<(u64, String)> {
    (1..=SEEDS_FOR_A_BUG).find_map(|seed| {
        let why = catch_unwind(AssertUnwindSafe(|| run(seed, Some(mistake)))).err()?;
        let why = why
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| why.downcast_ref::<&str>().map(|why| why.to_string()));
        Some((seed, why.unwrap_or_default()))
    })
}

#[test]
#[ignore = "takes minutes without optimisation; CI runs it in release"]
fn every_bug_of_the_bank_is_caught() {
    // Hundreds of failures are expected here, and none elsewhere.
    let (loud, here) = (std::panic::take_hook(), std::thread::current().id());
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() != here {
            loud(info);
        }
    }));
    let replica = Bug::ALL.into_iter().map(Mistake::Replica);
    let all: Vec<Mistake> = replica.chain(CONTROLLER_BUGS.map(Mistake::Controller)).collect();
    let found: Vec<(Mistake, Option<(u64, String)>)> = all
        .into_iter()
        .map(|mistake| {
            let found = caught(mistake);
            println!("{mistake:?}: {found:?}");
            (mistake, found)
        })
        .collect();
    let _ = std::panic::take_hook();
    let missed: Vec<Mistake> =
        found.iter().filter(|(_, found)| found.is_none()).map(|(mistake, _)| *mistake).collect();
    assert!(missed.is_empty(), "the simulation does not see {missed:?}");
}
