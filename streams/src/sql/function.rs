//! `CREATE FUNCTION name (argument TYPE, …) RETURNS TYPE LANGUAGE wasm AS 'module'[, 'function'] [IMMUTABLE]`.
//!
//! Owns the grammar and what each clause means by itself; whether the module is there and has the function is not known here.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use ottla_plugins::{FunctionSignature, ValueType};

use super::ddl::{declared_type, expect, identifier};
use super::error::{Position, SqlError};
use super::parser::{Name, expect_word, peek_word, unexpected};

/// A declared function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateFunction {
    /// Its name in SQL, in lower case: names of functions are not case-sensitive.
    pub name: Name,
    /// What it takes and gives, with the name that it has in its module.
    pub signature: FunctionSignature,
    /// Whether the text itself says what the function is called in its module.
    pub is_function_named: bool,
    /// The module as the text calls it, and where.
    pub module: Name,
}

/// Reads what follows `CREATE FUNCTION`.
pub(super) fn parse_create_function(parser: &mut Parser) -> Result<CreateFunction, SqlError> {
    let (text, position) = identifier(parser, "the function's name")?;
    let name = Name { text: text.to_ascii_lowercase(), position };
    let arguments = parse_arguments(parser)?;
    expect_word(parser, "RETURNS")?;
    let returns = parse_value_type(parser)?;
    let mut clauses = Clauses::default();
    while !matches!(parser.peek_token_ref().token, Token::SemiColon | Token::EOF) {
        parse_clause(parser, &mut clauses)?;
    }
    if !clauses.has_language {
        return Err(SqlError::new(position, format!("the function `{text}` has no LANGUAGE"))
            .with_help("write LANGUAGE wasm"));
    }
    let Some((module, function)) = clauses.body else {
        return Err(SqlError::new(position, format!("the function `{text}` has no module"))
            .with_help("write AS 'path/to/module.wasm'"));
    };
    let is_function_named = function.is_some();
    let signature =
        FunctionSignature { name: function.unwrap_or_else(|| name.text.clone()), arguments, returns };
    Ok(CreateFunction { name, signature, is_function_named, module })
}

#[derive(Default)]
struct Clauses {
    has_language: bool,
    body: Option<(Name, Option<String>)>,
}

fn parse_arguments(parser: &mut Parser) -> Result<Vec<ValueType>, SqlError> {
    let mut names: Vec<String> = Vec::new();
    let mut types = Vec::new();
    expect(parser, &Token::LParen)?;
    while parser.peek_token_ref().token != Token::RParen {
        let (name, position) = identifier(parser, "an argument's name")?;
        if names.contains(&name) {
            return Err(SqlError::new(position, format!("the argument `{name}` is declared twice")));
        }
        names.push(name);
        types.push(parse_value_type(parser)?);
        if !parser.consume_token(&Token::Comma) {
            break;
        }
    }
    expect(parser, &Token::RParen)?;
    Ok(types)
}

fn parse_value_type(parser: &mut Parser) -> Result<ValueType, SqlError> {
    let at: Position = parser.peek_token_ref().span.into();
    let (data_type, _) = declared_type(parser)?;
    ValueType::of(&data_type).ok_or_else(|| {
        let word = ottla_formats::type_word(&data_type, false);
        SqlError::new(at, format!("a function takes and gives no {word}")).with_help(
            "its types are BOOLEAN, INT, DOUBLE, STRING, BYTES and TIMESTAMP; cast where it is called",
        )
    })
}

fn parse_clause(parser: &mut Parser, clauses: &mut Clauses) -> Result<(), SqlError> {
    let at = parser.peek_token();
    if parser.parse_keyword(Keyword::LANGUAGE) {
        let language = parser.next_token();
        match &language.token {
            Token::Word(word) if word.value.eq_ignore_ascii_case("wasm") => clauses.has_language = true,
            other => {
                return Err(SqlError::new(
                    language.span,
                    format!("functions are not written in {other} here"),
                )
                .with_help("write LANGUAGE wasm, and build the function with `ottla plugin build`"));
            }
        }
    } else if parser.parse_keyword(Keyword::AS) {
        let module = parse_text(parser, "the module, in single quotes")?;
        let function = match parser.consume_token(&Token::Comma) {
            true => Some(parse_text(parser, "the function's name in the module, in single quotes")?.text),
            false => None,
        };
        clauses.body = Some((module, function));
    } else if parser.parse_keyword(Keyword::CALLED) {
        // The only thing there is: a function sees NULLs and says what they become.
        ["ON", "NULL", "INPUT"].iter().try_for_each(|word| expect_word(parser, word).map(drop))?;
    } else if peek_word(parser, "IMMUTABLE") {
        parser.next_token();
    } else if peek_word(parser, "VOLATILE") || peek_word(parser, "STABLE") {
        return Err(SqlError::new(at.span, format!("a function is IMMUTABLE, and this one is declared {}", at.token))
            .with_help(
                "an epoch that is computed again after a crash must give the same rows, so the same arguments must give the same value",
            ));
    } else {
        return Err(unexpected("LANGUAGE, AS, IMMUTABLE or the end of the statement", &at));
    }
    Ok(())
}

fn parse_text(parser: &mut Parser, what: &str) -> Result<Name, SqlError> {
    let token = parser.next_token();
    match &token.token {
        Token::SingleQuotedString(text) if !text.is_empty() => {
            Ok(Name { text: text.clone(), position: token.span.into() })
        }
        _ => Err(unexpected(what, &token)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::parser::{Statement, parse};
    use super::*;

    fn create(sql: &str) -> CreateFunction {
        match parse(sql).unwrap().pop() {
            Some(Statement::CreateFunction(create)) => create,
            other => panic!("not a function: {other:?}"),
        }
    }

    #[test]
    fn reads_arguments_and_clauses_in_any_order() {
        let one = create(
            "CREATE FUNCTION Mask(text STRING, keep BIGINT, at TIMESTAMP(3), b BYTES, c BOOLEAN, d DOUBLE PRECISION) \
             RETURNS VARCHAR(10) LANGUAGE wasm AS 'a/mask.wasm'",
        );
        assert_eq!(one.name.text, "mask");
        assert_eq!(one.module.text, "a/mask.wasm");
        assert_eq!(
            one.signature.to_string(),
            "mask(utf8, int64, timestamp, binary, boolean, float64) -> utf8"
        );
        let other = create(
            "CREATE FUNCTION one() RETURNS INT IMMUTABLE AS 'm', 'uno' CALLED ON NULL INPUT LANGUAGE WASM",
        );
        assert_eq!((other.signature.to_string().as_str(), other.is_function_named), ("uno() -> int64", true));
    }

    #[test]
    fn errors_name_the_place_and_the_remedy() {
        for (sql, expected) in [
            (
                "CREATE FUNCTION f(a DATE) RETURNS INT LANGUAGE wasm AS 'm'",
                "1:21 a function takes and gives no date; its types are BOOLEAN, INT, DOUBLE, STRING, BYTES and TIMESTAMP; cast where it is called",
            ),
            (
                "CREATE FUNCTION f(a INT) RETURNS INT VOLATILE LANGUAGE wasm AS 'm'",
                "1:38 a function is IMMUTABLE, and this one is declared VOLATILE; an epoch that is computed again",
            ),
            (
                "CREATE FUNCTION f(a INT) RETURNS INT LANGUAGE sql AS 'm'",
                "1:47 functions are not written in sql here; write LANGUAGE wasm",
            ),
            (
                "CREATE FUNCTION f(a INT) RETURNS INT AS 'm'",
                "1:17 the function `f` has no LANGUAGE; write LANGUAGE wasm",
            ),
            (
                "CREATE FUNCTION f(a INT) RETURNS INT LANGUAGE wasm",
                "1:17 the function `f` has no module; write AS",
            ),
            ("CREATE FUNCTION f(a INT, a INT)", "1:26 the argument `a` is declared twice"),
            (
                "CREATE FUNCTION f(a INT) RETURNS INT LANGUAGE wasm AS m",
                "1:55 expected the module, in single quotes, found `m`",
            ),
        ] {
            let error = parse(sql).unwrap_err();
            let told = format!("{}:{} {error}", error.position.line, error.position.column);
            assert!(told.starts_with(expected), "{told}");
        }
    }
}
