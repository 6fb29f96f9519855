//! The type words of pipelines and SQL schemas, and the Arrow types they mean.
//!
//! | word | Arrow | in JSON |
//! |---|---|---|
//! | `boolean` (`bool`) | `Boolean` | `true` |
//! | `int` (`bigint`, `int64`), `int32`, `int16`, `int8` | `Int64` … `Int8` | `42` |
//! | `double` (`float64`), `float` (`float32`) | `Float64`, `Float32` | `1.5` |
//! | `decimal(p,s)` | `Decimal128(p,s)` | `"12.50"`, as text so that no reader rounds it |
//! | `string` (`varchar`, `text`) | `Utf8` | `"a"` |
//! | `bytes` (`binary`) | `Binary` | base64 text |
//! | `date` | `Date32` | `"2013-01-01"` |
//! | `timestamp` | `Timestamp(Millisecond, "UTC")` | `"2013-01-01T10:00:00Z"` |
//!
//! A `?` at the end makes a column nullable.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// The most digits of a `Decimal128`.
const DECIMAL_PRECISION_MAX: u8 = 38;

/// Why a word is not a type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TypeError {
    /// Nobody knows this word.
    #[error(
        "unknown type '{word}': expected string, int, int32, int16, int8, double, float, boolean, timestamp, date, \
         bytes or decimal(precision,scale), with ? at the end when it may be null"
    )]
    Unknown {
        /// The word as written.
        word: String,
    },
    /// `decimal(…)` with numbers that no decimal has.
    #[error(
        "'{word}': a decimal is decimal(precision,scale) with 1 ≤ precision ≤ 38 and 0 ≤ scale ≤ precision"
    )]
    BadDecimal {
        /// The word as written.
        word: String,
    },
}

/// Reads a type word; the flag says whether the column may be null (`int?`).
///
/// Words are read without regard to case or surrounding space, as SQL does.
///
/// # Errors
/// [`TypeError`] with the word and the list of words that would do.
pub fn parse_type(word: &str) -> Result<(DataType, bool), TypeError> {
    let lower = word.trim().to_ascii_lowercase();
    let (base, nullable) = match lower.strip_suffix('?') {
        Some(base) => (base.trim_end(), true),
        None => (lower.as_str(), false),
    };
    let data_type = match base {
        "boolean" | "bool" => DataType::Boolean,
        "int" | "bigint" | "int64" | "long" => DataType::Int64,
        "int32" | "integer" => DataType::Int32,
        "int16" | "smallint" => DataType::Int16,
        "int8" | "tinyint" => DataType::Int8,
        "double" | "float64" => DataType::Float64,
        "float" | "float32" | "real" => DataType::Float32,
        "string" | "varchar" | "text" => DataType::Utf8,
        "bytes" | "binary" => DataType::Binary,
        "date" => DataType::Date32,
        "timestamp" => timestamp_type(),
        _ if base.starts_with("decimal") => parse_decimal_type(base, word)?,
        _ => return Err(TypeError::Unknown { word: word.to_owned() }),
    };
    Ok((data_type, nullable))
}

/// The type of a `timestamp` column: milliseconds since 1970, UTC, as Kafka's own timestamps are.
#[must_use]
pub fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some(Arc::from("UTC")))
}

fn parse_decimal_type(base: &str, word: &str) -> Result<DataType, TypeError> {
    let bad = || TypeError::BadDecimal { word: word.to_owned() };
    let inside = base
        .strip_prefix("decimal")
        .and_then(|rest| rest.trim().strip_prefix('('))
        .and_then(|rest| rest.strip_suffix(')'))
        .ok_or_else(bad)?;
    let (precision, scale) = inside.split_once(',').unwrap_or((inside, "0"));
    let precision: u8 = precision.trim().parse().map_err(|_| bad())?;
    let scale: u8 = scale.trim().parse().map_err(|_| bad())?;
    if precision == 0 || precision > DECIMAL_PRECISION_MAX || scale > precision {
        return Err(bad());
    }
    let scale = i8::try_from(scale).map_err(|_| bad())?;
    Ok(DataType::Decimal128(precision, scale))
}

/// The word for a column's type, the inverse of [`parse_type`] where there is one, else Arrow's own name.
#[must_use]
pub fn type_word(data_type: &DataType, nullable: bool) -> String {
    let word = match data_type {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int64 => "int".to_owned(),
        DataType::Int32 => "int32".to_owned(),
        DataType::Int16 => "int16".to_owned(),
        DataType::Int8 => "int8".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Float32 => "float".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "bytes".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Timestamp(_, _) => "timestamp".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        other => other.to_string(),
    };
    if nullable { word + "?" } else { word }
}

/// The schema of named type words, in their order.
///
/// # Errors
/// The first column whose word is not a type, with that column's name.
pub fn schema_of<'a>(
    columns: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<SchemaRef, (String, TypeError)> {
    let mut fields = Vec::new();
    for (name, word) in columns {
        let (data_type, nullable) = parse_type(word).map_err(|error| (name.to_owned(), error))?;
        fields.push(Field::new(name, data_type, nullable));
    }
    Ok(Arc::new(Schema::new(fields)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_word_and_its_nullable_form() {
        for word in [
            "boolean",
            "int",
            "int32",
            "int16",
            "int8",
            "double",
            "float",
            "string",
            "bytes",
            "date",
            "timestamp",
            "decimal(10,2)",
        ] {
            let (data_type, nullable) = parse_type(word).unwrap();
            assert!(!nullable);
            assert_eq!(type_word(&data_type, false), word);
            let (again, nullable) = parse_type(&format!("{word}?")).unwrap();
            assert_eq!((again, nullable), (data_type.clone(), true));
            assert_eq!(type_word(&data_type, true), format!("{word}?"));
        }
    }

    #[test]
    fn reads_words_as_sql_would() {
        assert_eq!(parse_type(" BIGINT ?").unwrap(), (DataType::Int64, true));
        assert_eq!(parse_type("Decimal( 9 , 3 )").unwrap(), (DataType::Decimal128(9, 3), false));
        assert_eq!(parse_type("decimal(9)").unwrap(), (DataType::Decimal128(9, 0), false));
    }

    #[test]
    fn refuses_what_is_no_type_and_says_what_would_be() {
        let error = parse_type("strng").unwrap_err();
        assert!(error.to_string().starts_with("unknown type 'strng': expected string, int"), "{error}");
        for word in
            ["decimal", "decimal()", "decimal(0,0)", "decimal(39,2)", "decimal(4,5)", "decimal(4,-1)", "?"]
        {
            assert!(parse_type(word).is_err(), "{word} must not be a type");
        }
    }

    #[test]
    fn names_the_column_of_a_bad_word() {
        let (column, _) = schema_of([("a", "int"), ("b", "intt")]).unwrap_err();
        assert_eq!(column, "b");
    }
}
