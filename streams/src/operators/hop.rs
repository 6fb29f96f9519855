//! Hopping windows: the windows of a row, as many as overlap.
//!
//! ```text
//!      ├──────── size ────────┤
//!      [      window 0        )
//!      ├ slide ┤      [      window 2        )
//!              [      window 1        )
//! ─────────────────────▲──────────────────────▶ event time
//!                      a row here is in windows 0, 1 and 2
//! ```
//!
//! `hop_starts(time)` gives the list of the windows' starts, which DataFusion's UNNEST makes rows of; `hop_end(start)` adds
//! the size. So hopping windows need no operator of their own, and batch queries run the same expressions.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, PrimitiveArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Size, slide and offset of hopping windows, in ticks of the event-time column; size and slide are positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Hop {
    pub(crate) size: i64,
    pub(crate) slide: i64,
    pub(crate) offset: i64,
}

impl Hop {
    /// The starts of the windows that hold `time`, oldest first; those beyond what 64 bits can tell are left out.
    pub(crate) fn starts_of(self, time: i64) -> impl Iterator<Item = i64> {
        let (time, slide, size) = (i128::from(time), i128::from(self.slide), i128::from(self.size));
        let last = time - (time - i128::from(self.offset)).rem_euclid(slide);
        // The first start after `time - size`.
        let count = (last - (time - size) + slide - 1) / slide;
        (0..count.max(0)).rev().filter_map(move |back| {
            let start = i64::try_from(last - back * slide).ok()?;
            start.checked_add(self.size).map(|_| start)
        })
    }
}

/// What a window function of HOP gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum HopPart {
    /// The starts of a time's windows, as a list.
    Starts,
    /// The end of the window with a start.
    End,
}

/// The scalar function `hop_starts(time)` or `hop_end(start)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct HopFunction {
    part: HopPart,
    hop: Hop,
    name: String,
    signature: Signature,
}

impl HopFunction {
    /// The function as DataFusion calls it; its name tells windows apart.
    pub(crate) fn udf(part: HopPart, hop: Hop) -> ScalarUDF {
        let word = match part {
            HopPart::Starts => "hop_starts",
            HopPart::End => "hop_end",
        };
        let name = match hop.offset {
            0 => format!("{word}_{}_{}", hop.size, hop.slide),
            offset => format!("{word}_{}_{}_{offset}", hop.size, hop.slide),
        };
        let signature = Signature::any(1, Volatility::Immutable);
        ScalarUDF::from(HopFunction { part, hop, name, signature })
    }

    /// The part and windows of a function made by [`HopFunction::udf`].
    pub(crate) fn of(function: &ScalarUDF) -> Option<(HopPart, Hop)> {
        let inner: &dyn std::any::Any = function.inner().as_ref();
        inner.downcast_ref::<HopFunction>().map(|function| (function.part, function.hop))
    }

    fn apply(&self, times: &ArrayRef) -> Result<ArrayRef> {
        let ticks = cast(times, &DataType::Int64)?;
        let ticks: &PrimitiveArray<Int64Type> = ticks.as_primitive();
        match self.part {
            HopPart::End => {
                let ends: PrimitiveArray<Int64Type> =
                    ticks.unary_opt(|start| start.checked_add(self.hop.size));
                Ok(cast(&ends, times.data_type())?)
            }
            HopPart::Starts => {
                let mut starts: Vec<i64> = Vec::with_capacity(ticks.len());
                let mut lengths = Vec::with_capacity(ticks.len());
                for time in ticks {
                    let before = starts.len();
                    starts.extend(time.into_iter().flat_map(|time| self.hop.starts_of(time)));
                    lengths.push(starts.len() - before);
                }
                let values = cast(&PrimitiveArray::<Int64Type>::from(starts), times.data_type())?;
                let field = Arc::new(Field::new_list_field(times.data_type().clone(), true));
                let nulls: Option<NullBuffer> = ticks.nulls().cloned();
                Ok(Arc::new(ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), values, nulls)?))
            }
        }
    }
}

impl ScalarUDFImpl for HopFunction {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match (arguments, self.part) {
            ([time @ DataType::Timestamp(_, _)], HopPart::End) => Ok(time.clone()),
            ([time @ DataType::Timestamp(_, _)], HopPart::Starts) => {
                Ok(DataType::new_list(time.clone(), true))
            }
            (other, _) => plan_err!("a window needs a timestamp, not {other:?}"),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [time] = arguments.args.as_slice() else {
            return exec_err!("{} takes one argument", self.name);
        };
        self.apply(&time.to_array(arguments.number_rows)?).map(ColumnarValue::Array)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn starts(size: i64, slide: i64, offset: i64, time: i64) -> Vec<i64> {
        Hop { size, slide, offset }.starts_of(time).collect()
    }

    #[test]
    fn a_row_is_in_every_window_that_spans_it() {
        assert_eq!(starts(10, 2, 0, 11), [2, 4, 6, 8, 10]);
        assert_eq!(starts(10, 10, 0, 10), [10]);
        assert_eq!(starts(4, 2, 1, 0), [-3, -1]);
        // Windows with gaps between them hold some rows not at all.
        assert_eq!(starts(2, 5, 0, 3), [] as [i64; 0]);
        assert_eq!(starts(2, 5, 0, 6), [5]);
    }

    #[test]
    fn times_at_the_end_of_the_world_have_the_windows_that_can_be_told() {
        assert_eq!(starts(10, 5, 0, i64::MAX), [] as [i64; 0]);
        assert!(starts(10, 5, 0, i64::MIN).iter().all(|start| *start <= i64::MIN + 5));
    }

    proptest! {
        #[test]
        fn starts_are_exactly_those_of_the_definition(time in -1_000i64..1_000, size in 1i64..50, slide in 1i64..20, offset in -30i64..30) {
            let expected: Vec<i64> = (time - size + 1..=time).filter(|start| (start - offset).rem_euclid(slide) == 0).collect();
            prop_assert_eq!(starts(size, slide, offset, time), expected);
        }
    }
}
