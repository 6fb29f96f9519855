//! Cells that come as values rather than as text, as binary formats have them.

use arrow::datatypes::TimeUnit;

use super::{Column, Values, push_bytes, quoted};
use crate::timestamp::ticks_per_second;

impl Column {
    /// An integer; a floating-point column takes the nearest number, a decimal column the exact one.
    pub(crate) fn append_integer(&mut self, value: i64) -> Result<(), String> {
        let fits = match &mut self.values {
            Values::Int { values, min, max } => {
                (*min..=*max).contains(&value) && {
                    values.push(value);
                    true
                }
            }
            Values::UInt64(values) => u64::try_from(value).map(|value| values.push(value)).is_ok(),
            #[expect(clippy::cast_precision_loss, reason = "promotion to a float rounds, as Avro says")]
            Values::Float(values) => {
                values.push(value as f64);
                true
            }
            Values::Decimal { .. } => return self.append_decimal(i128::from(value), 0),
            _ => false,
        };
        self.done(fits, || value.to_string())
    }

    /// A floating-point number, also one that is not a number or infinite.
    pub(crate) fn append_float(&mut self, value: f64) -> Result<(), String> {
        let fits = match &mut self.values {
            Values::Float(values) => {
                values.push(value);
                true
            }
            _ => false,
        };
        self.done(fits, || value.to_string())
    }

    /// Text; a column of bytes takes its bytes.
    pub(crate) fn append_str(&mut self, text: &str) -> Result<(), String> {
        match &mut self.values {
            Values::Text { offsets, bytes } | Values::Binary { offsets, bytes } => {
                push_bytes(offsets, bytes, text.as_bytes())?;
                self.done(true, String::new)
            }
            _ => self.done(false, || quoted(text)),
        }
    }

    /// Bytes; a text column takes them when they are UTF-8.
    pub(crate) fn append_bytes(&mut self, value: &[u8]) -> Result<(), String> {
        match &mut self.values {
            Values::Binary { offsets, bytes } => {
                push_bytes(offsets, bytes, value)?;
                self.done(true, String::new)
            }
            Values::Text { .. } => match std::str::from_utf8(value) {
                Ok(text) => self.append_str(text),
                Err(_) => self.done(false, || "bytes that are not UTF-8".to_owned()),
            },
            _ => self.done(false, || "bytes".to_owned()),
        }
    }

    /// A point in time in so many ticks a second. Towards a coarser column it is rounded down.
    pub(crate) fn append_ticks(&mut self, value: i64, per_second: i64) -> Result<(), String> {
        let fits = match &mut self.values {
            Values::Timestamp { ticks, unit } => {
                convert_ticks(value, per_second, *unit).map(|it| ticks.push(it))
            }
            Values::Int { .. } => return self.append_integer(value),
            _ => None,
        };
        self.done(fits.is_some(), || format!("the point in time {value}"))
    }

    /// A day, counted from 1970-01-01.
    pub(crate) fn append_days(&mut self, days: i32) -> Result<(), String> {
        match &mut self.values {
            Values::Date(values) => {
                values.push(days);
                self.done(true, String::new)
            }
            _ => self.append_integer(i64::from(days)),
        }
    }

    /// An unscaled number with its scale; nothing is rounded.
    pub(crate) fn append_decimal(&mut self, unscaled: i128, scale: u8) -> Result<(), String> {
        let fits = match &mut self.values {
            Values::Decimal { values, precision, scale: wanted } => {
                rescaled(unscaled, i32::from(scale), i32::from(*wanted))
                    .filter(|value| value.unsigned_abs() < 10_u128.pow(u32::from(*precision).min(38)))
                    .map(|value| values.push(value))
            }
            Values::UInt64(values) => rescaled(unscaled, i32::from(scale), 0)
                .and_then(|value| u64::try_from(value).ok())
                .map(|value| values.push(value)),
            _ => None,
        };
        self.done(fits.is_some(), || format!("the decimal {unscaled}e-{scale}"))
    }

    fn done(&mut self, fits: bool, found: impl FnOnce() -> String) -> Result<(), String> {
        if !fits {
            return Err(self.mismatch(&found()));
        }
        self.nulls.append_non_null();
        Ok(())
    }
}

fn convert_ticks(value: i64, per_second: i64, unit: TimeUnit) -> Option<i64> {
    let wanted = ticks_per_second(unit);
    match wanted >= per_second {
        true => value.checked_mul(wanted / per_second),
        false => Some(value.div_euclid(per_second / wanted)),
    }
}

fn rescaled(unscaled: i128, scale: i32, wanted: i32) -> Option<i128> {
    let factor = 10_i128.checked_pow(scale.abs_diff(wanted))?;
    match wanted >= scale {
        true => unscaled.checked_mul(factor),
        false => Some(unscaled / factor).filter(|_| unscaled % factor == 0),
    }
}
