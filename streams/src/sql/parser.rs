//! The wrapper parser: statements that sqlparser has no word for, around the queries that it parses.
//!
//! It consumes `CREATE STREAM` and `EMIT` itself and hands everything between to sqlparser, whose errors it turns into
//! [`SqlError`]s with a position.

use datafusion::sql::sqlparser::ast::Query;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::ddl::{self, CreateStream, StreamOptions};
use super::dialect::OttlaDialect;
use super::error::{Position, SqlError, nearest};
use super::function::{CreateFunction, parse_create_function};
use super::interval::interval_nanos;

/// One statement of a SQL text.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    /// `CREATE STREAM …` or `CREATE TABLE …`: declares the columns of a topic.
    CreateStream(CreateStream),
    /// `CREATE MATERIALIZED VIEW name [WITH (…)] AS SELECT …`: a query that runs on, and its result as a relation.
    CreateView(CreateView),
    /// `CREATE FUNCTION …`: a function of a plugin, by a name in SQL.
    CreateFunction(CreateFunction),
    /// `INSERT INTO name SELECT …`: a query that runs on and writes into a declared topic.
    Insert(Insert),
    /// `DROP STREAM|TABLE|MATERIALIZED VIEW|QUERY|FUNCTION [IF EXISTS] name`.
    Drop(DropObject),
    /// `SHOW STREAMS|TABLES|VIEWS|QUERIES|FUNCTIONS`.
    Show(ObjectKind),
    /// `DESCRIBE name`.
    Describe(Name),
    /// `EXPLAIN SELECT …`: how the query would run on.
    Explain(Box<QueryStatement>),
    /// `EXPLAIN QUERY name`: how a query runs.
    ExplainQuery(Name),
    /// `PAUSE [QUERY] name`: it rests until it is resumed, also over restarts.
    Pause(Name),
    /// `RESUME [QUERY] name`: it goes on where it was.
    Resume(Name),
    /// `SELECT …`: a query over streams.
    Query(Box<QueryStatement>),
}

/// A name and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// As written: names are case-sensitive.
    pub text: String,
    /// Its place.
    pub position: Position,
}

/// A materialized view.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateView {
    /// Its name in SQL, also its query's.
    pub name: Name,
    /// Where its rows are; by default in a topic of its name, as JSON.
    pub options: StreamOptions,
    /// What it holds.
    pub query: Box<QueryStatement>,
}

/// A query that writes into a stream or table.
#[derive(Debug, Clone, PartialEq)]
pub struct Insert {
    /// The stream or table.
    pub target: Name,
    /// What goes there, column by column.
    pub query: Box<QueryStatement>,
}

/// What is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropObject {
    /// What kind of thing it is.
    pub kind: ObjectKind,
    /// Its name.
    pub name: Name,
    /// Whether it is right that there is none.
    pub if_exists: bool,
}

/// What SQL can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectKind {
    /// A topic that only grows.
    Stream,
    /// A topic whose records change rows.
    Table,
    /// A query and its result.
    View,
    /// A query that runs on.
    Query,
    /// What expressions may call.
    Function,
}

impl ObjectKind {
    /// How SQL calls one of them.
    pub fn word(self) -> &'static str {
        match self {
            ObjectKind::Stream => "STREAM",
            ObjectKind::Table => "TABLE",
            ObjectKind::View => "MATERIALIZED VIEW",
            ObjectKind::Query => "QUERY",
            ObjectKind::Function => "FUNCTION",
        }
    }
}

/// A query and how its results are wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryStatement {
    /// The query as sqlparser reads it.
    pub query: Box<Query>,
    /// The `EMIT` suffix with its place, if there is one.
    pub emit: Option<(Emit, Position)>,
    /// How long windows stay open after the watermark has passed them, in nanoseconds: `ALLOWED LATENESS`.
    pub lateness_nanos: i64,
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
    Ok(parse_with_text(sql)?.into_iter().map(|(statement, _)| statement).collect())
}

/// The same, each statement with its own text.
///
/// # Errors
/// As [`parse`].
pub fn parse_with_text(sql: &str) -> Result<Vec<(Statement, &str)>, SqlError> {
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
        let from = byte_of(sql, parser.peek_token_ref().span.start.into());
        let statement = parse_statement(&mut parser).map_err(|error| at_end(error, end))?;
        let to = byte_of(sql, parser.get_current_token().span.end.into());
        statements.push((statement, sql.get(from..to).map_or(sql, str::trim_end)));
        let next = parser.peek_token();
        if !matches!(next.token, Token::SemiColon | Token::EOF) {
            return Err(unexpected("the end of the statement or `;`", &next));
        }
    }
}

/// The byte at which a place of the text lies.
fn byte_of(sql: &str, position: Position) -> usize {
    let line_number = usize::try_from(position.line.saturating_sub(1)).unwrap_or_default();
    let before: usize = sql.split_inclusive('\n').take(line_number).map(str::len).sum();
    let column = usize::try_from(position.column.saturating_sub(1)).unwrap_or_default();
    let line = sql.get(before..).unwrap_or_default();
    before + line.char_indices().nth(column).map_or(line.len(), |(byte, _)| byte)
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
    for (order, statement) in
        [("PAUSE", Statement::Pause as fn(Name) -> Statement), ("RESUME", Statement::Resume)]
    {
        if peek_word(parser, order) {
            parser.next_token();
            return parse_query_name(parser).map(statement);
        }
    }
    match word.keyword {
        Keyword::SELECT | Keyword::WITH | Keyword::VALUES => {
            Ok(Statement::Query(Box::new(parse_query(parser)?)))
        }
        Keyword::CREATE => {
            parser.next_token();
            if parser.parse_keyword(Keyword::TABLE) {
                return ddl::parse_create_stream(parser, first.span.into(), true)
                    .map(Statement::CreateStream);
            }
            if peek_word(parser, "MATERIALIZED") {
                return parse_create_view(parser);
            }
            if peek_word(parser, "FUNCTION") {
                parser.next_token();
                return parse_create_function(parser).map(Statement::CreateFunction);
            }
            expect_word(parser, "STREAM")?;
            ddl::parse_create_stream(parser, first.span.into(), false).map(Statement::CreateStream)
        }
        Keyword::INSERT => {
            parser.next_token();
            expect_word(parser, "INTO")?;
            let target = parse_name(parser, "the stream or table to write into")?;
            Ok(Statement::Insert(Insert { target, query: Box::new(parse_query(parser)?) }))
        }
        Keyword::DROP => {
            parser.next_token();
            let kind = parse_kind(parser, false)?;
            let if_exists = parser.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
            let mut name = parse_name(parser, "a name")?;
            if kind == ObjectKind::Function {
                name.text.make_ascii_lowercase();
            }
            Ok(Statement::Drop(DropObject { kind, name, if_exists }))
        }
        Keyword::SHOW => {
            parser.next_token();
            parse_kind(parser, true).map(Statement::Show)
        }
        Keyword::DESCRIBE | Keyword::DESC => {
            parser.next_token();
            parse_name(parser, "a stream, table, view or function").map(Statement::Describe)
        }
        Keyword::EXPLAIN => {
            parser.next_token();
            if peek_word(parser, "QUERY") {
                return parse_query_name(parser).map(Statement::ExplainQuery);
            }
            parse_query(parser).map(|query| Statement::Explain(Box::new(query)))
        }
        _ => {
            let error =
                SqlError::new(first.span, format!("`{}` does not begin a statement Ottla runs", word.value));
            const WORDS: [&str; 10] = [
                "SELECT", "CREATE", "WITH", "INSERT", "DROP", "SHOW", "DESCRIBE", "EXPLAIN", "PAUSE",
                "RESUME",
            ];
            Err(match nearest(&word.value, WORDS) {
                Some(right) => error.with_help(format!("did you mean `{right}`?")),
                None => error.with_help(format!("they begin with {}", WORDS.join(", "))),
            })
        }
    }
}

fn parse_create_view(parser: &mut Parser) -> Result<Statement, SqlError> {
    expect_word(parser, "MATERIALIZED")?;
    expect_word(parser, "VIEW")?;
    let name = parse_name(parser, "the view's name")?;
    let options = match parser.parse_keyword(Keyword::WITH) {
        true => ddl::parse_options(parser)?,
        false => StreamOptions::default(),
    };
    expect_word(parser, "AS")?;
    Ok(Statement::CreateView(CreateView { name, options, query: Box::new(parse_query(parser)?) }))
}

fn parse_name(parser: &mut Parser, what: &str) -> Result<Name, SqlError> {
    let (text, position) = ddl::identifier(parser, what)?;
    Ok(Name { text, position })
}

/// `[QUERY] name`
fn parse_query_name(parser: &mut Parser) -> Result<Name, SqlError> {
    if peek_word(parser, "QUERY") {
        parser.next_token();
    }
    parse_name(parser, "the query's name")
}

fn parse_kind(parser: &mut Parser, is_plural: bool) -> Result<ObjectKind, SqlError> {
    let kinds = [
        ("STREAM", "STREAMS", ObjectKind::Stream),
        ("TABLE", "TABLES", ObjectKind::Table),
        ("VIEW", "VIEWS", ObjectKind::View),
        ("QUERY", "QUERIES", ObjectKind::Query),
        ("FUNCTION", "FUNCTIONS", ObjectKind::Function),
    ];
    if peek_word(parser, "MATERIALIZED") {
        parser.next_token();
    }
    for (one, many, kind) in kinds {
        let word = if is_plural { many } else { one };
        if peek_word(parser, word) {
            parser.next_token();
            return Ok(kind);
        }
    }
    let words: Vec<&str> = kinds.iter().map(|(one, many, _)| if is_plural { *many } else { *one }).collect();
    let found = parser.peek_token();
    let error = unexpected(&words.join(", "), &found);
    Err(match &found.token {
        Token::Word(word) => error.with_nearest(&word.value, words),
        _ => error,
    })
}

fn parse_query(parser: &mut Parser) -> Result<QueryStatement, SqlError> {
    let start = parser.peek_token();
    let query = parser.parse_query().map_err(|error| from_parser(error, start.span.into()))?;
    let lateness_nanos = if peek_word(parser, "ALLOWED") { parse_lateness(parser)? } else { 0 };
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
    Ok(QueryStatement { query, emit, lateness_nanos, position: start.span.into() })
}

fn parse_lateness(parser: &mut Parser) -> Result<i64, SqlError> {
    expect_word(parser, "ALLOWED")?;
    expect_word(parser, "LATENESS")?;
    let at: Position = parser.peek_token_ref().span.into();
    let expr = parser.parse_expr().map_err(|error| from_parser(error, at))?;
    match interval_nanos(&expr)? {
        nanos if nanos < 0 => Err(SqlError::new(at, "nothing can be late by less than nothing")),
        nanos => Ok(nanos),
    }
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
    fn each_statement_has_its_own_text() {
        let sql = "-- one\nSELECT 'ä;' FROM s ;\n CREATE STREAM x\n(a INT);SELECT 1";
        let texts: Vec<&str> = parse_with_text(sql).unwrap().into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["SELECT 'ä;' FROM s", "CREATE STREAM x\n(a INT)", "SELECT 1"]);
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
