//! `$1`, `$2`, … in a prepared statement: what was bound to them is put into the text as literals.

use pgwire::api::Type;
use pgwire::api::portal::{Format, Portal};
use pgwire::error::PgWireError;

use super::{Prepared, user_error};

/// Parameters of one statement.
const PARAMETERS_MAX: usize = 1_000;

/// A piece of a statement.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    /// `$n`, counted from 1.
    Parameter(usize),
}

/// Cuts a text at its parameters; what is in quotes and comments is text.
fn pieces(sql: &str) -> Vec<Piece<'_>> {
    let bytes = sql.as_bytes();
    let (mut pieces, mut start, mut at) = (Vec::new(), 0, 0);
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'\'' | b'"') => at += 1 + end_of(&bytes[at + 1..], &[quote]),
            b'-' if bytes[at..].starts_with(b"--") => at += end_of(&bytes[at..], b"\n"),
            b'/' if bytes[at..].starts_with(b"/*") => at += 2 + end_of(&bytes[at + 2..], b"*/"),
            b'$' => {
                let digits = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                let number = sql[at + 1..at + 1 + digits].parse::<usize>();
                if let Ok(number) =
                    number.map_err(|_| ()).and_then(|number| if number > 0 { Ok(number) } else { Err(()) })
                {
                    pieces.push(Piece::Text(&sql[start..at]));
                    pieces.push(Piece::Parameter(number));
                    start = at + 1 + digits;
                }
                at += 1 + digits;
            }
            _ => at += 1,
        }
    }
    pieces.push(Piece::Text(&sql[start..]));
    pieces
}

/// How many bytes it takes to be past `end`, or past everything.
fn end_of(bytes: &[u8], end: &[u8]) -> usize {
    bytes.windows(end.len()).position(|found| found == end).map_or(bytes.len(), |place| place + end.len())
}

/// How many parameters a statement has.
pub(super) fn count(sql: &str) -> Result<usize, PgWireError> {
    let number = |piece: &Piece<'_>| if let Piece::Parameter(number) = piece { Some(*number) } else { None };
    match pieces(sql).iter().filter_map(number).max().unwrap_or_default() {
        count if count <= PARAMETERS_MAX => Ok(count),
        count => {
            Err(user_error("54000", format!("${count}: a statement has up to {PARAMETERS_MAX} parameters")))
        }
    }
}

/// The statement with nulls for its parameters.
pub(super) fn with_nulls(sql: &str) -> String {
    replaced(sql, |_| Some("NULL"))
}

fn replaced<'v>(sql: &str, value: impl Fn(usize) -> Option<&'v str>) -> String {
    let mut text = String::with_capacity(sql.len());
    for piece in pieces(sql) {
        match piece {
            Piece::Text(piece) => text.push_str(piece),
            Piece::Parameter(number) => text.push_str(value(number - 1).unwrap_or("NULL")),
        }
    }
    text
}

/// The statement with what was bound.
pub(super) fn bound(portal: &Portal<Prepared>) -> Result<String, PgWireError> {
    let statement = &portal.statement;
    let count = statement.statement.parameters;
    if portal.parameters.len() != count {
        let given = portal.parameters.len();
        return Err(user_error(
            "08P01",
            format!("the statement has {count} parameters, and {given} were bound"),
        ));
    }
    let mut literals = Vec::with_capacity(count);
    for (place, value) in portal.parameters.iter().enumerate() {
        let kind = statement.parameter_types.get(place).cloned().flatten().unwrap_or(Type::TEXT);
        let is_binary = match &portal.parameter_format {
            Format::UnifiedText => false,
            Format::UnifiedBinary => true,
            Format::Individual(formats) => formats.get(place) == Some(&1),
        };
        literals.push(match value {
            Some(bytes) => literal(bytes, &kind, is_binary).ok_or_else(|| {
                user_error("22P03", format!("${}: this is no value of type {kind}", place + 1))
            })?,
            None => "NULL".to_owned(),
        });
    }
    Ok(replaced(&statement.statement.sql, |place| literals.get(place).map(String::as_str)))
}

/// A value as SQL.
fn literal(bytes: &[u8], kind: &Type, is_binary: bool) -> Option<String> {
    let number = |text: String| text.parse::<f64>().ok().filter(|number| number.is_finite()).map(|_| text);
    if !is_binary {
        let text = std::str::from_utf8(bytes).ok()?;
        return match *kind {
            Type::INT2 | Type::INT4 | Type::INT8 | Type::FLOAT4 | Type::FLOAT8 | Type::NUMERIC => {
                number(text.trim().to_owned()).map(|number| format!("({number})"))
            }
            Type::BOOL => match text {
                "t" | "true" | "1" => Some("TRUE".to_owned()),
                "f" | "false" | "0" => Some("FALSE".to_owned()),
                _ => None,
            },
            _ => Some(quoted(text)),
        };
    }
    match *kind {
        Type::BOOL => Some(if bytes == [0] { "FALSE" } else { "TRUE" }.to_owned()),
        Type::INT2 => Some(format!("({})", i16::from_be_bytes(bytes.try_into().ok()?))),
        Type::INT4 => Some(format!("({})", i32::from_be_bytes(bytes.try_into().ok()?))),
        Type::INT8 => Some(format!("({})", i64::from_be_bytes(bytes.try_into().ok()?))),
        Type::FLOAT4 => {
            number(f32::from_be_bytes(bytes.try_into().ok()?).to_string()).map(|number| format!("({number})"))
        }
        Type::FLOAT8 => number(format!("{:?}", f64::from_be_bytes(bytes.try_into().ok()?)))
            .map(|number| format!("({number})")),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => {
            Some(quoted(std::str::from_utf8(bytes).ok()?))
        }
        _ => None,
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_where_they_are_code() {
        assert_eq!(count("SELECT $1, '$2', \"$3\" -- $4\n, $5 /* $6 */").unwrap(), 5);
        assert_eq!(
            with_nulls("SELECT '$1''$1' WHERE a = $1 AND b=$12"),
            "SELECT '$1''$1' WHERE a = NULL AND b=NULL"
        );
        for text in ["", "$", "$0", "'", "/*", "--", "$x", "ä$1ö'", "$99999999999999999999999"] {
            let _ = with_nulls(text);
        }
        assert!(count("$5000").is_err());
    }

    #[test]
    fn values_become_literals_that_cannot_be_anything_else() {
        assert_eq!(literal(b"it's", &Type::TEXT, false).unwrap(), "'it''s'");
        assert_eq!(literal(b"-5", &Type::INT8, false).unwrap(), "(-5)");
        assert_eq!(literal(b"1); DROP STREAM s", &Type::INT8, false), None);
        assert_eq!(literal(&7_i32.to_be_bytes(), &Type::INT4, true).unwrap(), "(7)");
        assert_eq!(literal(b"xx", &Type::INT4, true), None);
        assert_eq!(literal(b"\xff", &Type::TEXT, false), None);
    }
}
