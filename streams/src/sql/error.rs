//! The one error of everything that reads SQL: what is wrong, where, why, and the nearest right word.
//!
//! Knows nothing of the parser or of DataFusion; they are mapped to it where they are called.

use std::fmt;

use datafusion::sql::sqlparser::tokenizer::{Location, Span};

/// A place in the SQL text. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
}

impl Position {
    /// The start of the text, for errors that belong to no single word.
    pub const START: Position = Position { line: 1, column: 1 };
}

impl From<Location> for Position {
    fn from(location: Location) -> Self {
        // sqlparser marks nodes it made up itself with line 0.
        if location.line == 0 {
            return Position::START;
        }
        Position { line: location.line, column: location.column.max(1) }
    }
}

impl From<Span> for Position {
    fn from(span: Span) -> Self {
        span.start.into()
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}, column {}", self.line, self.column)
    }
}

/// A SQL text that cannot be parsed, planned or run as a stream.
///
/// Its `Display` is one line without the position, so that a pipeline file can point to its own line and column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlError {
    /// Where in the text, if a word can be named; the start of the statement otherwise.
    pub position: Position,
    /// What is wrong and why, in one sentence.
    pub message: String,
    /// What to do about it: a nearby name, or another way to say it.
    pub help: Option<String>,
}

impl SqlError {
    /// An error at `position`.
    pub fn new(position: impl Into<Position>, message: impl Into<String>) -> Self {
        SqlError { position: position.into(), message: message.into(), help: None }
    }

    /// Adds what the author of the SQL could do.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the candidate that looks most like `wrong`, if one is near enough to have been meant.
    pub fn with_nearest<'a>(self, wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Self {
        match nearest(wrong, candidates) {
            Some(right) => self.with_help(format!("did you mean `{right}`?")),
            None => self,
        }
    }

    /// The same error for a text that begins at `origin` inside a larger one.
    pub fn moved_to(mut self, origin: Position) -> Self {
        if self.position.line == 1 {
            self.position.column += origin.column.saturating_sub(1);
        }
        self.position.line += origin.line.saturating_sub(1);
        self
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(formatter, "; {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SqlError {}

/// The candidate nearest to `wrong` by edit distance, ignoring case; none if even the nearest is more than a third of
/// the word away, since a far guess misleads more than no guess.
pub fn nearest<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong_lower = wrong.to_lowercase();
    let allowed = (wrong.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&wrong_lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_a_word_one_letter_away_but_not_a_stranger() {
        assert_eq!(nearest("orign", ["dest", "origin"]), Some("origin"));
        assert_eq!(nearest("ORIGIN", ["origin"]), Some("origin"));
        assert_eq!(nearest("carrier", ["dest", "origin"]), None);
    }

    #[test]
    fn moves_columns_only_on_the_first_line() {
        let origin = Position { line: 10, column: 5 };
        let first = SqlError::new(Position { line: 1, column: 3 }, "x").moved_to(origin);
        assert_eq!(first.position, Position { line: 10, column: 7 });
        let second = SqlError::new(Position { line: 2, column: 3 }, "x").moved_to(origin);
        assert_eq!(second.position, Position { line: 11, column: 3 });
    }
}
