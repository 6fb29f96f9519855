//! The wrapper parser: statements that sqlparser has no word for, around the queries that it parses.
//!
//! It consumes `CREATE STREAM` and `EMIT` itself and hands everything between to sqlparser, whose errors it turns into
//! [`SqlError`]s with a position.

use datafusion::sql::sqlparser::ast::Query;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::ddl::{self, CreateStream};
use super::dialect::OttlaDialect;
use super::error::{Position, SqlError, nearest};

/// One statement of a SQL text.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    /// `CREATE STREAM …`: declares the columns of a topic.
    CreateStream(CreateStream),
    /// `SELECT …`: a query over streams.
    Query(Box<QueryStatement>),
}

/// A query and how its results are wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryStatement {
    /// The query as sqlparser reads it.
    pub query: Box<Query>,
    /// The `EMIT` suffix with its place, if there is one.
    pub emit: Option<(Emit, Position)>,
    /// Where the query begins.
    pub position: Position,
}

/// When a result row of a streaming aggregate leaves the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emit {
    /// Whenever it changes, once per epoch.
    Changes,
    /// Once, when the watermark has passed its window.
    Final,
}

/// Parses a text of statements separated by `;`.
///
/// # Errors
/// The first thing that is not Ottla's SQL, with its position.
pub fn parse(sql: &str) -> Result<Vec<Statement>, SqlError> {
    let dialect = OttlaDialect;
    let tokens = Tokenizer::new(&dialect, sql)
        .tokenize_with_location()
        .map_err(|error| SqlError::new(error.location, error.message))?;
    let end = tokens.iter().rev().find(|token| !matches!(token.token, Token::EOF | Token::Whitespace(_)));
    let end = end.map_or(Position::START, |token| token.span.end.into());
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let mut statements = Vec::new();
    loop {
        while parser.consume_token(&Token::SemiColon) {}
        if parser.peek_token_ref().token == Token::EOF {
            return Ok(statements);
        }
        statements.push(parse_statement(&mut parser).map_err(|error| at_end(error, end))?);
        let next = parser.peek_token();
        if !matches!(next.token, Token::SemiColon | Token::EOF) {
            return Err(unexpected("the end of the statement or `;`", &next));
        }
    }
}

const END_OF_TEXT: &str = "found the end of the text";

/// Puts an error about the missing rest of a text where the rest is missing: the parser's end has no place.
fn at_end(error: SqlError, end: Position) -> SqlError {
    if error.message.ends_with(END_OF_TEXT) { SqlError { position: end, ..error } } else { error }
}

fn parse_statement(parser: &mut Parser) -> Result<Statement, SqlError> {
    let first = parser.peek_token();
    let Token::Word(word) = &first.token else {
        return Err(unexpected("a statement", &first));
    };
    match word.keyword {
        Keyword::SELECT | Keyword::WITH | Keyword::VALUES => {
            Ok(Statement::Query(Box::new(parse_query(parser)?)))
        }
        Keyword::CREATE => {
            parser.next_token();
            expect_word(parser, "STREAM")?;
            ddl::parse_create_stream(parser, first.span.into()).map(Statement::CreateStream)
        }
        _ => {
            let error =
                SqlError::new(first.span, format!("`{}` does not begin a statement Ottla runs", word.value));
            Err(match nearest(&word.value, ["SELECT", "CREATE", "WITH"]) {
                Some(right) => error.with_help(format!("did you mean `{right}`?")),
                None => error.with_help("it runs CREATE STREAM and SELECT"),
            })
        }
    }
}

fn parse_query(parser: &mut Parser) -> Result<QueryStatement, SqlError> {
    let start = parser.peek_token();
    let query = parser.parse_query().map_err(|error| from_parser(error, start.span.into()))?;
    let emit = if peek_word(parser, "EMIT") {
        let at = parser.next_token();
        let mode = parser.next_token();
        let emit = match &mode.token {
            Token::Word(word) if word.value.eq_ignore_ascii_case("CHANGES") => Emit::Changes,
            Token::Word(word) if word.value.eq_ignore_ascii_case("FINAL") => Emit::Final,
            _ => return Err(unexpected("CHANGES or FINAL", &mode)),
        };
        Some((emit, at.span.into()))
    } else {
        None
    };
    Ok(QueryStatement { query, emit, position: start.span.into() })
}

/// Whether the next token is the unquoted word `word`, whatever sqlparser thinks of it as a keyword.
pub(super) fn peek_word(parser: &Parser, word: &str) -> bool {
    matches!(&parser.peek_token_ref().token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
}

/// Takes the word `word` or says what stands there instead.
pub(super) fn expect_word(parser: &mut Parser, word: &str) -> Result<TokenWithSpan, SqlError> {
    if peek_word(parser, word) {
        Ok(parser.next_token())
    } else {
        Err(unexpected(word, &parser.peek_token()))
    }
}

/// "expected X, found Y" at Y, with a hint when Y is X misspelt.
pub(super) fn unexpected(wanted: &str, found: &TokenWithSpan) -> SqlError {
    let shown = match &found.token {
        Token::EOF => "the end of the text".to_owned(),
        token => format!("`{token}`"),
    };
    let error = SqlError::new(found.span, format!("expected {wanted}, found {shown}"));
    match &found.token {
        Token::Word(word) if !word.value.eq_ignore_ascii_case(wanted) => {
            error.with_nearest(&word.value, [wanted])
        }
        _ => error,
    }
}

/// sqlparser's error as ours: its position stands only in its text, ` at Line: 3, Column: 14`.
pub(super) fn from_parser(error: ParserError, statement: Position) -> SqlError {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
        ParserError::RecursionLimitExceeded => {
            return SqlError::new(statement, "the statement is nested too deeply to be read");
        }
    };
    let located = text.rsplit_once(" at Line: ").and_then(|(message, place)| {
        let (line, column) = place.split_once(", Column: ")?;
        let position = Position { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? };
        Some((message.to_owned(), position))
    });
    let (message, position) = match located {
        Some((message, position)) if position.line > 0 => (message, position),
        Some((message, _)) => (message, statement),
        None => (text, statement),
    };
    let message = match message.strip_prefix("Expected: ") {
        Some(rest) => format!(
            "expected {}",
            rest.replacen(", found: ", ", found ", 1).replace("found EOF", "found the end of the text")
        ),
        None => message,
    };
    SqlError::new(position, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(sql: &str) -> QueryStatement {
        match parse(sql).unwrap().pop().unwrap() {
            Statement::Query(query) => *query,
            other => panic!("not a query: {other:?}"),
        }
    }

    fn error(sql: &str) -> String {
        let error = parse(sql).unwrap_err();
        format!("{}:{} {error}", error.position.line, error.position.column)
    }

    #[test]
    fn reads_both_spellings_of_a_window_table_function() {
        let bare = query("SELECT * FROM TUMBLE(TABLE flights, DESCRIPTOR(time_hour), INTERVAL '1' HOUR)");
        let wrapped =
            query("SELECT * FROM TABLE(TUMBLE(TABLE flights, DESCRIPTOR(time_hour), INTERVAL '1' HOUR))");
        assert!(
            bare.query
                .to_string()
                .contains("TUMBLE(TABLE flights, DESCRIPTOR(time_hour), INTERVAL '1' HOUR)")
        );
        assert!(wrapped.query.to_string().contains("TABLE(TUMBLE(TABLE flights"));
    }

    #[test]
    fn emit_is_a_suffix_and_never_an_alias() {
        for (sql, emit) in [
            ("SELECT a FROM t EMIT CHANGES", Emit::Changes),
            ("SELECT a, count(*) FROM t GROUP BY a EMIT FINAL;", Emit::Final),
            ("select a from t where a > 1 emit final", Emit::Final),
            ("SELECT 1 EMIT CHANGES", Emit::Changes),
        ] {
            assert_eq!(query(sql).emit.map(|(emit, _)| emit), Some(emit), "{sql}");
        }
        assert_eq!(query("SELECT emit FROM t emit").emit, None);
    }

    #[test]
    fn several_statements_and_comments_are_read_in_order() {
        let all = parse(";-- first\nCREATE STREAM s (a INT);\nSELECT a FROM s; ;").unwrap();
        assert!(matches!(all.as_slice(), [Statement::CreateStream(_), Statement::Query(_)]), "{all:?}");
        assert_eq!(parse("  -- nothing\n").unwrap(), vec![]);
    }

    #[test]
    fn errors_say_what_where_and_the_nearest_word() {
        assert_eq!(
            error("SELEC a FROM t"),
            "1:1 `SELEC` does not begin a statement Ottla runs; did you mean `SELECT`?"
        );
        assert_eq!(
            error("CREATE STREM s (a INT)"),
            "1:8 expected STREAM, found `STREM`; did you mean `STREAM`?"
        );
        assert_eq!(
            error("SELECT a FROM t EMIT FINAL x"),
            "1:28 expected the end of the statement or `;`, found `x`"
        );
        assert_eq!(error("SELECT a FROM t\nWHERE"), "2:6 expected an expression, found the end of the text");
        assert_eq!(error("SELECT 'a FROM t"), "1:8 Unterminated string literal");
    }

    proptest::proptest! {
        #[test]
        fn never_panics_on_any_text(sql in "[ -~\n]{0,80}") {
            let _ = parse(&sql);
        }

        #[test]
        fn never_panics_on_shuffled_words(words in proptest::collection::vec(proptest::sample::select(vec![
            "SELECT", "FROM", "TABLE", "TUMBLE", "(", ")", ",", "DESCRIPTOR", "INTERVAL", "'1'", "HOUR", "EMIT", "FINAL", "CREATE",
            "STREAM", "WATERMARK", "FOR", "AS", "-", "ts", "INT", "NOT", "NULL", "WITH", "=", ";", "GROUP", "BY", "*",
        ]), 0..20)) {
            let _ = parse(&words.join(" "));
        }
    }
}
