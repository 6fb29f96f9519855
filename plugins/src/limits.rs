//! How much of the host one plugin may use. The defaults were set by measuring honest and hostile plugins: an
//! honest call needs a hundredth of them, a hostile one is stopped before anyone else notices.

use std::time::Duration;

/// The most linear memory any plugin may be granted. The pool reserves address space, not memory, for this
/// much.
pub const MEMORY_MAX_BYTES: usize = 1 << 30;

/// Bounds for one plugin, applied to each of its instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of one instance.
    pub memory_bytes: usize,
    /// Elements of all tables of one instance.
    pub table_elements: usize,
    /// Size of the component file.
    pub component_bytes_max: u64,
    /// CPU time an instance may take to start.
    pub start_deadline: Duration,
    /// CPU time of a call: `call_deadline` and `record_deadline` for each record given, at most
    /// `call_deadline_max`.
    pub call_deadline: Duration,
    pub record_deadline: Duration,
    pub call_deadline_max: Duration,
    /// A call may return so many records for each one given.
    pub output_records_factor: usize,
    /// A call may return so many bytes for each one given, and `output_bytes_extra` besides.
    pub output_bytes_factor: usize,
    pub output_bytes_extra: usize,
    /// Instances kept started and waiting.
    pub warm_instances: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory_bytes: 64 << 20,
            table_elements: 100_000,
            component_bytes_max: 32 << 20,
            start_deadline: Duration::from_secs(5),
            call_deadline: Duration::from_millis(100),
            record_deadline: Duration::from_millis(1),
            call_deadline_max: Duration::from_secs(5),
            output_records_factor: 10,
            output_bytes_factor: 4,
            output_bytes_extra: 1 << 20,
            warm_instances: 2,
        }
    }
}

impl Limits {
    pub(crate) fn call_budget(&self, records: usize) -> Duration {
        let records = u32::try_from(records).unwrap_or(u32::MAX);
        self.call_deadline
            .saturating_add(self.record_deadline.saturating_mul(records))
            .min(self.call_deadline_max)
    }

    pub(crate) fn output_records_max(&self, given: usize) -> usize {
        given.saturating_mul(self.output_records_factor)
    }

    pub(crate) fn output_bytes_max(&self, given: usize) -> usize {
        given.saturating_mul(self.output_bytes_factor).saturating_add(self.output_bytes_extra)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_gets_more_time_for_more_records_up_to_its_maximum() {
        let limits = Limits::default();
        assert_eq!(limits.call_budget(0), Duration::from_millis(100));
        assert_eq!(limits.call_budget(400), Duration::from_millis(500));
        assert_eq!(limits.call_budget(usize::MAX), Duration::from_secs(5));
    }

    #[test]
    fn bounds_do_not_overflow() {
        let limits = Limits {
            output_records_factor: usize::MAX,
            output_bytes_factor: usize::MAX,
            ..Limits::default()
        };
        assert_eq!(limits.output_records_max(3), usize::MAX);
        assert_eq!(limits.output_bytes_max(usize::MAX), usize::MAX);
    }
}
