//! A seeded world around the machine: producers of one transactional id that do not know of each other, a network that
//! loses, doubles and reorders, partitions that hold back what is not verified, and a coordinator that crashes with what
//! is not durable. `OTTLA_SEED` repeats one seed, `OTTLA_SEEDS` says how many are tried.
//!
//! Held after every step: the machine's invariants, and that a producer whose commit was answered had not been replaced
//! before it asked. Held at the end, when all is calm: what was committed is visible whole, what was not is not visible at
//! all, and no transaction is left open.

mod partition;
mod producer;
mod random;
mod world;

use world::World;

const SEEDS_BY_DEFAULT: u64 = if cfg!(debug_assertions) { 500 } else { 10_000 };
const STEPS: usize = 600;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Runs a seed for so many steps and then until all is calm.
fn run(seed: u64, steps: usize) -> (Vec<String>, Result<(), String>) {
    let mut world = World::new(seed);
    let broken = world.run(steps).and_then(|()| world.calm_down()).and_then(|()| world.check_visible());
    (world.into_trace(), broken)
}

#[test]
fn no_aborted_record_is_visible_and_no_two_producers_of_an_id_succeed() {
    let seeds = match number("OTTLA_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("OTTLA_SEEDS").unwrap_or(SEEDS_BY_DEFAULT),
    };
    for seed in seeds {
        let (_, held) = run(seed, STEPS);
        let Err(why) = held else { continue };
        // The fewest steps after which it is broken make the shortest history.
        let steps = (0..=STEPS).find(|steps| run(seed, *steps).1.is_err()).unwrap_or(STEPS);
        let (trace, held) = run(seed, steps);
        let why = held.err().unwrap_or(why);
        panic!("OTTLA_SEED={seed}, after {steps} steps: {why}\n{}", trace.join("\n"));
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in [1, 17, 4711] {
        assert_eq!(run(seed, STEPS), run(seed, STEPS), "seed {seed}");
    }
    assert_ne!(run(1, STEPS).0, run(2, STEPS).0);
}
