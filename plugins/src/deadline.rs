//! How long a call may run, in CPU time of the thread that makes it. It knows nothing of what the call does.
//!
//! wasmtime asks us at a function's entry and at each loop once the epoch has passed the deadline. The epoch
//! is wall time, and on a busy machine a thread can lose a second without having run: interrupting it then
//! would blame the plugin for the neighbours. So the first expiry only opens an account of CPU time, and the
//! call is interrupted when that account has reached the budget. A plugin cannot sleep or wait, so CPU time
//! is bound to pass.

use std::time::{Duration, Instant};

/// Epochs pass at this pace.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Ticks after which wasmtime asks, for a budget of time; at least one.
pub(crate) fn ticks(budget: Duration) -> u64 {
    u64::try_from(budget.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u64::MAX).clamp(1, 1 << 32)
}

/// The budget of the call that is under way in one store.
#[derive(Debug, Default)]
pub(crate) struct CallBudget {
    budget: Duration,
    spent_at_first_expiry: Option<ThreadTime>,
}

pub(crate) enum Verdict {
    Interrupt,
    /// Ask again after so many ticks.
    GoOn {
        ticks: u64,
    },
}

impl CallBudget {
    pub(crate) fn start(budget: Duration) -> CallBudget {
        CallBudget { budget, spent_at_first_expiry: None }
    }

    pub(crate) fn budget(&self) -> Duration {
        self.budget
    }

    pub(crate) fn expired(&mut self, now: ThreadTime) -> Verdict {
        let Some(opened) = self.spent_at_first_expiry else {
            self.spent_at_first_expiry = Some(now);
            return Verdict::GoOn { ticks: ticks(self.budget) };
        };
        match self.budget.checked_sub(now.since(opened)) {
            None | Some(Duration::ZERO) => Verdict::Interrupt,
            Some(left) => Verdict::GoOn { ticks: ticks(left) },
        }
    }
}

/// A reading of the calling thread's CPU clock, or of the wall clock where the system does not tell.
#[derive(Clone, Copy, Debug)]
pub enum ThreadTime {
    Cpu(Duration),
    Wall(Instant),
}

impl ThreadTime {
    /// The reading now.
    pub fn now() -> ThreadTime {
        Self::cpu().unwrap_or_else(|| ThreadTime::Wall(Instant::now()))
    }

    /// Linux: the first number of this file is the nanoseconds that the thread has been on a CPU.
    fn cpu() -> Option<ThreadTime> {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        let nanoseconds = text.split_ascii_whitespace().next()?.parse().ok()?;
        Some(ThreadTime::Cpu(Duration::from_nanos(nanoseconds)))
    }

    /// What has passed between two readings of one thread.
    pub fn since(self, earlier: ThreadTime) -> Duration {
        match (self, earlier) {
            (ThreadTime::Cpu(now), ThreadTime::Cpu(then)) => now.saturating_sub(then),
            (ThreadTime::Wall(now), ThreadTime::Wall(then)) => now.saturating_duration_since(then),
            // The clock's kind changed between two readings: count nothing, the next reading has the same
            // kind again.
            (ThreadTime::Cpu(_), ThreadTime::Wall(_)) | (ThreadTime::Wall(_), ThreadTime::Cpu(_)) => {
                Duration::ZERO
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> ThreadTime {
        ThreadTime::Cpu(Duration::from_millis(milliseconds))
    }

    #[test]
    fn a_thread_that_lost_the_cpu_is_not_interrupted() {
        let mut call = CallBudget::start(Duration::from_millis(100));
        assert!(matches!(call.expired(at(5)), Verdict::GoOn { ticks: 10 }));
        assert!(matches!(call.expired(at(6)), Verdict::GoOn { ticks: 10 }), "1 ms of CPU in all that time");
        assert!(matches!(call.expired(at(90)), Verdict::GoOn { ticks: 2 }));
        assert!(matches!(call.expired(at(105)), Verdict::Interrupt));
    }

    #[test]
    fn a_thread_that_spins_is_interrupted_at_the_second_expiry() {
        let mut call = CallBudget::start(Duration::from_millis(100));
        assert!(matches!(call.expired(at(100)), Verdict::GoOn { .. }));
        assert!(matches!(call.expired(at(200)), Verdict::Interrupt));
    }

    #[test]
    fn a_budget_below_a_tick_is_one_tick() {
        assert_eq!(ticks(Duration::ZERO), 1);
        assert_eq!(ticks(Duration::from_millis(11)), 2);
        assert_eq!(ticks(Duration::MAX), 1 << 32);
    }
}
