//! What of a stage's output is written already, and what to commit when. Pure.
//!
//! ```text
//!   output partition   … | ours, committed | others | ours, unknown to the commit | end
//!                                           ^ ends: the tail to read at a start
//! ```

use std::collections::BTreeMap;

use ottla_client::TopicPartition;
use serde::{Deserialize, Serialize};

use super::origin::Position;

/// Longer texts are not kept by Kafka (`offset.metadata.max.bytes` is 4096); without them the tail is the
/// whole topic.
const METADATA_BYTES_MAX: usize = 4000;

/// What is stored beside each committed offset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitMetadata {
    /// By topic that the stage writes to.
    ends: BTreeMap<String, TopicEnds>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct TopicEnds {
    /// A topic made anew has another id, and then offsets mean nothing.
    id: String,
    /// By partition, the first offset at which a record beyond the commit can be.
    ends: BTreeMap<i32, i64>,
}

impl CommitMetadata {
    /// What a broker gave back; anything that cannot be read counts as nothing known.
    pub fn parse(text: &str) -> CommitMetadata {
        serde_json::from_str(text).unwrap_or_default()
    }

    fn end(&self, topic: &str, topic_id: &str, partition: i32) -> i64 {
        let known = self.ends.get(topic).filter(|ends| ends.id == topic_id);
        known.and_then(|ends| ends.ends.get(&partition)).copied().unwrap_or(0)
    }
}

/// Where to read an output partition's tail from, so that nothing beyond any input's commit is missed.
pub fn tail_start(commits: &[CommitMetadata], topic: &str, topic_id: &str, partition: i32) -> i64 {
    commits.iter().map(|commit| commit.end(topic, topic_id, partition)).min().unwrap_or(0)
}

/// The stage's memory of its output.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Highest position found in an output partition at the start, by input partition.
    found: BTreeMap<(TopicPartition, TopicPartition), Position>,
    ends: CommitMetadata,
}

impl Ledger {
    /// A topic that the stage writes to; its tails are known to begin at these offsets.
    pub fn knows_topic(&mut self, topic: &str, topic_id: &str, ends: BTreeMap<i32, i64>) {
        self.ends.ends.insert(topic.to_owned(), TopicEnds { id: topic_id.to_owned(), ends });
    }

    /// A record of this stage in an output partition's tail.
    pub fn found(&mut self, output: &TopicPartition, input: TopicPartition, position: Position) {
        let highest = self.found.entry((input, output.clone())).or_insert(position);
        *highest = (*highest).max(position);
    }

    /// Whether an output is not there yet.
    pub fn is_new(&self, output: &TopicPartition, input: &TopicPartition, position: Position) -> bool {
        // Nothing is looked up once there is nothing to skip, which is always but for the start after a
        // crash.
        self.found.is_empty()
            || self.found.get(&(input.clone(), output.clone())).is_none_or(|highest| position > *highest)
    }

    /// A record of ours is durable at this offset; -1 when the broker does not remember where.
    pub fn acknowledged(&mut self, output: &TopicPartition, offset: i64) {
        if let Some(topic) = self.ends.ends.get_mut(&output.topic) {
            let end = topic.ends.entry(output.partition).or_insert(0);
            *end = (*end).max(offset + 1);
        }
    }

    /// What to store beside the inputs' offsets, when everything up to them is acknowledged.
    pub fn metadata(&self) -> String {
        // A map with text keys always has a JSON form.
        let text = serde_json::to_string(&self.ends).unwrap_or_default();
        if text.len() <= METADATA_BYTES_MAX { text } else { String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition::new(topic, partition)
    }

    #[test]
    fn what_was_found_in_the_tail_is_not_written_again() {
        let mut ledger = Ledger::default();
        let (input, output) = (partition("in", 0), partition("out", 1));
        assert!(ledger.is_new(&output, &input, Position::new(0, 0)));
        ledger.found(&output, input.clone(), Position::new(7, 1));
        ledger.found(&output, input.clone(), Position::new(7, 0));
        assert!(!ledger.is_new(&output, &input, Position::new(7, 1)));
        assert!(ledger.is_new(&output, &input, Position::new(7, 2)));
        assert!(
            ledger.is_new(&partition("out", 0), &input, Position::new(7, 1)),
            "another partition lags behind"
        );
        assert!(
            ledger.is_new(&output, &partition("in", 1), Position::new(7, 1)),
            "another input has its own positions"
        );
    }

    #[test]
    fn the_tail_starts_behind_the_last_acknowledged_record_of_the_slowest_commit() {
        let mut ledger = Ledger::default();
        ledger.knows_topic("out", "id", BTreeMap::from([(0, 5)]));
        ledger.acknowledged(&partition("out", 0), 9);
        ledger.acknowledged(&partition("out", 0), 3);
        ledger.acknowledged(&partition("out", 1), -1);
        let commit = CommitMetadata::parse(&ledger.metadata());
        assert_eq!(tail_start(std::slice::from_ref(&commit), "out", "id", 0), 10);
        assert_eq!(tail_start(std::slice::from_ref(&commit), "out", "id", 1), 0);
        assert_eq!(tail_start(std::slice::from_ref(&commit), "out", "made anew", 0), 0);
        assert_eq!(
            tail_start(&[commit, CommitMetadata::default()], "out", "id", 0),
            0,
            "one input knows nothing"
        );
        assert_eq!(tail_start(&[CommitMetadata::parse("{oops")], "out", "id", 0), 0);
    }

    #[test]
    fn a_commit_that_would_be_too_long_is_left_out() {
        let mut ledger = Ledger::default();
        ledger.knows_topic("out", "id", (0..1000).map(|partition| (partition, 1 << 40)).collect());
        assert_eq!(ledger.metadata(), "");
    }
}
