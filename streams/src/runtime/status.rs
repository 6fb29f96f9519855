//! What a query tells about itself while it runs.

use super::stages::StageTimes;
use crate::state::changelog::{Commit, Epoch, InputOffsets, InputPartition, Totals};

/// How far a query is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum QueryPhase {
    /// It reads its changelog.
    #[default]
    Recovering,
    /// It runs epochs.
    Running,
    /// Its input was over, and everything of it is in the output.
    Finished,
    /// It was told to stop; a restart goes on.
    Stopped,
    /// It could not go on, and why.
    Failed(String),
}

/// The progress of a query as of its last commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueryStatus {
    /// Where it is in its life.
    pub phase: QueryPhase,
    /// The last epoch committed.
    pub epoch: Epoch,
    /// Rows since the query's first start, over crashes and restarts.
    pub totals: Totals,
    /// The offset of the next input record, per partition.
    pub positions: InputOffsets,
    /// The ends of the input partitions as last heard.
    pub input_ends: InputOffsets,
    /// The watermark in milliseconds since 1970; none before there is one, `i64::MAX` after the end.
    pub watermark: Option<i64>,
    /// Rows in the state of all operators.
    pub state_rows: usize,
    /// Bytes of keys and rows in the state.
    pub state_bytes: usize,
    /// Where the time went since this start.
    pub stages: StageTimes,
}

impl QueryStatus {
    /// Input records that are known and not yet in a committed epoch.
    pub fn lag(&self) -> u64 {
        let behind = |(partition, end): (&InputPartition, &i64)| {
            let position = self.positions.get(partition).copied().unwrap_or_default();
            u64::try_from(end - position).unwrap_or_default()
        };
        self.input_ends.iter().map(behind).sum()
    }

    /// Takes over what a commit says.
    pub(super) fn committed(&mut self, commit: &Commit) {
        self.epoch = commit.epoch;
        self.totals = commit.totals;
        self.positions = commit.input_ends.clone();
        self.watermark = commit.watermark;
        for (partition, position) in &commit.input_ends {
            let end = self.input_ends.entry(*partition).or_default();
            *end = (*end).max(*position);
        }
    }
}
