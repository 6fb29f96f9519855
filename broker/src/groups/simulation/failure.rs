//! What is printed of a seed that fails: the shortest history that still does. Kinds of faults are left out, and members,
//! as long as something fails.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// What may go wrong.
#[derive(Clone, Debug)]
pub(super) struct Faults {
    pub members_max: usize,
    pub losses: bool,
    pub delays: bool,
    pub duplicates: bool,
    pub member_crashes: bool,
    pub coordinator_crashes: bool,
    pub leaves: bool,
    pub hangs: bool,
    pub topics_grow: bool,
    /// Not a fault but a complication: members that speak the classic protocol.
    pub classic_members: bool,
}

impl Faults {
    pub const ALL: Faults = Faults {
        members_max: usize::MAX,
        losses: true,
        delays: true,
        duplicates: true,
        member_crashes: true,
        coordinator_crashes: true,
        leaves: true,
        hangs: true,
        topics_grow: true,
        classic_members: true,
    };

    /// The same with one thing less.
    fn with_less(&self) -> Vec<Faults> {
        let all = self.clone();
        let mut less = vec![
            Faults { losses: false, ..all.clone() },
            Faults { delays: false, ..all.clone() },
            Faults { duplicates: false, ..all.clone() },
            Faults { member_crashes: false, ..all.clone() },
            Faults { coordinator_crashes: false, ..all.clone() },
            Faults { leaves: false, ..all.clone() },
            Faults { hangs: false, ..all.clone() },
            Faults { topics_grow: false, ..all.clone() },
            Faults { classic_members: false, ..all.clone() },
        ];
        less.extend((1..8.min(self.members_max)).map(|members_max| Faults { members_max, ..all.clone() }));
        less
    }
}

/// What happened, written down only where it will be printed.
#[derive(Clone, Default)]
pub(super) struct History(Option<Rc<RefCell<Vec<String>>>>);

impl History {
    fn kept() -> History {
        History(Some(Rc::default()))
    }

    pub fn note(&self, at_ms: u64, what: impl FnOnce() -> String) {
        if let Some(lines) = &self.0 {
            lines.borrow_mut().push(format!("{at_ms} ms: {}", what()));
        }
    }

    fn lines(&self) -> Vec<String> {
        self.0.as_ref().map(|lines| lines.borrow().clone()).unwrap_or_default()
    }
}

/// Runs a seed; where it fails, panics with the shortest history found.
pub(super) fn run_or_explain(seed: u64, run: impl Fn(u64, Faults, History) -> u64) -> u64 {
    if let Ok(trace) = catch_unwind(AssertUnwindSafe(|| run(seed, Faults::ALL, History::default()))) {
        return trace;
    }
    let attempt = |faults: &Faults| {
        let history = History::kept();
        let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, faults.clone(), history.clone())));
        outcome.err().map(|why| {
            let why =
                why.downcast_ref::<String>().cloned().unwrap_or_else(|| "a broken invariant".to_owned());
            history.lines().into_iter().chain([why]).collect::<Vec<String>>()
        })
    };
    let mut shortest = (Faults::ALL, attempt(&Faults::ALL).unwrap_or_default());
    loop {
        let shorter =
            shortest.0.with_less().into_iter().filter_map(|faults| Some((attempt(&faults)?, faults)));
        match shorter.min_by_key(|(lines, _)| lines.len()) {
            Some((lines, faults)) if lines.len() < shortest.1.len() => shortest = (faults, lines),
            _ => break,
        }
    }
    let (faults, lines) = shortest;
    panic!("seed {seed} fails; OTTLA_SEED={seed} runs it alone. With {faults:?}:\n{}", lines.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_matter_is_left_out_of_the_history() {
        let run = |_, faults: Faults, history: History| {
            if faults.delays {
                history.note(1, || "late".to_owned());
            }
            history.note(2, || "lost".to_owned());
            assert!(!faults.losses, "something was lost");
            0
        };
        let failed = catch_unwind(|| run_or_explain(7, run)).unwrap_err();
        let message = failed.downcast_ref::<String>().unwrap();
        assert!(
            message.contains("seed 7") && message.contains("lost") && !message.contains("late"),
            "{message}"
        );
    }
}
