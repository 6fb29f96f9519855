//! What is wrong with a pipeline file, told so that the reader can go there: file, line, column, the source
//! line with a caret, and what to do. It knows how to speak, not what is right.

use std::fmt;
use std::path::{Path, PathBuf};

/// A place in a file. Both count from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub line: u32,
    pub column: u32,
}

/// Whether a finding keeps the pipeline from running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One finding. Its `Display` is what a terminal should show, without a trailing newline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub file: PathBuf,
    /// None when the finding is about the file as a whole.
    pub position: Option<Position>,
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The line that `position` is on.
    pub source_line: Option<String>,
    /// Characters that the carets underline, at least 1.
    pub width: usize,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(Position { line, column }) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}: {}", self.severity.word(), self.message)?;
        let mut margin = 4;
        if let (Some(position), Some(source_line)) = (self.position, &self.source_line) {
            let number = position.line.to_string();
            margin = number.len().max(4);
            let before = source_line.chars().take(position.column.saturating_sub(1) as usize);
            // A tab stays a tab, so that the caret lands below its character however wide the terminal makes
            // tabs.
            let indent: String = before.map(|character| if character == '\t' { '\t' } else { ' ' }).collect();
            write!(
                f,
                "\n{number:>margin$} | {source_line}\n{:>margin$} | {indent}{}",
                "",
                "^".repeat(self.width)
            )?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n{:>margin$} = {help}", "")?;
        }
        Ok(())
    }
}

/// The findings about one file, collected in one pass.
#[derive(Debug)]
pub struct Findings {
    file: PathBuf,
    lines: Vec<String>,
    found: Vec<Diagnostic>,
}

/// Longer lines are cut in messages: nobody reads them, and a hostile file could fill the terminal.
const SOURCE_LINE_CHARS_MAX: usize = 200;

impl Findings {
    pub fn new(file: &Path, text: &str) -> Findings {
        Findings {
            file: file.to_owned(),
            lines: text.lines().map(str::to_owned).collect(),
            found: Vec::new(),
        }
    }

    pub fn error(&mut self, at: Position, message: impl Into<String>) {
        self.add(Severity::Error, Some(at), message.into(), None);
    }

    pub fn error_with_help(&mut self, at: Position, message: impl Into<String>, help: impl Into<String>) {
        self.add(Severity::Error, Some(at), message.into(), Some(help.into()));
    }

    /// An error, with help where there is any.
    pub fn error_maybe_help(&mut self, at: Position, message: impl Into<String>, help: Option<String>) {
        self.add(Severity::Error, Some(at), message.into(), help);
    }

    pub fn file_error(&mut self, message: impl Into<String>, help: Option<String>) {
        self.add(Severity::Error, None, message.into(), help);
    }

    pub fn warning(&mut self, at: Position, message: impl Into<String>) {
        self.add(Severity::Warning, Some(at), message.into(), None);
    }

    pub fn has_errors(&self) -> bool {
        self.found.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// How many there are so far, to know whether a check has added any.
    pub fn count(&self) -> usize {
        self.found.len()
    }

    /// All findings in the order of their places, without repetitions.
    pub fn into_sorted(self) -> Vec<Diagnostic> {
        let mut found = self.found;
        found.sort_by_key(|finding| (finding.position, finding.severity));
        found.dedup();
        found
    }

    fn add(&mut self, severity: Severity, position: Option<Position>, message: String, help: Option<String>) {
        let line = position.and_then(|at| self.lines.get((at.line as usize).checked_sub(1)?));
        let width = line.zip(position).map_or(1, |(line, at)| word_width(line, at.column));
        let source_line = line.map(|line| line.chars().take(SOURCE_LINE_CHARS_MAX).collect());
        self.found.push(Diagnostic {
            severity,
            file: self.file.clone(),
            position,
            message,
            help,
            source_line,
            width,
        });
    }
}

/// Length of the word at a column: what a caret line should underline.
fn word_width(line: &str, column: u32) -> usize {
    let start = column.saturating_sub(1) as usize;
    let rest = line.chars().take(SOURCE_LINE_CHARS_MAX).skip(start);
    let ends_word = |character: &char| character.is_whitespace() || ":,]}".contains(*character);
    rest.take_while(|character| !ends_word(character)).count().max(1)
}

/// The nearest of these words, when one is near enough to be what was meant.
pub fn nearest<'a>(word: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let closeness =
        |candidate: &str| strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase());
    // A third of the letters may be wrong; a longer word than this is no slip of the pen and only costs time.
    let allowed = (word.chars().count() / 3).max(1);
    if word.len() > 100 {
        return None;
    }
    let candidates = words.into_iter().map(|candidate| (closeness(candidate), candidate));
    candidates.filter(|(distance, _)| *distance <= allowed).min().map(|(_, candidate)| candidate)
}

/// "did you mean `x`?", or else which words there are.
pub fn suggestion<'a>(word: &str, words: impl IntoIterator<Item = &'a str> + Clone) -> Option<String> {
    if let Some(nearest) = nearest(word, words.clone()) {
        return Some(format!("did you mean `{nearest}`?"));
    }
    let words: Vec<_> = words.into_iter().take(20).map(|word| format!("`{word}`")).collect();
    if words.is_empty() { None } else { Some(format!("there is {}", words.join(", "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_shows_its_line_with_a_caret_under_the_word() {
        let text = "name: flights\nsources:\n  csv:\n    on_eror: stop\n";
        let mut findings = Findings::new(Path::new("a/pipeline.yaml"), text);
        findings.error_with_help(
            Position { line: 4, column: 5 },
            "unknown key `on_eror`",
            "did you mean `on_error`?",
        );
        let shown = findings.into_sorted().remove(0).to_string();
        let expected = "a/pipeline.yaml:4:5: error: unknown key `on_eror`
   4 |     on_eror: stop
     |     ^^^^^^^
     = did you mean `on_error`?";
        assert_eq!(shown, expected);
    }

    #[test]
    fn findings_come_in_the_order_of_the_file_and_once_each() {
        let mut findings = Findings::new(Path::new("p.yaml"), "a\nb\nc\n");
        findings.error(Position { line: 3, column: 1 }, "third");
        findings.error(Position { line: 1, column: 1 }, "first");
        findings.error(Position { line: 3, column: 1 }, "third");
        let messages: Vec<_> = findings.into_sorted().into_iter().map(|finding| finding.message).collect();
        assert_eq!(messages, ["first", "third"]);
    }

    #[test]
    fn the_nearest_word_is_near_or_none() {
        let words = ["sources", "sinks", "transforms"];
        assert_eq!(nearest("source", words), Some("sources"));
        assert_eq!(nearest("tranfsorms", words), Some("transforms"));
        assert_eq!(nearest("banana", words), None);
        assert_eq!(suggestion("banana", words).unwrap(), "there is `sources`, `sinks`, `transforms`");
    }

    #[test]
    fn a_place_beyond_the_file_is_told_without_a_line() {
        let mut findings = Findings::new(Path::new("p.yaml"), "a\n");
        findings.error(Position { line: 9, column: 9 }, "odd");
        assert_eq!(findings.into_sorted().remove(0).to_string(), "p.yaml:9:9: error: odd");
    }
}
