//! How Ottla's SQL differs from standard SQL below the statement level.
//!
//! House style is Flink's spelling: window table functions take `TABLE name` and `DESCRIPTOR(column)`. Everything here
//! goes through sqlparser's `Dialect` hooks, so that no fork of the parser is needed.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

/// The word that [`Expr::Prefixed`] carries for a `TABLE name` argument of a window table function.
pub(crate) const TABLE_PREFIX: &str = "TABLE";

/// Ottla's dialect: the permissive core of sqlparser's generic one, `TABLE name` as an argument, and `EMIT` never
/// mistaken for an alias.
#[derive(Debug, Default)]
pub(crate) struct OttlaDialect;

impl Dialect for OttlaDialect {
    // Some of sqlparser's grammar asks for the dialect's type instead of a `supports_` method.
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"' || ch == '`'
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_' || ch == '$'
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_select_wildcard_except(&self) -> bool {
        true
    }

    fn supports_select_wildcard_exclude(&self) -> bool {
        true
    }

    fn supports_select_wildcard_replace(&self) -> bool {
        true
    }

    fn supports_dictionary_syntax(&self) -> bool {
        true
    }

    fn supports_parens_around_table_factor(&self) -> bool {
        true
    }

    fn supports_values_as_table_factor(&self) -> bool {
        true
    }

    fn supports_window_function_null_treatment_arg(&self) -> bool {
        true
    }

    fn supports_window_clause_named_window_reference(&self) -> bool {
        true
    }

    fn supports_nested_comments(&self) -> bool {
        true
    }

    fn supports_try_convert(&self) -> bool {
        true
    }

    fn supports_projection_trailing_commas(&self) -> bool {
        true
    }

    fn is_table_factor_alias(&self, explicit: bool, keyword: &Keyword, parser: &mut Parser) -> bool {
        explicit || (!at_emit(parser) && self.is_table_alias(keyword, parser))
    }

    fn is_select_item_alias(&self, explicit: bool, keyword: &Keyword, parser: &mut Parser) -> bool {
        explicit || (!at_emit(parser) && self.is_column_alias(keyword, parser))
    }

    /// `TABLE name`, only meaningful as an argument of a window table function; the planner refuses it elsewhere.
    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        let [first, second] = parser.peek_tokens_with_location::<2>();
        let (Token::Word(table), Token::Word(_)) = (&first.token, &second.token) else { return None };
        if table.keyword != Keyword::TABLE {
            return None;
        }
        parser.next_token();
        Some(parser.parse_object_name(false).and_then(|name| {
            let parts = name
                .0
                .into_iter()
                .map(|part| {
                    part.as_ident().cloned().ok_or_else(|| {
                        ParserError::ParserError(format!(
                            "Expected: a stream name, found: {part}{}",
                            second.span.start
                        ))
                    })
                })
                .collect::<Result<Vec<_>, _>>()?;
            let mut value = match <[_; 1]>::try_from(parts) {
                Ok([name]) => Expr::Identifier(name),
                Err(parts) => Expr::CompoundIdentifier(parts),
            };
            if parser.parse_keywords(&[Keyword::PARTITION, Keyword::BY]) {
                let mut items = vec![value, Expr::Identifier(parser.parse_identifier()?)];
                while is_another_column(parser) {
                    parser.next_token();
                    items.push(Expr::Identifier(parser.parse_identifier()?));
                }
                value = Expr::Tuple(items);
            }
            let prefix = datafusion::sql::sqlparser::ast::Ident::with_span(first.span, TABLE_PREFIX);
            Ok(Expr::Prefixed { prefix, value: Box::new(value) })
        }))
    }
}

/// Whether a comma follows and then a further column of PARTITION BY, and not the next argument of the function.
fn is_another_column(parser: &Parser) -> bool {
    matches!(parser.peek_tokens::<3>(), [Token::Comma, Token::Word(_), Token::Comma | Token::RParen])
}

/// Whether the parser, which has just taken a word as a possible alias, stands on `EMIT CHANGES`, `EMIT FINAL` or
/// `ALLOWED LATENESS`.
fn at_emit(parser: &Parser) -> bool {
    let is_word = |token: &Token, wanted: &[&str]| matches!(token, Token::Word(word) if word.quote_style.is_none() && wanted.iter().any(|w| word.value.eq_ignore_ascii_case(w)));
    let (current, next) = (&parser.get_current_token().token, &parser.peek_token_ref().token);
    (is_word(current, &["EMIT"]) && is_word(next, &["CHANGES", "FINAL"]))
        || (is_word(current, &["ALLOWED"]) && is_word(next, &["LATENESS"]))
}
