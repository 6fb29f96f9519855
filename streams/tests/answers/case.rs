//! One differential case: a query, the rows it reads, and where epochs are cut. What fails is made smaller.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ottla_streams::{Catalog, plan};

use crate::harness::{Feeds, Random, Running, batch_answer};
use crate::queries::Query;

/// How often a failing case is tried smaller before it is told as it is.
const TRIES_MAX: usize = 2_000;

/// A case.
#[derive(Clone, Debug)]
pub struct Case {
    pub query: Query,
    pub feeds: Feeds,
    pub steps: Vec<Step>,
    /// Whether the answer of every epoch is that of the rows read until then; with EMIT FINAL only the last one is.
    pub is_exact_at_every_epoch: bool,
}

/// One epoch and what follows it.
#[derive(Clone, Debug)]
pub struct Step {
    /// How many records of each partition it takes.
    pub takes: Vec<usize>,
    /// Whether the query is restarted after it.
    pub restarts: bool,
    /// Whether its answer is looked at.
    pub compares: bool,
}

/// Enough epochs of one record for all that is there; what is left then goes into one.
const STEPS_MAX: usize = 300;

impl Case {
    /// A case with random cuts.
    pub fn random(query: Query, feeds: Feeds, is_exact_at_every_epoch: bool, random: &mut Random) -> Case {
        let size = [1, 3, 10, 100][random.below(4) as usize];
        let total: usize = feeds.values().flatten().map(Vec::len).sum();
        let steps = (0..STEPS_MAX.min(total * 2 + 1)).map(|_| {
            let lag = random.below(4);
            let mut take = || if random.below(4) < lag { 0 } else { random.below(size + 1) as usize };
            let takes = (0..8).map(|_| take()).collect();
            Step { takes, restarts: random.once_in(4), compares: random.once_in(3) }
        });
        Case { query, feeds, steps: steps.collect(), is_exact_at_every_epoch }
    }

    /// Runs the query over the rows in these epochs; after some of them, and at the end, its result is the batch answer.
    ///
    /// # Panics
    /// When it is not.
    pub fn check(&self, catalog: &Catalog) {
        let sql = &self.query.sql();
        let planned =
            plan(sql, catalog).unwrap_or_else(|error| panic!("{NO_PLAN}{} {error}\n{sql}", error.position));
        let mut running = Running::new(planned, &self.feeds);
        let all = Step { takes: vec![usize::MAX], restarts: false, compares: false };
        for step in self.steps.iter().chain(std::iter::once(&all)) {
            if running.is_drained() {
                break;
            }
            let mut takes = step.takes.iter().cycle();
            running.epoch(|_| takes.next().copied().unwrap_or_default(), false);
            if step.restarts {
                running.restart();
            }
            if self.is_exact_at_every_epoch && step.compares {
                let expected = batch_answer(sql, catalog, &running.rows_read(catalog));
                assert_eq!(running.result(), expected, "after an epoch of {sql}");
            }
        }
        running.epoch(|_| 0, true);
        let expected = batch_answer(sql, catalog, &running.rows_read(catalog));
        assert_eq!(running.result(), expected, "at the end of {sql}");
        assert!(running.letters.is_empty(), "no row of {sql} is late: {:?}", running.letters);
    }

    /// Why it fails, if it does.
    fn failure(&self, catalog: &Catalog) -> Option<String> {
        QUIET.set(true);
        let outcome = catch_unwind(AssertUnwindSafe(|| self.check(catalog)));
        QUIET.set(false);
        let panic = outcome.err()?;
        let text = panic.downcast_ref::<String>().cloned();
        Some(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
    }

    /// Cases with fewer rows, fewer cuts or a simpler query.
    fn smaller(&self) -> Vec<Case> {
        let mut smaller: Vec<Case> =
            self.query.simpler().into_iter().map(|query| Case { query, ..self.clone() }).collect();
        for run in halvings(self.steps.len()) {
            let mut case = self.clone();
            case.steps.drain(run);
            smaller.push(case);
        }
        for (stream, partitions) in &self.feeds {
            for (partition, records) in partitions.iter().enumerate() {
                for run in halvings(records.len()) {
                    let mut case = self.clone();
                    if let Some(feed) = case.feeds.get_mut(stream) {
                        feed[partition].drain(run);
                    }
                    smaller.push(case);
                }
            }
        }
        smaller
    }

    /// The smallest case found that fails in the same way, and why it does; nothing where this one does not fail.
    fn shrunk(mut self, fails: impl Fn(&Case) -> Option<String>) -> Option<(Case, String)> {
        let mut why = fails(&self)?;
        let is_plan = why.starts_with(NO_PLAN);
        let mut tries = 0;
        loop {
            let found = self.smaller().into_iter().take(TRIES_MAX.saturating_sub(tries)).find_map(|case| {
                tries += 1;
                let why = fails(&case).filter(|why| why.starts_with(NO_PLAN) == is_plan)?;
                Some((case, why))
            });
            match found {
                Some((case, new)) => (self, why) = (case, new),
                None => return Some((self, why)),
            }
        }
    }
}

/// How a failure to plan begins.
const NO_PLAN: &str = "no plan: ";

/// Stretches of a list that may be left out: all of it, its halves, their halves, down to one.
fn halvings(length: usize) -> Vec<std::ops::Range<usize>> {
    let mut runs = Vec::new();
    let mut size = length;
    while size > 0 {
        runs.extend((0..length).step_by(size).map(|from| from..(from + size).min(length)));
        size /= 2;
    }
    runs
}

impl std::fmt::Display for Case {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |bytes: &Option<bytes::Bytes>| match bytes {
            Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            None => "∅".to_owned(),
        };
        writeln!(formatter, "{}", self.query.sql())?;
        for (stream, partitions) in &self.feeds {
            for (partition, records) in partitions.iter().enumerate() {
                for (key, value) in records {
                    writeln!(formatter, "  {stream}/{partition}  {} = {}", text(key), text(value))?;
                }
            }
        }
        for step in &self.steps {
            let restart = if step.restarts { ", then restarted" } else { "" };
            writeln!(formatter, "  an epoch of {:?} records by partition{restart}", step.takes)?;
        }
        Ok(())
    }
}

thread_local! {
    /// Whether panics of this thread are expected and not told.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs so many seeds' cases, on all cores; one that fails is made smaller and told with its seed. `OTTLA_TEST_SEED` runs one
/// seed, `OTTLA_TEST_CASES` as many as it takes for so many cases, of which `make` gives `per_seed`.
pub fn for_each_seed(
    seeds: u64,
    per_seed: u64,
    catalog: &Catalog,
    make: impl Fn(&mut Random) -> Vec<Case> + Sync,
) {
    let setting = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match setting("OTTLA_TEST_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("OTTLA_TEST_CASES").map_or(seeds, |cases| cases.div_ceil(per_seed)),
    };
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !QUIET.get() {
            told(panic);
        }
    }));
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let run = |seed: u64| {
        for case in make(&mut Random::new(seed)) {
            if let Some((case, why)) = case.shrunk(|case| case.failure(catalog)) {
                return Some(format!(
                    "OTTLA_TEST_SEED={seed} runs the case that failed. The smallest like it:\n{case}{why}"
                ));
            }
        }
        None
    };
    let failed = std::thread::scope(|scope| {
        let part = |number: u64| {
            let (seeds, run) = (seeds.clone(), &run);
            scope.spawn(move || seeds.filter(|seed| seed % threads == number).find_map(run))
        };
        let parts: Vec<_> = (0..threads).map(part).collect();
        parts
            .into_iter()
            .find_map(|part| part.join().unwrap_or_else(|_| Some("a thread panicked".to_owned())))
    });
    if let Some(failed) = failed {
        panic!("{failed}");
    }
}

#[test]
fn a_failing_case_is_made_smaller() {
    let catalog = crate::harness::catalog(crate::rows::STREAMS);
    let has_null = |case: &Case| {
        let values = case.feeds["s"].iter().flatten().filter_map(|(_, value)| value.as_ref());
        values.filter(|value| value.windows(8).any(|text| text == b"\"v\":null")).count()
    };
    let fails = |case: &Case| {
        let wrong = case.query.sql().contains("MAX(v)") && has_null(case) > 1;
        wrong.then(|| "wrong".to_owned())
    };
    let mut shrunk = (0..).filter_map(|seed| {
        let random = &mut Random::new(seed);
        let feeds = crate::rows::feeds(&catalog, random, crate::rows::Times::Orderly);
        Case::random(Query::random(random), feeds, true, random).shrunk(fails)
    });
    for _ in 0..5 {
        let (case, _) = shrunk.next().unwrap();
        let rows: usize = case.feeds.values().flatten().map(Vec::len).sum();
        assert_eq!((rows, case.steps.len()), (2, 0), "{case}");
        assert!(case.query.sql().len() < 300, "{case}");
    }
}
