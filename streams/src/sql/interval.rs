//! Interval literals of fixed length, as window sizes and watermark delays need them.
//!
//! Months have no fixed length, so they are refused here; expressions may still use them, through DataFusion.

use arrow::compute::kernels::cast_utils::parse_interval_month_day_nano;
use datafusion::sql::sqlparser::ast::{Expr, Spanned, Value};

use super::error::{Position, SqlError};

const NANOS_PER_DAY: i128 = 86_400 * 1_000_000_000;

/// The length in nanoseconds of `INTERVAL '…' UNIT`.
///
/// # Errors
/// Anything but an interval literal, and intervals of months or years.
pub(crate) fn interval_nanos(expr: &Expr) -> Result<i64, SqlError> {
    let position: Position = expr.span().into();
    let Expr::Interval(interval) = expr else {
        return Err(SqlError::new(position, format!("`{expr}` is not an interval"))
            .with_help("write it as INTERVAL '10' MINUTE"));
    };
    let text = match interval.value.as_ref() {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => text.clone(),
            Value::Number(number, _) => number.to_string(),
            other => other.to_string(),
        },
        other => return Err(SqlError::new(position, format!("the interval `{other}` is not a literal"))),
    };
    let text = match &interval.leading_field {
        Some(unit) => format!("{text} {unit}"),
        None => text,
    };
    let length = parse_interval_month_day_nano(&text)
        .map_err(|_| SqlError::new(position, format!("`{text}` is not an interval")))?;
    if length.months != 0 {
        return Err(SqlError::new(position, "months have no fixed length").with_help("use days or hours"));
    }
    let nanos = i128::from(length.days) * NANOS_PER_DAY + i128::from(length.nanoseconds);
    i64::try_from(nanos).map_err(|_| SqlError::new(position, format!("the interval `{text}` is too long")))
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn nanos(sql: &str) -> Result<i64, String> {
        let expr = Parser::new(&GenericDialect).try_with_sql(sql).unwrap().parse_expr().unwrap();
        interval_nanos(&expr).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_the_usual_spellings() {
        assert_eq!(nanos("INTERVAL '1' HOUR"), Ok(3_600_000_000_000));
        assert_eq!(nanos("INTERVAL '10 minutes'"), Ok(600_000_000_000));
        assert_eq!(nanos("INTERVAL '1.5' SECOND"), Ok(1_500_000_000));
        assert_eq!(nanos("INTERVAL '2' DAY"), Ok(172_800_000_000_000));
        assert_eq!(nanos("INTERVAL '250' MILLISECOND"), Ok(250_000_000));
    }

    #[test]
    fn refuses_what_has_no_fixed_length() {
        assert_eq!(
            nanos("INTERVAL '1' MONTH"),
            Err("months have no fixed length; use days or hours".to_owned())
        );
        assert_eq!(nanos("3"), Err("`3` is not an interval; write it as INTERVAL '10' MINUTE".to_owned()));
        assert_eq!(nanos("INTERVAL 'x' HOUR"), Err("`x HOUR` is not an interval".to_owned()));
    }
}
