//! Batches that come behind one that was refused a moment ago. A producer has several under way: where the first is refused because the
//! partition had no leader here yet, or too few replicas in sync, the next may find everything in order and would leave a gap. To
//! say so would be true and do harm: librdkafka goes on in a new epoch then, and writes anew what it had no answer for, which may be in
//! the log already. So they are refused like the first, and come again behind it.

use std::time::{Duration, Instant};

use crate::log::{LogError, SequenceError};

/// How long after a refusal a gap is taken for its consequence. Producers wait a tenth of a second before they try again, and longer
/// where they have to find the leader first.
const MEMORY: Duration = Duration::from_secs(10);

/// When something was last refused, or may have been.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    last: Option<Instant>,
}

impl Refusals {
    /// Something is refused that its producer will send again, or was before this node led the partition.
    pub fn note(&mut self) {
        self.last = Some(Instant::now());
    }

    /// Whether that is why a batch does not follow what its producer wrote last.
    pub fn explain(&self, error: &LogError) -> bool {
        let LogError::Sequence(SequenceError::OutOfOrder { sequence, expected, .. }) = error else {
            return false;
        };
        // After the greatest comes 0.
        let ahead = sequence.wrapping_sub(*expected) & i32::MAX;
        (1..i32::MAX / 2).contains(&ahead) && self.last.is_some_and(|last| last.elapsed() < MEMORY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out_of_order(sequence: i32, expected: i32) -> LogError {
        LogError::Sequence(SequenceError::OutOfOrder { producer_id: 7, sequence, expected })
    }

    #[test]
    fn a_gap_is_explained_by_a_refusal_and_an_old_batch_is_not() {
        let mut refusals = Refusals::default();
        assert!(!refusals.explain(&out_of_order(5, 3)), "nothing was refused");
        refusals.note();
        assert!(refusals.explain(&out_of_order(5, 3)));
        assert!(refusals.explain(&out_of_order(1, i32::MAX)), "sequences wrap around");
        assert!(!refusals.explain(&out_of_order(3, 5)), "it was there and is forgotten");
        let stale = SequenceError::StaleEpoch { producer_id: 7, epoch: 1, current: 2 };
        assert!(!refusals.explain(&LogError::Sequence(stale)));
        refusals.last = Instant::now().checked_sub(MEMORY);
        assert!(!refusals.explain(&out_of_order(5, 3)), "that was long ago");
    }
}
