//! `CREATE STREAM|TABLE name (columns, WATERMARK FOR column AS column - INTERVAL …) WITH (key = value, …)`, a table with
//! `PRIMARY KEY (columns)`.
//!
//! Owns the grammar and the meaning of each clause by itself; whether the topic exists is not known here.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::error::{Position, SqlError};
use super::interval::interval_nanos;
use super::parser::{expect_word, from_parser, peek_word, unexpected};

/// A declared stream or table: the columns that a topic's record values hold.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateStream {
    /// The name in SQL, as written: names are case-sensitive.
    pub name: String,
    /// The columns in their order. A column is nullable unless `NOT NULL` follows its type.
    pub schema: SchemaRef,
    /// The event-time column and its allowed disorder.
    pub watermark: Option<WatermarkClause>,
    /// What stands in `WITH (…)`.
    pub options: StreamOptions,
    /// The columns of a table's `PRIMARY KEY`; `None` for a stream.
    pub primary_key: Option<Vec<String>>,
    /// Where the statement begins.
    pub position: Position,
}

/// `WATERMARK FOR column AS column - INTERVAL '…'`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatermarkClause {
    /// A column of type `TIMESTAMP`.
    pub column: String,
    /// How far behind the newest row a row may still be in time, in nanoseconds; never negative.
    pub delay_nanos: i64,
    /// Where the clause stands.
    pub position: Position,
}

/// The options of `WITH (…)`; what is left out has the default that is said here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamOptions {
    /// `topic`; by default the stream's name.
    pub topic: Option<String>,
    /// `format`; by default `json`.
    pub format: Option<String>,
}

/// The keys that `WITH (…)` knows.
const OPTION_KEYS: [&str; 2] = ["topic", "format"];

/// Reads what follows `CREATE STREAM` or `CREATE TABLE`.
pub(super) fn parse_create_stream(
    parser: &mut Parser,
    position: Position,
    is_table: bool,
) -> Result<CreateStream, SqlError> {
    let name = identifier(parser, if is_table { "the table's name" } else { "the stream's name" })?;
    let mut columns = Columns::default();
    expect(parser, &Token::LParen)?;
    loop {
        if peek_word(parser, "WATERMARK") && is_watermark_clause(parser) {
            let clause = parse_watermark(parser)?;
            if columns.watermark.replace(clause).is_some() {
                return Err(SqlError::new(position, "a stream has one WATERMARK, and here are two"));
            }
        } else if is_primary_key_clause(parser) {
            parse_primary_key(parser, &mut columns)?;
        } else {
            parse_column(parser, &mut columns)?;
        }
        if !parser.consume_token(&Token::Comma) {
            break;
        }
    }
    expect(parser, &Token::RParen)?;
    let options =
        if parser.parse_keyword(Keyword::WITH) { parse_options(parser)? } else { StreamOptions::default() };
    let watermark = columns.watermark;
    // A primary key is never null.
    let is_key = |field: &Field| columns.primary_key.iter().any(|(name, _)| name == field.name());
    let fields = columns.fields.into_iter().map(|field| match is_key(&field) {
        true => field.with_nullable(false),
        false => field,
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    if let Some(watermark) = &watermark {
        check_watermark(watermark, &schema)?;
    }
    let primary_key = checked_primary_key(columns.primary_key, &schema, is_table, position)?;
    let primary_key = is_table.then_some(primary_key);
    Ok(CreateStream { name: name.0, schema, watermark, options, primary_key, position })
}

#[derive(Default)]
struct Columns {
    fields: Vec<Field>,
    watermark: Option<WatermarkClause>,
    primary_key: Vec<(String, Position)>,
}

fn is_primary_key_clause(parser: &Parser) -> bool {
    matches!(parser.peek_tokens::<2>(), [Token::Word(first), Token::Word(second)]
        if first.keyword == Keyword::PRIMARY && second.keyword == Keyword::KEY)
}

/// `PRIMARY KEY (columns) [NOT ENFORCED]`: whether records keep to it is theirs to say, as in Flink.
fn parse_primary_key(parser: &mut Parser, columns: &mut Columns) -> Result<(), SqlError> {
    expect_word(parser, "PRIMARY")?;
    expect_word(parser, "KEY")?;
    expect(parser, &Token::LParen)?;
    loop {
        columns.primary_key.push(identifier(parser, "a column of the primary key")?);
        if !parser.consume_token(&Token::Comma) {
            break;
        }
    }
    expect(parser, &Token::RParen)?;
    take_not_enforced(parser)
}

fn take_not_enforced(parser: &mut Parser) -> Result<(), SqlError> {
    if parser.parse_keyword(Keyword::NOT) { expect_word(parser, "ENFORCED").map(|_| ()) } else { Ok(()) }
}

/// A table has a key, a stream has none, and its columns are there.
fn checked_primary_key(
    columns: Vec<(String, Position)>,
    schema: &Schema,
    is_table: bool,
    position: Position,
) -> Result<Vec<String>, SqlError> {
    match (columns.first(), is_table) {
        (None, true) => {
            return Err(SqlError::new(position, "a table has a PRIMARY KEY, and here is none")
                .with_help("add PRIMARY KEY (column), or write CREATE STREAM for rows that only come"));
        }
        (Some((_, at)), false) => {
            return Err(SqlError::new(*at, "a stream only grows, so it has no PRIMARY KEY")
                .with_help("write CREATE TABLE"));
        }
        _ => {}
    }
    for (index, (name, at)) in columns.iter().enumerate() {
        if schema.field_with_name(name).is_err() {
            return Err(SqlError::new(
                *at,
                format!("PRIMARY KEY names `{name}`, which is no column of the table"),
            )
            .with_nearest(name, schema.fields().iter().map(|field| field.name().as_str())));
        }
        if columns[..index].iter().any(|(other, _)| other == name) {
            return Err(SqlError::new(*at, format!("PRIMARY KEY names `{name}` twice")));
        }
    }
    Ok(columns.into_iter().map(|(name, _)| name).collect())
}

// `watermark` alone may be a column's name: the clause is known by its `FOR`.
fn is_watermark_clause(parser: &Parser) -> bool {
    matches!(parser.peek_tokens::<2>(), [_, Token::Word(word)] if word.keyword == Keyword::FOR)
}

fn parse_column(parser: &mut Parser, columns: &mut Columns) -> Result<(), SqlError> {
    let (name, position) = identifier(parser, "a column's name")?;
    if columns.fields.iter().any(|field| field.name() == &name) {
        return Err(SqlError::new(position, format!("the column `{name}` is declared twice")));
    }
    let (data_type, nullable_word) = declared_type(parser)
        .map_err(|error| SqlError { message: format!("the column `{name}`: {}", error.message), ..error })?;
    let not_null = parser.parse_keywords(&[Keyword::NOT, Keyword::NULL]);
    let _nullable_is_the_default = !not_null && parser.parse_keyword(Keyword::NULL);
    columns.fields.push(Field::new(&name, data_type, nullable_word || !not_null));
    if is_primary_key_clause(parser) {
        columns.primary_key.push((name, parser.peek_token_ref().span.into()));
        expect_word(parser, "PRIMARY")?;
        expect_word(parser, "KEY")?;
        take_not_enforced(parser)?;
    }
    Ok(())
}

/// The type that stands here, and whether its word says that it is nullable.
pub(super) fn declared_type(parser: &mut Parser) -> Result<(DataType, bool), SqlError> {
    let at: Position = parser.peek_token_ref().span.into();
    let declared = parser.parse_data_type().map_err(|error| from_parser(error, at))?.to_string();
    ottla_formats::parse_type(&type_word(&declared)).map_err(|error| SqlError::new(at, error.to_string()))
}

/// SQL's longer names for the types that `ottla_formats` has one word for. Lengths of strings and precisions of
/// timestamps are read and not kept: JSON has neither.
fn type_word(declared: &str) -> String {
    let lower = declared.to_ascii_lowercase();
    let base = lower.split_once('(').map_or(lower.as_str(), |(base, _)| base).trim();
    match base {
        "varchar" | "character varying" | "char" | "character" | "nvarchar" => "string".to_owned(),
        "double precision" => "double".to_owned(),
        "varbinary" | "bytea" | "blob" => "bytes".to_owned(),
        "numeric" | "dec" => lower.replacen(base, "decimal", 1),
        "int8" => "int8".to_owned(),
        _ if base.starts_with("timestamp") => "timestamp".to_owned(),
        _ => lower,
    }
}

fn parse_watermark(parser: &mut Parser) -> Result<WatermarkClause, SqlError> {
    let start = expect_word(parser, "WATERMARK")?;
    let position: Position = start.span.into();
    expect_word(parser, "FOR")?;
    let (column, _) = identifier(parser, "the event-time column")?;
    expect_word(parser, "AS")?;
    let at: Position = parser.peek_token_ref().span.into();
    let expr = parser.parse_expr().map_err(|error| from_parser(error, at))?;
    let refused = || {
        SqlError::new(at, format!("the watermark `{expr}` is not the column with a fixed delay"))
            .with_help(format!("write WATERMARK FOR {column} AS {column} - INTERVAL '5' SECOND"))
    };
    let is_column = |expr: &Expr| matches!(expr, Expr::Identifier(name) if name.value == column);
    let delay_nanos = match &expr {
        expr if is_column(expr) => 0,
        Expr::BinaryOp { left, op: BinaryOperator::Minus, right } if is_column(left) => {
            interval_nanos(right)?
        }
        _ => return Err(refused()),
    };
    if delay_nanos < 0 {
        return Err(refused());
    }
    Ok(WatermarkClause { column, delay_nanos, position })
}

fn check_watermark(watermark: &WatermarkClause, schema: &Schema) -> Result<(), SqlError> {
    let Ok(field) = schema.field_with_name(&watermark.column) else {
        return Err(SqlError::new(
            watermark.position,
            format!("WATERMARK FOR names `{}`, which is no column of the stream", watermark.column),
        )
        .with_nearest(&watermark.column, schema.fields().iter().map(|field| field.name().as_str())));
    };
    if !matches!(field.data_type(), DataType::Timestamp(_, _)) {
        return Err(SqlError::new(
            watermark.position,
            format!(
                "WATERMARK FOR names `{}`, which is a {}",
                watermark.column,
                ottla_formats::type_word(field.data_type(), false)
            ),
        )
        .with_help("event time is a TIMESTAMP column"));
    }
    Ok(())
}

pub(super) fn parse_options(parser: &mut Parser) -> Result<StreamOptions, SqlError> {
    expect(parser, &Token::LParen)?;
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    while parser.peek_token_ref().token != Token::RParen {
        let key = parser.next_token();
        let word = match &key.token {
            Token::Word(word) => word.value.clone(),
            Token::SingleQuotedString(text) => text.clone(),
            _ => return Err(unexpected("an option's name", &key)),
        };
        if !OPTION_KEYS.contains(&word.as_str()) {
            return Err(SqlError::new(key.span, format!("`{word}` is not an option of a stream"))
                .with_help(format!("the options are {}", OPTION_KEYS.join(", ")))
                .with_nearest(&word, OPTION_KEYS));
        }
        expect(parser, &Token::Eq)?;
        let value = parser.next_token();
        let Token::SingleQuotedString(text) = &value.token else {
            return Err(unexpected("a text in single quotes", &value));
        };
        if word == "format" && !ottla_formats::FORMAT_NAMES.contains(&text.as_str()) {
            return Err(SqlError::new(value.span, format!("`{text}` is not a format"))
                .with_help(format!("the formats are {}", ottla_formats::FORMAT_NAMES.join(", ")))
                .with_nearest(text, ottla_formats::FORMAT_NAMES));
        }
        if found.insert(word.clone(), text.clone()).is_some() {
            return Err(SqlError::new(key.span, format!("the option `{word}` is given twice")));
        }
        if !parser.consume_token(&Token::Comma) {
            break;
        }
    }
    expect(parser, &Token::RParen)?;
    Ok(StreamOptions { topic: found.remove("topic"), format: found.remove("format") })
}

pub(super) fn identifier(parser: &mut Parser, what: &str) -> Result<(String, Position), SqlError> {
    let token = parser.next_token();
    match &token.token {
        Token::Word(word) => Ok((word.value.clone(), token.span.into())),
        _ => Err(unexpected(what, &token)),
    }
}

pub(super) fn expect(parser: &mut Parser, wanted: &Token) -> Result<(), SqlError> {
    if parser.consume_token(wanted) {
        Ok(())
    } else {
        Err(unexpected(&format!("`{wanted}`"), &parser.peek_token()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::parser::{Statement, parse};
    use super::*;

    fn create(sql: &str) -> CreateStream {
        match parse(sql).unwrap().pop() {
            Some(Statement::CreateStream(create)) => create,
            other => panic!("not a stream: {other:?}"),
        }
    }

    fn error(sql: &str) -> String {
        let error = parse(sql).unwrap_err();
        format!("{}:{} {error}", error.position.line, error.position.column)
    }

    #[test]
    fn reads_columns_watermark_and_options() {
        let stream = create(
            "CREATE STREAM flights (origin STRING NOT NULL, dep_delay INT, price DECIMAL(10, 2), big BIGINT NULL,
               time_hour TIMESTAMP(3) NOT NULL, \"Odd Name\" VARCHAR(20),
               WATERMARK FOR time_hour AS time_hour - INTERVAL '5' MINUTE)
             WITH (topic = 'flights-raw', 'format' = 'json')",
        );
        let columns: Vec<String> = stream
            .schema
            .fields()
            .iter()
            .map(|field| {
                format!(
                    "{} {}",
                    field.name(),
                    ottla_formats::type_word(field.data_type(), field.is_nullable())
                )
            })
            .collect();
        assert_eq!(
            columns,
            [
                "origin string",
                "dep_delay int?",
                "price decimal(10,2)?",
                "big int?",
                "time_hour timestamp",
                "Odd Name string?"
            ]
        );
        let watermark = stream.watermark.unwrap();
        assert_eq!((watermark.column.as_str(), watermark.delay_nanos), ("time_hour", 300_000_000_000));
        assert_eq!(stream.options.topic.as_deref(), Some("flights-raw"));
        assert_eq!(stream.options.format.as_deref(), Some("json"));
    }

    #[test]
    fn a_column_may_be_called_watermark() {
        assert_eq!(create("CREATE STREAM s (watermark INT, topic STRING)").schema.fields().len(), 2);
    }

    #[test]
    fn errors_name_the_place_and_the_remedy() {
        assert_eq!(
            error("CREATE STREAM s (a INTT)").split(':').take(2).collect::<Vec<_>>(),
            ["1", "20 the column `a`"]
        );
        assert_eq!(error("CREATE STREAM s (a INT, a INT)"), "1:25 the column `a` is declared twice");
        assert_eq!(
            error("CREATE STREAM s (ts TIMESTAMP, WATERMARK FOR tz AS tz)"),
            "1:32 WATERMARK FOR names `tz`, which is no column of the stream; did you mean `ts`?"
        );
        assert_eq!(
            error("CREATE STREAM s (ts INT, WATERMARK FOR ts AS ts)"),
            "1:26 WATERMARK FOR names `ts`, which is a int; event time is a TIMESTAMP column"
        );
        assert_eq!(
            error("CREATE STREAM s (ts TIMESTAMP, WATERMARK FOR ts AS ts + INTERVAL '1' SECOND)"),
            "1:52 the watermark `ts + INTERVAL '1' SECOND` is not the column with a fixed delay; \
             write WATERMARK FOR ts AS ts - INTERVAL '5' SECOND"
        );
        assert_eq!(
            error("CREATE STREAM s (a INT) WITH (topik = 'x')"),
            "1:31 `topik` is not an option of a stream; did you mean `topic`?"
        );
        assert_eq!(
            error("CREATE STREAM s (a INT) WITH (format = 'protobuf')"),
            "1:40 `protobuf` is not a format; the formats are json, csv, avro"
        );
    }
}
