//! What is known of the columns and rows of a relation while it is planned: when a column's values are complete, which
//! columns are edges of the same windows, and which columns tell rows apart.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr;

use super::window::nanos_per_tick;
use crate::operators::hop::{HopFunction, HopPart};
use crate::operators::tumble::{Edge, TumbleEdge};

/// A column of a source: the source and its column, by index.
pub(super) type SourceColumn = (usize, usize);

/// What is known of a column.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct ColumnFacts {
    /// Nothing with a value `v` changes any more once the watermark has reached `v` and this many milliseconds.
    pub(super) closes_ms: Option<i64>,
    /// The source's column that it is, unchanged.
    pub(super) origin: Option<SourceColumn>,
    /// The windows that it is an edge of: their kind and the time that they are over.
    pub(super) window: Option<(String, Option<SourceColumn>)>,
}

/// Column indices of which any one would do for one part of a key: `window_start` and `window_end` say the same.
pub(super) type KeyPart = Vec<usize>;

/// The event time of a stream: rows before the watermark do not come any more.
pub(super) const ROWTIME_CLOSES_MS: i64 = 1;

const NANOS_PER_MILLI: i64 = 1_000_000;

/// Ticks of a timestamp type in milliseconds, rounded up.
pub(super) fn ticks_to_ms(ticks: i64, data_type: &DataType) -> i64 {
    let nanos = match data_type {
        DataType::Timestamp(unit, _) => i128::from(ticks) * i128::from(nanos_per_tick(*unit)),
        _ => i128::from(ticks) * i128::from(NANOS_PER_MILLI),
    };
    i64::try_from(-(-nanos).div_euclid(i128::from(NANOS_PER_MILLI))).unwrap_or(i64::MAX)
}

impl ColumnFacts {
    /// What is known of an expression over columns with these facts. `windowed` hears of source columns that windows are
    /// made of.
    pub(super) fn of(
        expr: &Expr,
        columns: &[ColumnFacts],
        schema: &DFSchema,
        windowed: &mut Vec<SourceColumn>,
    ) -> ColumnFacts {
        match expr {
            Expr::Alias(alias) => ColumnFacts::of(&alias.expr, columns, schema, windowed),
            Expr::Column(_) => {
                column_index(expr, schema).and_then(|index| columns.get(index).cloned()).unwrap_or_default()
            }
            Expr::ScalarFunction(call) => {
                let Some(argument) = call.args.first() else { return ColumnFacts::default() };
                let time = ColumnFacts::of(argument, columns, schema, windowed);
                let in_ms = |ticks| match column_index(argument, schema) {
                    Some(index) => ticks_to_ms(ticks, schema.field(index).data_type()),
                    None => ticks,
                };
                // The last time in a window is a tick before its end, and changes for as long as its column says.
                let after_end = time.closes_ms.map(|after| after - 1);
                if let Some((edge, tumble)) = TumbleEdge::of(&call.func) {
                    windowed.extend(time.origin);
                    let length = if edge == Edge::Start { in_ms(tumble.size) } else { 0 };
                    let after = after_end.map(|after| after.saturating_add(length));
                    return ColumnFacts::window(format!("{tumble:?}"), time.origin, after);
                }
                match HopFunction::of(&call.func) {
                    Some((HopPart::Starts, hop)) => {
                        windowed.extend(time.origin);
                        let after = after_end.map(|after| after.saturating_add(in_ms(hop.size)));
                        ColumnFacts::window(format!("{hop:?}"), time.origin, after)
                    }
                    Some((HopPart::End, hop)) => {
                        ColumnFacts { closes_ms: time.closes_ms.map(|after| after - in_ms(hop.size)), ..time }
                    }
                    None => ColumnFacts::default(),
                }
            }
            _ => ColumnFacts::default(),
        }
    }

    pub(super) fn window(kind: String, time: Option<SourceColumn>, closes_ms: Option<i64>) -> ColumnFacts {
        ColumnFacts { closes_ms, origin: None, window: Some((kind, time)) }
    }

    /// The same column where rows come and go for other reasons than their time.
    pub(super) fn without_closing(&self) -> ColumnFacts {
        ColumnFacts { closes_ms: None, ..self.clone() }
    }
}

/// The index of the column that an expression passes on unchanged.
pub(super) fn column_index(expr: &Expr, schema: &DFSchema) -> Option<usize> {
    match expr {
        Expr::Alias(alias) => column_index(&alias.expr, schema),
        Expr::Column(column) => schema.maybe_index_of_column(column),
        _ => None,
    }
}

/// One part per column, but one part for all edges of the same windows.
pub(super) fn key_parts(columns: &[ColumnFacts]) -> Vec<KeyPart> {
    let mut parts: Vec<KeyPart> = Vec::new();
    for (index, facts) in columns.iter().enumerate() {
        let is_known = facts.window.as_ref().is_some_and(|(_, time)| time.is_some());
        let same = is_known.then_some(()).and_then(|()| {
            parts
                .iter()
                .position(|part| part.first().is_some_and(|first| columns[*first].window == facts.window))
        });
        match same {
            Some(part) => parts[part].push(index),
            None => parts.push(vec![index]),
        }
    }
    parts
}

/// A key after its columns have moved; `None` when a part of it is gone.
pub(super) fn moved_key(key: &[KeyPart], places: impl Fn(usize) -> Vec<usize>) -> Option<Vec<KeyPart>> {
    let parts: Vec<KeyPart> =
        key.iter().map(|part| part.iter().flat_map(|column| places(*column)).collect()).collect();
    (!parts.iter().any(Vec::is_empty)).then_some(parts)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn lengths_in_milliseconds_are_never_shorter_than_they_are() {
        let in_ms = |ticks, unit| ticks_to_ms(ticks, &DataType::Timestamp(unit, None));
        assert_eq!(in_ms(2, TimeUnit::Second), 2_000);
        assert_eq!(in_ms(1, TimeUnit::Nanosecond), 1);
        assert_eq!(in_ms(2_000_001, TimeUnit::Nanosecond), 3);
        assert_eq!(in_ms(i64::MAX, TimeUnit::Second), i64::MAX);
    }

    #[test]
    fn edges_of_the_same_windows_are_one_part_of_a_key() {
        let edge = |kind: &str| ColumnFacts::window(kind.to_owned(), Some((0, 1)), None);
        let columns = [ColumnFacts::default(), edge("a"), edge("a"), edge("b"), ColumnFacts::default()];
        assert_eq!(key_parts(&columns), [vec![0], vec![1, 2], vec![3], vec![4]]);
    }
}
