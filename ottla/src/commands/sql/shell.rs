//! The SQL shell: statements over several lines, a history that lasts, completion of names.

use std::io::{self, Write};
use std::path::PathBuf;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use super::server::Server;
use crate::cli::Output;
use crate::failure::Failure;

const PROMPT: &str = "ottla> ";
const PROMPT_WITHIN: &str = "  ...> ";

const HELP: &str = "Statements end with a semicolon and may go over several lines. Ctrl-C ends a query with EMIT, Ctrl-D the shell.
  SHOW STREAMS | TABLES | VIEWS | QUERIES;      DESCRIBE name;      EXPLAIN SELECT …;
  SELECT … FROM name;                           what is there now
  SELECT … FROM name … EMIT CHANGES;            what changes, until Ctrl-C
  CREATE STREAM | TABLE | MATERIALIZED VIEW …;  INSERT INTO name SELECT …;  DROP …;";

/// Words that are completed besides names.
const WORDS: [&str; 44] = [
    "ALLOWED LATENESS",
    "AND",
    "AS",
    "BETWEEN",
    "BY",
    "CASE",
    "CHANGES",
    "COUNT",
    "CREATE",
    "DESCRIBE",
    "DESCRIPTOR",
    "DISTINCT",
    "DROP",
    "EMIT",
    "EXPLAIN",
    "FINAL",
    "FROM",
    "GROUP BY",
    "HAVING",
    "HOP",
    "INNER JOIN",
    "INSERT INTO",
    "INTERVAL",
    "JOIN",
    "LEFT JOIN",
    "LIMIT",
    "MATERIALIZED VIEW",
    "ORDER BY",
    "PARTITION BY",
    "PRIMARY KEY",
    "QUERIES",
    "SELECT",
    "SESSION",
    "SHOW",
    "STREAM",
    "STREAMS",
    "TABLE",
    "TABLES",
    "TUMBLE",
    "UNION ALL",
    "VIEWS",
    "WATERMARK FOR",
    "WHERE",
    "WITH",
];

/// Reads statements and runs them until the end of the input.
pub(super) async fn run(server: Server, output: Output) -> Result<(), Failure> {
    let config = Config::builder().completion_type(CompletionType::List).auto_add_history(false).build();
    let mut editor: Editor<Names, FileHistory> = Editor::with_config(config)?;
    editor.set_helper(Some(Names::default()));
    let history = history_file();
    if let Some(file) = &history {
        // There is none the first time.
        let _ = editor.load_history(file);
    }
    println!("\\? tells what there is, \\q ends");
    let mut text = String::new();
    loop {
        if text.is_empty() {
            let names = names(&server).await;
            if let Some(helper) = editor.helper_mut() {
                helper.names = names;
            }
        }
        let prompt = if text.is_empty() { PROMPT } else { PROMPT_WITHIN };
        match tokio::task::block_in_place(|| editor.readline(prompt)) {
            Ok(line) => match (text.is_empty(), line.trim()) {
                (true, "") => {}
                (true, "\\q" | "quit" | "exit" | "quit;" | "exit;") => break,
                (true, "\\?" | "help" | "help;") => println!("{HELP}"),
                _ => {
                    text.push_str(&line);
                    text.push('\n');
                    if is_whole(&text) {
                        editor.add_history_entry(text.trim_end())?;
                        run_statements(&server, &text, output).await;
                        text.clear();
                    }
                }
            },
            Err(ReadlineError::Interrupted) => text.clear(),
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(file) = &history {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        editor.save_history(file)?;
    }
    Ok(())
}

async fn run_statements(server: &Server, text: &str, output: Output) {
    let outcome = tokio::select! {
        outcome = server.run("input", text, output) => outcome,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    if let Err(failure) = outcome {
        failure.report();
    }
    let _ = io::stdout().flush();
}

/// Names to complete; none while the server does not answer.
async fn names(server: &Server) -> Vec<String> {
    let shown = server.rows("SHOW STREAMS; SHOW TABLES; SHOW VIEWS").await.unwrap_or_default();
    shown.into_iter().filter_map(|row| row.into_iter().next()).collect()
}

/// Whether the text ends with a semicolon that is not inside of a string, a name or a comment.
fn is_whole(text: &str) -> bool {
    let mut quote: Option<char> = None;
    let mut ends = false;
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match (quote, char) {
            (Some(open), close) if open == close => quote = None,
            (Some(_), _) => {}
            (None, '-') if chars.peek() == Some(&'-') => {
                chars.by_ref().find(|char| *char == '\n');
            }
            (None, '\'' | '"') => {
                quote = Some(char);
                ends = false;
            }
            (None, ';') => ends = true,
            (None, char) if char.is_whitespace() => {}
            (None, _) => ends = false,
        }
    }
    ends && quote.is_none()
}

fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let state = state.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")))?;
    Some(state.join("ottla/sql_history"))
}

/// Completes names and words.
#[derive(Default)]
struct Names {
    names: Vec<String>,
}

impl Completer for Names {
    type Candidate = String;

    fn complete(&self, line: &str, end: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let before = line.get(..end).unwrap_or_default();
        let is_part = |char: char| char.is_alphanumeric() || matches!(char, '_' | '.');
        let begin = before
            .rfind(|char| !is_part(char))
            .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        Ok((begin, completions(&before[begin..], &self.names)))
    }
}

/// Names that begin with the word as it is, and words of SQL that begin with it in any case.
fn completions(word: &str, names: &[String]) -> Vec<String> {
    if word.is_empty() {
        return names.to_vec();
    }
    let upper = word.to_uppercase();
    let names = names.iter().filter(|name| name.starts_with(word)).cloned();
    names.chain(WORDS.iter().filter(|sql| sql.starts_with(&upper)).map(|sql| (*sql).to_owned())).collect()
}

impl Hinter for Names {
    type Hint = String;
}

impl Highlighter for Names {}
impl Validator for Names {}
impl Helper for Names {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_whole_at_a_semicolon_that_counts() {
        for (text, expected) in [
            ("SELECT 1;", true),
            ("SELECT 1; -- so;\n", true),
            ("SELECT ';", false),
            ("SELECT ';'", false),
            ("SELECT ';' ;\n", true),
            ("SELECT 1; SELECT 2", false),
            ("SELECT 1 -- ;\n", false),
            ("SELECT \"a;\"", false),
        ] {
            assert_eq!(is_whole(text), expected, "{text}");
        }
    }

    #[test]
    fn names_are_completed_as_they_are_and_words_in_any_case() {
        let names = ["orders".to_owned(), "Orders".to_owned()];
        assert_eq!(completions("or", &names), ["orders", "ORDER BY"]);
        assert_eq!(completions("", &names).len(), 2);
        assert!(completions("x", &names).is_empty());
    }
}
