//! Offsets of transactions on their way into a group's log: between the coordinator's word that the transaction is open
//! and the commit's place in the log no marker may slip in, or the offsets would wait for one that has been there (KIP-890).
//!
//! ```text
//!   begin ──▶ the coordinator is asked ──▶ it agrees ──▶ still open ──▶ commit goes into the log
//!                                  └── a marker goes into the log: no longer open, the commit is refused
//! ```
//! The log's order is the order of calls: who holds this must take a place in the log together with the call.

use std::collections::{BTreeMap, BTreeSet};

/// One question to a transaction's coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    partition: i32,
    producer_id: i64,
    number: u64,
}

/// The questions that are under way. See the module.
#[derive(Debug, Default)]
pub struct Verifications {
    open: BTreeMap<(i32, i64), BTreeSet<u64>>,
    asked: u64,
}

impl Verifications {
    /// The coordinator is about to be asked about a producer's transaction in a partition of `__consumer_offsets`. Every
    /// question MUST be [ended](Verifications::end).
    pub fn begin(&mut self, partition: i32, producer_id: i64) -> Question {
        self.asked += 1;
        self.open.entry((partition, producer_id)).or_default().insert(self.asked);
        Question { partition, producer_id, number: self.asked }
    }

    /// Whether no marker of the producer has come since, so that the coordinator's answer still holds.
    pub fn is_open(&self, question: Question) -> bool {
        let open = self.open.get(&(question.partition, question.producer_id));
        open.is_some_and(|numbers| numbers.contains(&question.number))
    }

    /// A marker of the producer goes into the log.
    pub fn on_marker(&mut self, partition: i32, producer_id: i64) {
        self.open.remove(&(partition, producer_id));
    }

    /// The question is of no use any more.
    pub fn end(&mut self, question: Question) {
        let key = (question.partition, question.producer_id);
        if let Some(numbers) = self.open.get_mut(&key) {
            numbers.remove(&question.number);
            if numbers.is_empty() {
                self.open.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_overtakes_the_questions_of_its_producer_in_its_partition() {
        let mut verifications = Verifications::default();
        let (first, second) = (verifications.begin(1, 7), verifications.begin(1, 7));
        let others = [verifications.begin(2, 7), verifications.begin(1, 8)];
        verifications.end(first);
        assert!(!verifications.is_open(first) && verifications.is_open(second));
        verifications.on_marker(1, 7);
        assert!(!verifications.is_open(second));
        assert!(others.iter().all(|other| verifications.is_open(*other)));
        let later = verifications.begin(1, 7);
        verifications.end(second);
        assert!(verifications.is_open(later), "another's end is not this one's");
        for question in [later, others[0], others[1]] {
            verifications.end(question);
        }
        assert!(verifications.open.is_empty(), "nothing is remembered of what is over");
    }
}
