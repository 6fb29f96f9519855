//! Rows against what was expected of them. Pure.
//!
//! An expected row says some columns; the others may be anything. Without an order, rows are paired so that as many as
//! possible fit, since one row may fit several that are expected.

use arrow::datatypes::TimeUnit;
use serde_json::{Map, Value as Json};

use super::{Mismatch, TopicRows};

/// How far two numbers may be apart, relative to the larger: what a sum of doubles may differ by.
const RELATIVE_DIFFERENCE_MAX: f64 = 1e-9;
/// Rows that were not expected and are shown, at most.
const SHOWN_MAX: usize = 5;

/// What is not as expected.
pub(super) fn compare(expected: &TopicRows, found: &[Json], ordered: bool) -> Vec<Mismatch> {
    let fits = |row: usize, other: usize| {
        let (Some(row), Some(other)) = (expected.rows.get(row), found.get(other)) else { return false };
        differences(&row.value, other).is_empty()
    };
    let partners = match ordered {
        true => (0..expected.rows.len()).map(|row| Some(row).filter(|row| fits(*row, *row))).collect(),
        false => pair(expected.rows.len(), found.len(), fits),
    };
    let is_taken = |row: usize| partners.contains(&Some(row));
    let free: Vec<(usize, &Json)> = found.iter().enumerate().filter(|(row, _)| !is_taken(*row)).collect();
    let mut mismatches = Vec::new();
    let mut shown = Vec::new();
    for (number, (row, partner)) in expected.rows.iter().zip(&partners).enumerate() {
        if partner.is_some() {
            continue;
        }
        let candidates = free.iter().filter(|(other, _)| !ordered || *other == number);
        let nearest = candidates
            .map(|(other, value)| (differences(&row.value, value), *other, *value))
            .min_by_key(|(differences, other, _)| (differences.len(), *other));
        let help = nearest.map(|(differences, other, value)| {
            shown.push(other);
            match value {
                Json::Object(_) if row.value.is_object() => {
                    format!("the nearest has {}", differences.join(", "))
                }
                other => format!("the nearest is {other}"),
            }
        });
        let nothing = || match found.is_empty() {
            true => "it is empty".to_owned(),
            false => format!("its other {} rows are expected by other lines", found.len()),
        };
        mismatches.push(Mismatch {
            at: row.at,
            message: format!("`{}` has no such row", expected.topic),
            help: Some(help.unwrap_or_else(nothing)),
        });
    }
    let surplus: Vec<&Json> =
        free.iter().filter(|(row, _)| !shown.contains(row)).map(|(_, value)| *value).collect();
    for value in surplus.iter().take(SHOWN_MAX) {
        let message = format!("`{}` has a row that is not expected: {value}", expected.topic);
        mismatches.push(Mismatch { at: expected.at, message, help: None });
    }
    if let Some(more) = surplus.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
        let message = format!("`{}` has {more} more rows that are not expected", expected.topic);
        mismatches.push(Mismatch { at: expected.at, message, help: None });
    }
    mismatches
}

/// For each of the first the partner among the others, so that as many as can have one do (Kuhn's augmenting paths).
fn pair(count: usize, others: usize, fits: impl Fn(usize, usize) -> bool) -> Vec<Option<usize>> {
    fn find(
        row: usize,
        others: usize,
        fits: &impl Fn(usize, usize) -> bool,
        seen: &mut [bool],
        of_other: &mut [Option<usize>],
    ) -> bool {
        for other in 0..others {
            if seen[other] || !fits(row, other) {
                continue;
            }
            seen[other] = true;
            let is_free = match of_other[other] {
                None => true,
                Some(holder) => find(holder, others, fits, seen, of_other),
            };
            if is_free {
                of_other[other] = Some(row);
                return true;
            }
        }
        false
    }
    let mut of_other = vec![None; others];
    for row in 0..count {
        find(row, others, &fits, &mut vec![false; others], &mut of_other);
    }
    let mut partners = vec![None; count];
    for (other, row) in of_other.iter().enumerate() {
        if let Some(row) = row {
            partners[*row] = Some(other);
        }
    }
    partners
}

/// What a row has that is not as expected, each as `column: found, not expected`.
fn differences(expected: &Json, found: &Json) -> Vec<String> {
    let (Json::Object(expected), Json::Object(found)) = (expected, found) else {
        // A record's value as it is may be JSON too.
        let same = same(expected, found)
            || expected
                .as_str()
                .is_some_and(|text| serde_json::from_str::<Json>(text).ok().as_ref() == Some(found));
        return if same { Vec::new() } else { vec![format!("{found}, not {expected}")] };
    };
    let missing = Json::Null;
    let mut told = Vec::new();
    for (column, value) in expected {
        let other = found.get(column).unwrap_or(&missing);
        if !same(value, other) {
            told.push(format!("`{column}`: {other}, not {value}"));
        }
    }
    told
}

fn same(expected: &Json, found: &Json) -> bool {
    match (expected, found) {
        (Json::Number(first), Json::Number(second)) => {
            if first == second {
                return true;
            }
            match (first.as_f64(), second.as_f64()) {
                // Integers are exact.
                _ if (first.is_i64() || first.is_u64()) && (second.is_i64() || second.is_u64()) => false,
                (Some(first), Some(second)) => {
                    (first - second).abs() <= RELATIVE_DIFFERENCE_MAX * first.abs().max(second.abs())
                }
                _ => false,
            }
        }
        // A decimal is text in JSON, so that no digit is lost; a file may write it as a number.
        (Json::Number(number), Json::String(text)) => {
            text.parse::<f64>().is_ok_and(|value| number.as_f64() == Some(value))
        }
        (Json::String(first), Json::String(second)) => {
            first == second || instant(first) == instant(second) && instant(first).is_some()
        }
        (Json::Array(first), Json::Array(second)) => {
            first.len() == second.len() && first.iter().zip(second).all(|(first, second)| same(first, second))
        }
        (Json::Object(first), Json::Object(second)) => same_columns(first, second),
        (first, second) => first == second,
    }
}

fn same_columns(first: &Map<String, Json>, second: &Map<String, Json>) -> bool {
    first.len() == second.len()
        && first.iter().all(|(name, value)| second.get(name).is_some_and(|other| same(value, other)))
}

/// The same instant may be written with more or fewer zeros.
fn instant(text: &str) -> Option<i64> {
    ottla_formats::timestamp::parse_timestamp(text, TimeUnit::Nanosecond)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::TestRow;
    use super::*;
    use crate::diagnostic::Position;

    fn told(expected: Json, found: &Json, ordered: bool) -> Vec<String> {
        let rows = (2u32..).zip(expected.as_array().unwrap());
        let rows =
            rows.map(|(line, value)| TestRow { at: Position { line, column: 1 }, value: value.clone() });
        let expected =
            TopicRows { topic: "t".to_owned(), at: Position { line: 1, column: 1 }, rows: rows.collect() };
        let mismatches = compare(&expected, found.as_array().unwrap(), ordered);
        let tell = |mismatch: Mismatch| {
            format!("{} {}: {}", mismatch.at.line, mismatch.message, mismatch.help.unwrap_or_default())
        };
        mismatches.into_iter().map(tell).collect()
    }

    #[test]
    fn columns_that_are_left_out_may_be_anything_and_an_order_matters_only_where_it_is_asked_for() {
        let found = json!([{ "a": 1, "b": "x" }, { "a": 2, "b": "y" }]);
        assert_eq!(told(json!([{ "a": 2 }, { "b": "x" }]), &found, false), [""; 0]);
        let wrong = told(json!([{ "a": 2 }, { "b": "x" }]), &found, true);
        assert_eq!(
            wrong,
            [
                "2 `t` has no such row: the nearest has `a`: 1, not 2",
                "3 `t` has no such row: the nearest has `b`: \"y\", not \"x\""
            ]
        );
    }

    #[test]
    fn a_row_that_fits_two_is_given_to_the_one_that_has_no_other() {
        let found = json!([{ "a": 1, "b": 1 }, { "a": 1, "b": 2 }]);
        assert_eq!(told(json!([{ "a": 1 }, { "a": 1, "b": 1 }]), &found, false), [""; 0]);
    }

    #[test]
    fn what_is_missing_and_what_is_too_much_is_told() {
        assert_eq!(
            told(json!([{ "a": 1, "b": null }]), &json!([{ "a": 1, "b": 3 }, { "a": 9 }]), false),
            [
                "2 `t` has no such row: the nearest has `b`: 3, not null",
                "1 `t` has a row that is not expected: {\"a\":9}: "
            ]
        );
        assert_eq!(told(json!([{ "a": 1 }]), &json!([]), false), ["2 `t` has no such row: it is empty"]);
        assert_eq!(told(json!([]), &json!([]), false), [""; 0]);
    }

    #[test]
    fn values_are_the_same_however_they_are_written() {
        for (expected, found, is_same) in [
            (json!(21), json!(21.0), true),
            (json!(0.3), json!(0.1 + 0.2), true),
            (json!(9007199254740993_i64), json!(9007199254740992_i64), false),
            (json!(12.5), json!("12.50"), true),
            (json!("2013-01-01T10:00:00Z"), json!("2013-01-01T10:00:00.000Z"), true),
            (json!("a"), json!("b"), false),
            (json!(null), json!(0), false),
            (json!([1, "2013-01-01"]), json!([1.0, "2013-01-01T00:00:00Z"]), true),
        ] {
            assert_eq!(same(&expected, &found), is_same, "{expected} {found}");
        }
    }

    proptest! {
        #[test]
        fn shuffled_rows_are_as_expected_and_one_row_changed_is_found(
            (rows, shuffled) in vec(0u8..4, 1..20).prop_flat_map(|rows| {
                let shuffled = Just(rows.clone()).prop_shuffle();
                (Just(rows), shuffled)
            }),
            at in any::<prop::sample::Index>(),
        ) {
            let json = |rows: &[u8]| rows.iter().map(|row| json!({ "a": row })).collect::<Json>();
            prop_assert!(told(json(&rows), &json(&shuffled), false).is_empty());
            let mut changed = shuffled;
            let place = at.index(changed.len());
            changed[place] = 9;
            prop_assert_eq!(told(json(&rows), &json(&changed), false).len(), 1);
        }
    }
}
