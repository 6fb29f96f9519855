//! ISO-8601 text to and from ticks since 1970-01-01T00:00:00Z.
//!
//! Ottla writes one form only, `2013-01-01T10:00:00Z`, with a fraction of 3, 6 or 9 digits when it is not zero. It
//! reads that form and its usual relatives: a space for the `T`, an offset (`+02:00`), no seconds, a date alone. Text
//! without an offset is UTC. Years beyond four digits carry a sign, as ISO-8601 has it.
//!
//! This is our own rather than a date library's because it runs once per cell of every timestamp column, where a
//! general parser costs more than the rest of the row.

use arrow::datatypes::TimeUnit;

const SECONDS_PER_DAY: i64 = 86_400;
const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Ticks of this unit in one second.
#[must_use]
pub fn ticks_per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => NANOS_PER_SECOND,
    }
}

/// Reads ISO-8601 text as ticks of `unit`. `None` when it is not a timestamp, is out of range, or has digits that the
/// unit would lose.
#[must_use]
pub fn parse_timestamp(text: &str, unit: TimeUnit) -> Option<i64> {
    let mut cursor = Cursor { rest: text.as_bytes() };
    let days = cursor.date()?;
    let mut seconds_of_day = 0;
    let mut nanos = 0;
    let mut offset_seconds = 0;
    if cursor.skip_any(b"Tt ") {
        let hour = cursor.digits(2)?;
        cursor.expect(b':')?;
        let minute = cursor.digits(2)?;
        let second = if cursor.skip_any(b":") { cursor.digits(2)? } else { 0 };
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        if cursor.skip_any(b".,") {
            nanos = cursor.fraction()?;
        }
        seconds_of_day = hour * 3600 + minute * 60 + second;
        offset_seconds = cursor.offset()?;
    }
    if !cursor.rest.is_empty() {
        return None;
    }
    let seconds = days.checked_mul(SECONDS_PER_DAY)?.checked_add(seconds_of_day - offset_seconds)?;
    let ticks = ticks_per_second(unit);
    let nanos_per_tick = NANOS_PER_SECOND / ticks;
    if nanos % nanos_per_tick != 0 {
        return None;
    }
    // Wide arithmetic, because the earliest instant's whole seconds alone are below i64::MIN ticks.
    i64::try_from(i128::from(seconds) * i128::from(ticks) + i128::from(nanos / nanos_per_tick)).ok()
}

/// Appends ticks of `unit` as ISO-8601 text.
pub fn write_timestamp(ticks: i64, unit: TimeUnit, out: &mut Vec<u8>) {
    let per_second = ticks_per_second(unit);
    let seconds = ticks.div_euclid(per_second);
    let nanos = ticks.rem_euclid(per_second) * (NANOS_PER_SECOND / per_second);
    write_civil(seconds.div_euclid(SECONDS_PER_DAY), out);
    let second_of_day = seconds.rem_euclid(SECONDS_PER_DAY);
    out.push(b'T');
    write_digits(second_of_day / 3600, 2, out);
    out.push(b':');
    write_digits(second_of_day / 60 % 60, 2, out);
    out.push(b':');
    write_digits(second_of_day % 60, 2, out);
    if nanos != 0 {
        out.push(b'.');
        if nanos % 1_000_000 == 0 {
            write_digits(nanos / 1_000_000, 3, out);
        } else if nanos % 1_000 == 0 {
            write_digits(nanos / 1_000, 6, out);
        } else {
            write_digits(nanos, 9, out);
        }
    }
    out.push(b'Z');
}

/// Ticks of `unit` as ISO-8601 text.
#[must_use]
pub fn timestamp_text(ticks: i64, unit: TimeUnit) -> String {
    let mut out = Vec::with_capacity(24);
    write_timestamp(ticks, unit, &mut out);
    // Only ASCII was written.
    String::from_utf8_lossy(&out).into_owned()
}

/// Reads `2013-01-01` as days since 1970-01-01.
#[must_use]
pub fn parse_date(text: &str) -> Option<i32> {
    let mut cursor = Cursor { rest: text.as_bytes() };
    let days = cursor.date()?;
    if cursor.rest.is_empty() { i32::try_from(days).ok() } else { None }
}

/// Appends days since 1970-01-01 as `2013-01-01`.
pub fn write_date(days: i32, out: &mut Vec<u8>) {
    write_civil(i64::from(days), out);
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar (Howard Hinnant, "chrono-compatible low-level
/// date algorithms": years are counted from March, so the leap day comes last).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`]: year, month, day.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn write_civil(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil_from_days(days);
    if (0..=9999).contains(&year) {
        write_digits(year, 4, out);
    } else {
        out.push(if year < 0 { b'-' } else { b'+' });
        out.extend_from_slice(format!("{:06}", year.unsigned_abs()).as_bytes());
    }
    out.push(b'-');
    write_digits(month, 2, out);
    out.push(b'-');
    write_digits(day, 2, out);
}

/// Writes the last `width` decimal digits of a number that is not negative.
fn write_digits(value: i64, width: u32, out: &mut Vec<u8>) {
    for place in (0..width).rev() {
        let digit = value / 10_i64.pow(place) % 10;
        out.push(b'0' + u8::try_from(digit).unwrap_or(0));
    }
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl Cursor<'_> {
    fn expect(&mut self, byte: u8) -> Option<()> {
        self.rest = self.rest.strip_prefix(&[byte])?;
        Some(())
    }

    fn skip_any(&mut self, bytes: &[u8]) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if bytes.contains(first) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn digits(&mut self, width: usize) -> Option<i64> {
        let (digits, rest) = self.rest.split_at_checked(width)?;
        let mut value = 0_i64;
        for byte in digits {
            if !byte.is_ascii_digit() {
                return None;
            }
            value = value.checked_mul(10)?.checked_add(i64::from(byte - b'0'))?;
        }
        self.rest = rest;
        Some(value)
    }

    fn digit_run(&self) -> usize {
        self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    }

    fn date(&mut self) -> Option<i64> {
        let year = if self.skip_any(b"+") {
            self.long_year()?
        } else if self.skip_any(b"-") {
            -self.long_year()?
        } else {
            self.digits(4)?
        };
        self.expect(b'-')?;
        let month = self.digits(2)?;
        self.expect(b'-')?;
        let day = self.digits(2)?;
        if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
            return None;
        }
        Some(days_from_civil(year, month, day))
    }

    /// Four to twelve digits: more than any unit of 64 bits can reach.
    fn long_year(&mut self) -> Option<i64> {
        let width = self.digit_run();
        if (4..=12).contains(&width) { self.digits(width) } else { None }
    }

    /// One to nine digits after the point, as nanoseconds.
    fn fraction(&mut self) -> Option<i64> {
        let width = self.digit_run();
        if width == 0 || width > 9 {
            return None;
        }
        let value = self.digits(width)?;
        Some(value * 10_i64.pow(u32::try_from(9 - width).ok()?))
    }

    /// `Z`, `+02:00`, `+0200`, `+02` or nothing, as seconds east of UTC.
    fn offset(&mut self) -> Option<i64> {
        if self.rest.is_empty() || self.skip_any(b"Zz") {
            return Some(0);
        }
        let sign = if self.skip_any(b"+") {
            1
        } else if self.skip_any(b"-") {
            -1
        } else {
            return None;
        };
        let hours = self.digits(2)?;
        let minutes = if self.skip_any(b":") || !self.rest.is_empty() { self.digits(2)? } else { 0 };
        if hours > 18 || minutes > 59 {
            return None;
        }
        Some(sign * (hours * 3600 + minutes * 60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn millis(text: &str) -> Option<i64> {
        parse_timestamp(text, TimeUnit::Millisecond)
    }

    #[test]
    fn reads_the_usual_forms() {
        let expected = Some(1_357_034_400_000);
        for text in [
            "2013-01-01T10:00:00Z",
            "2013-01-01 10:00:00",
            "2013-01-01T10:00",
            "2013-01-01T10:00:00.000Z",
            "2013-01-01T12:00:00+02:00",
            "2013-01-01T05:30:00-0430",
            "2013-01-01T05:00:00-05",
            "+002013-01-01T10:00:00Z",
        ] {
            assert_eq!(millis(text), expected, "{text}");
        }
        assert_eq!(millis("2013-01-01"), Some(1_356_998_400_000));
        assert_eq!(millis("1969-12-31T23:59:59.999Z"), Some(-1));
    }

    #[test]
    fn refuses_what_is_not_a_time() {
        for text in [
            "",
            "NA",
            "2013",
            "2013-13-01",
            "2013-02-29",
            "2013-01-01T24:00:00Z",
            "2013-01-01T10:60Z",
            "2013-01-01T",
            "2013-01-01T10:00:00Zx",
            "2013-01-01T10:00:00+",
            "2013-01-01T10:00:00.Z",
            "２013-01-01",
            "2013-01-01T10:00:00.0001Z",
            "+999999999999-01-01",
        ] {
            assert_eq!(millis(text), None, "{text}");
        }
    }

    #[test]
    fn writes_no_fraction_when_it_is_zero() {
        assert_eq!(timestamp_text(1_357_034_400_000, TimeUnit::Millisecond), "2013-01-01T10:00:00Z");
        assert_eq!(timestamp_text(1_357_034_400_050, TimeUnit::Millisecond), "2013-01-01T10:00:00.050Z");
        assert_eq!(timestamp_text(-1, TimeUnit::Microsecond), "1969-12-31T23:59:59.999999Z");
        assert_eq!(timestamp_text(1, TimeUnit::Nanosecond), "1970-01-01T00:00:00.000000001Z");
    }

    proptest! {
        #[test]
        fn every_tick_of_every_unit_round_trips(ticks: i64, unit in prop_oneof![
            Just(TimeUnit::Millisecond), Just(TimeUnit::Microsecond), Just(TimeUnit::Nanosecond)
        ]) {
            prop_assert_eq!(parse_timestamp(&timestamp_text(ticks, unit), unit), Some(ticks));
        }

        #[test]
        fn every_date_round_trips(days in -700_000_000_i32..700_000_000) {
            let mut out = Vec::new();
            write_date(days, &mut out);
            prop_assert_eq!(parse_date(std::str::from_utf8(&out).unwrap()), Some(days));
        }

        #[test]
        fn any_text_is_a_time_or_not_but_never_a_panic(text in "\\PC{0,40}", ascii in "[0-9TZ:+. -]{0,30}") {
            let _ = millis(&text);
            let _ = millis(&ascii);
            let _ = parse_date(&ascii);
        }
    }
}
