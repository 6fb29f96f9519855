//! What a reader of files hands out: a batch, the position after each row, and the rows that were bad.

use arrow::array::RecordBatch;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A place between two rows of a text file.
///
/// ```text
///   byte 0                      byte                            end of file
///   | header | row | row | row  |  row …                        |
///                               ^ Position { byte, line }: the next row starts at this byte, on this line
/// ```
/// Reading on from a row's position gives exactly the rows after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Bytes before this place.
    pub byte: u64,
    /// The number of the line that starts here, counted from 1.
    pub line: u64,
}

impl Position {
    /// The start of a file.
    pub const START: Self = Self { byte: 0, line: 1 };
}

/// Some rows of a file, in its order.
#[derive(Debug, Clone)]
pub struct RowBatch {
    /// The good rows, in the reader's schema.
    pub batch: RecordBatch,
    /// For each row of `batch`, the place just after it; strictly growing.
    pub positions: Vec<Position>,
    /// The rows that could not be read; their positions are not in `positions`.
    pub bad: Vec<BadRow>,
    /// The place after the last row of this batch, good or bad (or after blank lines): read on from here.
    pub resume: Position,
}

/// A row that could not be read, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// The line on which the row starts, counted from 1.
    pub line: u64,
    /// The place just after the row.
    pub position: Position,
    /// The row's bytes as they are in the file, without the line end.
    pub raw: Bytes,
    /// One sentence for a person, naming the column where there is one.
    pub reason: String,
}
