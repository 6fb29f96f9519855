//! Words that PostgreSQL's clients say by themselves, and the tags by which they are told what was done.

use ottla_streams::SqlError;
use ottla_streams::sql::{ObjectKind, Statement, parse};
use pgwire::api::results::{Response, Tag};

/// A statement about the session or a transaction. Every statement of Ottla's stands for itself, so there is nothing to
/// begin, commit or set, and clients that do so before and after each statement are let do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Begin,
    Commit,
    Rollback,
    Set,
    Reset,
    Discard,
    Deallocate,
}

impl Word {
    /// Which of them a text is, if it is one of them and nothing else.
    pub(super) fn of(text: &str) -> Option<Word> {
        let text = text.trim().trim_end_matches(';').trim_end();
        if text.contains(';') {
            return None;
        }
        let mut words = text.split_whitespace().map(str::to_ascii_uppercase);
        match (words.next()?.as_str(), words.next().as_deref()) {
            ("BEGIN", _) | ("START", Some("TRANSACTION")) => Some(Word::Begin),
            ("COMMIT" | "END", _) => Some(Word::Commit),
            ("ROLLBACK" | "ABORT", _) => Some(Word::Rollback),
            ("SET", Some(_)) => Some(Word::Set),
            ("RESET", Some(_)) => Some(Word::Reset),
            ("DISCARD", Some(_)) => Some(Word::Discard),
            ("DEALLOCATE", Some(_)) => Some(Word::Deallocate),
            _ => None,
        }
    }

    pub(super) fn response(self) -> Response {
        match self {
            Word::Begin => Response::TransactionStart(Tag::new("BEGIN")),
            Word::Commit => Response::TransactionEnd(Tag::new("COMMIT")),
            Word::Rollback => Response::TransactionEnd(Tag::new("ROLLBACK")),
            Word::Set => Response::Execution(Tag::new("SET")),
            Word::Reset => Response::Execution(Tag::new("RESET")),
            Word::Discard => Response::Execution(Tag::new("DISCARD ALL")),
            Word::Deallocate => Response::Execution(Tag::new("DEALLOCATE")),
        }
    }
}

/// The command tag of each statement of a text.
pub(super) fn tags(text: &str) -> Result<Vec<&'static str>, SqlError> {
    let statements = parse(text)?;
    if let Some(Statement::Query(query)) = statements.last()
        && let Some((_, position)) = query.emit
    {
        let mut refused = super::no_changes();
        refused.position = position;
        return Err(refused);
    }
    Ok(statements.iter().map(tag).collect())
}

fn tag(statement: &Statement) -> &'static str {
    match statement {
        Statement::CreateStream(create) if create.primary_key.is_some() => "CREATE TABLE",
        Statement::CreateStream(_) => "CREATE STREAM",
        Statement::CreateView(_) => "CREATE MATERIALIZED VIEW",
        Statement::CreateFunction(_) => "CREATE FUNCTION",
        // A query that runs on inserts what comes; how much is not known now.
        Statement::Insert(_) => "INSERT",
        Statement::Drop(drop) => match drop.kind {
            ObjectKind::Stream => "DROP STREAM",
            ObjectKind::Table => "DROP TABLE",
            ObjectKind::View => "DROP MATERIALIZED VIEW",
            ObjectKind::Query => "DROP QUERY",
            ObjectKind::Function => "DROP FUNCTION",
        },
        Statement::Show(_) => "SHOW",
        Statement::Describe(_) => "DESCRIBE",
        Statement::Explain(_) | Statement::ExplainQuery(_) => "EXPLAIN",
        Statement::Pause(_) => "PAUSE",
        Statement::Resume(_) => "RESUME",
        Statement::Query(_) => "SELECT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_session_are_known_alone_only() {
        assert_eq!(Word::of(" begin;"), Some(Word::Begin));
        assert_eq!(Word::of("SET extra_float_digits = 3"), Some(Word::Set));
        assert_eq!(Word::of("START TRANSACTION READ ONLY"), Some(Word::Begin));
        assert_eq!(Word::of("BEGIN; SELECT 1"), None);
        assert_eq!(Word::of("SELECT 1"), None);
        assert_eq!(Word::of(""), None);
    }
}
