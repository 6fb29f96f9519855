//! The values of a column, each a function of the seed, the column's name and the row's number: pure.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use ottla_formats::timestamp::parse_timestamp;

/// Where random numbers lie unless somebody says otherwise.
const RANDOM: (i64, i64) = (0, 1_000);
/// Where times begin: 2024-01-01, in milliseconds since the epoch.
const FIRST_MS: i64 = 1_704_067_200_000;

/// How a column's values are made.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Generator {
    /// The row's number, from 1.
    Sequence,
    /// From the first number up to, but not including, the second.
    Random(i64, i64),
    /// One of these.
    Choice(Vec<String>),
    /// Times (milliseconds since the epoch), so many milliseconds apart.
    Step { first_ms: i64, step_ms: i64 },
}

impl Generator {
    /// Reads a config's word.
    ///
    /// # Errors
    /// What is wrong, with what would be right.
    pub fn parse(text: &str) -> Result<Generator, String> {
        let known = || {
            format!(
                "{text:?} is none of: sequence, random(LOW..HIGH), choice(A|B|…), step(START, MILLISECONDS)"
            )
        };
        let text = text.trim();
        if text == "sequence" {
            return Ok(Generator::Sequence);
        }
        let (word, rest) = text.split_once('(').ok_or_else(known)?;
        let inside = rest.strip_suffix(')').ok_or_else(known)?;
        match word.trim() {
            "random" => {
                let bounds = inside
                    .split_once("..")
                    .and_then(|(low, high)| Some((low.trim().parse().ok()?, high.trim().parse().ok()?)));
                match bounds {
                    Some((low, high)) if low < high => Ok(Generator::Random(low, high)),
                    _ => Err(format!("{text:?}: LOW..HIGH should be two whole numbers, the lower first")),
                }
            }
            "choice" => Ok(Generator::Choice(inside.split('|').map(|one| one.trim().to_owned()).collect())),
            "step" => {
                let wrong = || format!("{text:?}: should be like step(2024-01-01T00:00:00Z, 1000)");
                let (first, step) = inside.split_once(',').ok_or_else(wrong)?;
                let first_ms = parse_timestamp(first.trim(), TimeUnit::Millisecond).ok_or_else(wrong)?;
                Ok(Generator::Step { first_ms, step_ms: step.trim().parse().map_err(|_| wrong())? })
            }
            _ => Err(known()),
        }
    }

    /// What a column of this type has when nobody says anything.
    pub fn default_of(data_type: &DataType) -> Generator {
        match data_type {
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
                Generator::Step { first_ms: FIRST_MS, step_ms: 1 }
            }
            _ => Generator::Random(RANDOM.0, RANDOM.1),
        }
    }

    /// The values of `count` rows from number `first` (of which the very first is 0) on.
    ///
    /// # Errors
    /// When the type cannot hold them.
    pub fn values(
        &self,
        salt: u64,
        first: u64,
        count: usize,
        data_type: &DataType,
    ) -> Result<ArrayRef, String> {
        let rows = || (first..).take(count);
        let number = |row: u64| random(salt, row);
        let made: ArrayRef = match self {
            Generator::Sequence => Arc::new(Int64Array::from_iter_values(rows().map(|row| as_i64(row) + 1))),
            Generator::Random(low, high) => {
                let span = high.wrapping_sub(*low).unsigned_abs();
                let whole = |row| low.wrapping_add_unsigned(number(row) % span);
                match data_type {
                    DataType::Boolean => {
                        Arc::new(BooleanArray::from_iter(rows().map(|row| Some(number(row) & 1 == 1))))
                    }
                    DataType::Float32 | DataType::Float64 => {
                        // 53 bits are what a double holds exactly.
                        let part = |row| (number(row) >> 11) as f64 / (1u64 << 53) as f64;
                        let between = |row| *low as f64 + part(row) * (*high as f64 - *low as f64);
                        Arc::new(Float64Array::from_iter_values(rows().map(between)))
                    }
                    _ => Arc::new(Int64Array::from_iter_values(rows().map(whole))),
                }
            }
            Generator::Choice(words) => {
                let pick = |row| {
                    let place = number(row) % words.len().max(1) as u64;
                    words.get(usize::try_from(place).unwrap_or(0)).map_or("", String::as_str)
                };
                Arc::new(StringArray::from_iter_values(rows().map(pick)))
            }
            Generator::Step { first_ms, step_ms } => {
                let at = |row| first_ms.saturating_add(as_i64(row).saturating_mul(*step_ms));
                let ticks: ArrayRef = Arc::new(Int64Array::from_iter_values(rows().map(at)));
                cast(&ticks, &DataType::Timestamp(TimeUnit::Millisecond, None))
                    .map_err(|error| error.to_string())?
            }
        };
        let cast = cast(&made, data_type).map_err(|error| error.to_string())?;
        match cast.null_count() {
            0 => Ok(cast),
            _ => Err(format!("{self:?} makes values that are no {data_type}")),
        }
    }
}

fn as_i64(row: u64) -> i64 {
    i64::try_from(row).unwrap_or(i64::MAX)
}

/// A number that looks random and is the same every time: SplitMix64 (Steele, Lea and Flood 2014) at a row of a column.
fn random(salt: u64, row: u64) -> u64 {
    let mut mixed = salt.wrapping_add(row.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// What tells a column's numbers from another's.
pub(super) fn salt(seed: u64, name: &str) -> u64 {
    name.bytes().fold(random(seed, 0), |salt, byte| random(salt, u64::from(byte)))
}
