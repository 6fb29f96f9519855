//! `TimestampConverter$Value`: a column of times from one form to another, in milliseconds as Kafka has them.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Date32Array, Int64Array, StringArray, TimestampMillisecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};

const MILLIS_PER_DAY: i64 = 86_400_000;

/// What a column becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// Text by the format.
    Text,
    /// A number by the precision.
    Unix,
    Timestamp,
    /// The day, at its begin.
    Date,
}

/// The unit of numbers, `unix.precision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precision {
    Seconds,
    Millis,
    Micros,
    Nanos,
}

impl Precision {
    fn to_millis(self, number: i64) -> Option<i64> {
        match self {
            Self::Seconds => number.checked_mul(1_000),
            Self::Millis => Some(number),
            Self::Micros => Some(number.div_euclid(1_000)),
            Self::Nanos => Some(number.div_euclid(1_000_000)),
        }
    }

    fn of_millis(self, millis: i64) -> Option<i64> {
        match self {
            Self::Seconds => Some(millis.div_euclid(1_000)),
            Self::Millis => Some(millis),
            Self::Micros => millis.checked_mul(1_000),
            Self::Nanos => millis.checked_mul(1_000_000),
        }
    }
}

/// A pattern of Java's `SimpleDateFormat`, as chrono's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(String);

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Names the letters that are not known here.
    pub fn parse(java: &str) -> Result<Pattern, String> {
        let mut pattern = String::new();
        let letters: Vec<char> = java.chars().collect();
        let mut place = 0;
        while let Some(letter) = letters.get(place).copied() {
            let count = letters.iter().skip(place).take_while(|other| **other == letter).count();
            if letter == '\'' {
                place = quoted(&letters, place, &mut pattern)?;
                continue;
            }
            if !letter.is_ascii_alphabetic() {
                literal(letter, &mut pattern);
                place += 1;
                continue;
            }
            pattern.push_str(match (letter, count) {
                ('y', 2) => "%y",
                ('y', _) => "%Y",
                ('M', 1) => "%-m",
                ('M', 2) => "%m",
                ('M', 3) => "%b",
                ('M', _) => "%B",
                ('d', 1) => "%-d",
                ('d', 2) => "%d",
                ('D', _) => "%j",
                ('H', 1) => "%-H",
                ('H', 2) => "%H",
                ('h', 1) => "%-I",
                ('h', 2) => "%I",
                ('m', 1) => "%-M",
                ('m', 2) => "%M",
                ('s', 1) => "%-S",
                ('s', 2) => "%S",
                ('S', 3) => "%3f",
                ('a', _) => "%p",
                ('E', 1..=3) => "%a",
                ('E', _) => "%A",
                ('X', 3) => "%:z",
                ('Z', _) | ('X', 2) => "%z",
                _ => {
                    let run = letter.to_string().repeat(count);
                    return Err(format!("{run} is no part of a time that is known here; there are y, M, d, D, H, h, m, s, SSS, a, E, Z, XX, XXX and text in single quotes"));
                }
            });
            place += count;
        }
        Ok(Pattern(pattern))
    }

    fn millis(&self, text: &str) -> Option<i64> {
        if self.has_zone() {
            return Some(DateTime::parse_from_str(text, &self.0).ok()?.timestamp_millis());
        }
        let time = NaiveDateTime::parse_from_str(text, &self.0).or_else(|_| {
            // Without hours it is the begin of the day.
            NaiveDate::parse_from_str(text, &self.0).map(|date| date.and_time(NaiveTime::MIN))
        });
        Some(time.ok()?.and_utc().timestamp_millis())
    }

    fn text(&self, millis: i64) -> Option<String> {
        Some(DateTime::from_timestamp_millis(millis)?.format(&self.0).to_string())
    }

    fn has_zone(&self) -> bool {
        use chrono::format::Fixed::{TimezoneOffset, TimezoneOffsetColon};
        StrftimeItems::new(&self.0)
            .any(|item| matches!(item, Item::Fixed(TimezoneOffset | TimezoneOffsetColon)))
    }
}

/// Text in single quotes; two of them are one. Gives the place after it.
fn quoted(letters: &[char], start: usize, pattern: &mut String) -> Result<usize, String> {
    let mut place = start + 1;
    if letters.get(place) == Some(&'\'') {
        literal('\'', pattern);
        return Ok(place + 1);
    }
    loop {
        match (letters.get(place), letters.get(place + 1)) {
            (Some('\''), Some('\'')) => {
                literal('\'', pattern);
                place += 2;
            }
            (Some('\''), _) => return Ok(place + 1),
            (Some(letter), _) => {
                literal(*letter, pattern);
                place += 1;
            }
            (None, _) => return Err("a quote is not closed".to_owned()),
        }
    }
}

fn literal(letter: char, pattern: &mut String) {
    if letter == '%' {
        pattern.push('%');
    }
    pattern.push(letter);
}

/// The type of a column afterwards.
pub(super) fn type_of(target: &Target) -> DataType {
    match target {
        Target::Text => DataType::Utf8,
        Target::Unix => DataType::Int64,
        Target::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        Target::Date => DataType::Date32,
    }
}

/// Values and, row by row, those that are no times: null in the values.
pub(super) type Converted = (ArrayRef, Vec<(usize, String)>);

/// Converts a column.
///
/// # Errors
/// When its type holds no times, or a format is missing.
pub(super) fn convert(
    array: &ArrayRef,
    target: &Target,
    pattern: Option<&Pattern>,
    precision: Precision,
) -> Result<Converted, String> {
    let mut bad = Vec::new();
    let millis = in_millis(array, pattern, precision, &mut bad)?;
    let values: ArrayRef = match target {
        Target::Timestamp => Arc::new(TimestampMillisecondArray::from(millis).with_timezone("UTC")),
        Target::Date => {
            let day = |millis: i64| i32::try_from(millis.div_euclid(MILLIS_PER_DAY)).ok();
            Arc::new(in_range(millis, day, &mut bad).into_iter().collect::<Date32Array>())
        }
        Target::Unix => {
            let number = |millis: i64| precision.of_millis(millis);
            Arc::new(in_range(millis, number, &mut bad).into_iter().collect::<Int64Array>())
        }
        Target::Text => {
            let pattern = pattern.ok_or("format is missing")?;
            let text = |millis: i64| pattern.text(millis);
            Arc::new(in_range(millis, text, &mut bad).into_iter().collect::<StringArray>())
        }
    };
    Ok((values, bad))
}

/// What becomes of each time; of one for which nothing does, its row is told.
fn in_range<T>(
    millis: Vec<Option<i64>>,
    become_: impl Fn(i64) -> Option<T>,
    bad: &mut Vec<(usize, String)>,
) -> Vec<Option<T>> {
    let one = |(row, millis): (usize, Option<i64>)| {
        let value = become_(millis?);
        if value.is_none() {
            bad.push((row, "the time is out of range".to_owned()));
        }
        value
    };
    millis.into_iter().enumerate().map(one).collect()
}

fn in_millis(
    array: &ArrayRef,
    pattern: Option<&Pattern>,
    precision: Precision,
    bad: &mut Vec<(usize, String)>,
) -> Result<Vec<Option<i64>>, String> {
    let cast_to = |wanted: &DataType| cast(array, wanted).map_err(|error| error.to_string());
    let integers = |array: ArrayRef| array.as_primitive::<Int64Type>().iter().collect::<Vec<Option<i64>>>();
    match array.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let pattern = pattern.ok_or("format is missing, by which the text could be read")?;
            let texts = cast_to(&DataType::Utf8)?;
            let texts = texts.as_string::<i32>();
            let read = |(row, text): (usize, Option<&str>)| {
                let millis = pattern.millis(text?);
                if millis.is_none() {
                    bad.push((row, format!("{:?} is no time of this format", text.unwrap_or_default())));
                }
                millis
            };
            Ok(texts.iter().enumerate().map(read).collect())
        }
        DataType::Timestamp(unit, _) => {
            let precision = match unit {
                TimeUnit::Second => Precision::Seconds,
                TimeUnit::Millisecond => Precision::Millis,
                TimeUnit::Microsecond => Precision::Micros,
                TimeUnit::Nanosecond => Precision::Nanos,
            };
            let ticks = integers(cast_to(&DataType::Int64)?);
            Ok(ticks.into_iter().map(|tick| precision.to_millis(tick?)).collect())
        }
        DataType::Date32 | DataType::Date64 => {
            let days =
                cast(&cast_to(&DataType::Date32)?, &DataType::Int32).map_err(|error| error.to_string())?;
            let days = integers(cast(&days, &DataType::Int64).map_err(|error| error.to_string())?);
            Ok(days.into_iter().map(|day| day?.checked_mul(MILLIS_PER_DAY)).collect())
        }
        data_type if data_type.is_integer() => {
            let numbers = integers(cast_to(&DataType::Int64)?).into_iter().enumerate();
            let read = |(row, number): (usize, Option<i64>)| {
                let millis = precision.to_millis(number?);
                if millis.is_none() {
                    bad.push((row, "the time is out of range".to_owned()));
                }
                millis
            };
            Ok(numbers.map(read).collect())
        }
        other => Err(format!("a column of type {other} holds no times")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Array as _;
    use arrow::util::display::array_value_to_string;
    use proptest::prelude::*;

    fn pattern(java: &str) -> Pattern {
        Pattern::parse(java).unwrap()
    }

    #[test]
    fn patterns_mean_what_they_mean_in_java() {
        for (java, text, millis) in [
            ("yyyy-MM-dd'T'HH:mm:ss.SSS", "2013-01-02T03:04:05.678", 1_357_095_845_678),
            ("yyyy-MM-dd HH:mm:ssXXX", "2013-01-02 04:04:05+01:00", 1_357_095_845_000),
            ("dd/MMM/yyyy:HH:mm:ss Z", "02/Jan/2013:03:04:05 +0000", 1_357_095_845_000),
            ("yyyy-MM-dd", "2013-01-02", 1_357_084_800_000),
            ("h:mm a 'o''clock' d.M.yy 100%", "3:04 AM o'clock 2.1.13 100%", 1_357_095_840_000),
        ] {
            assert_eq!(pattern(java).millis(text), Some(millis), "{java}");
        }
        let text = pattern("yyyy-MM-dd'T'HH:mm:ss.SSSXXX").text(1_357_095_845_678);
        assert_eq!(text.as_deref(), Some("2013-01-02T03:04:05.678+00:00"));
        assert_eq!(pattern("yyyy").millis("2013-01"), None);
        assert!(Pattern::parse("yyyy 'x").unwrap_err().contains("not closed"));
        assert!(Pattern::parse("yyyy-ww").unwrap_err().starts_with("ww is no part"));
    }

    #[test]
    fn columns_become_what_is_wanted_and_what_is_no_time_is_told() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("2013-01-02"), Some("x"), None]));
        let day = pattern("yyyy-MM-dd");
        let (times, bad) = convert(&texts, &Target::Timestamp, Some(&day), Precision::Millis).unwrap();
        assert_eq!(bad, [(1, "\"x\" is no time of this format".to_owned())]);
        assert_eq!((times.null_count(), times.data_type()), (2, &type_of(&Target::Timestamp)));
        let (numbers, _) = convert(&times, &Target::Unix, None, Precision::Seconds).unwrap();
        assert_eq!(array_value_to_string(&numbers, 0).unwrap(), "1357084800");
        let (dates, _) = convert(&numbers, &Target::Date, None, Precision::Seconds).unwrap();
        assert_eq!(array_value_to_string(&dates, 0).unwrap(), "2013-01-02");
        let (back, _) = convert(&dates, &Target::Text, Some(&day), Precision::Millis).unwrap();
        assert_eq!(array_value_to_string(&back, 0).unwrap(), "2013-01-02");
        let large: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX]));
        assert_eq!(convert(&large, &Target::Date, None, Precision::Seconds).unwrap().1.len(), 1);
        assert!(convert(&texts, &Target::Date, None, Precision::Seconds).unwrap_err().contains("format"));
        let yes: ArrayRef = Arc::new(arrow::array::BooleanArray::from(vec![true]));
        assert!(convert(&yes, &Target::Date, None, Precision::Seconds).unwrap_err().contains("Boolean"));
    }

    proptest! {
        #[test]
        fn a_time_is_the_same_after_there_and_back(millis in -30_000_000_000_000_i64..30_000_000_000_000) {
            let full = pattern("yyyy-MM-dd'T'HH:mm:ss.SSSZ");
            prop_assert_eq!(full.millis(&full.text(millis).unwrap()), Some(millis));
        }

        #[test]
        fn random_patterns_and_texts_never_panic(java in ".{0,20}", text in ".{0,20}", number: i64) {
            if let Ok(pattern) = Pattern::parse(&java) {
                let _ = pattern.millis(&text);
                let _ = pattern.text(number);
            }
        }
    }
}
