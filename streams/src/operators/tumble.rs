//! Tumbling windows: which window a row's event time falls into.
//!
//! ```text
//!   offset      offset+size   offset+2·size
//! ────┼─────────────┼─────────────┼──────▶ event time
//!     [   window    )[   window    )
//!          ▲ a row here has window_start = offset, window_end = offset+size
//! ```
//!
//! A window is a function of one row, so assigning it is an ordinary scalar expression. Streaming and batch queries run
//! this same kernel, and DataFusion's optimiser may move it like any other.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, PrimitiveArray};
use arrow::datatypes::{
    ArrowTimestampType, DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Which edge of its window a [`TumbleEdge`] function gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Edge {
    /// The first instant inside the window.
    Start,
    /// The first instant after the window.
    End,
}

/// The size and offset of tumbling windows, in the unit of the event-time column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Tumble {
    /// Length of every window; greater than zero.
    pub(crate) size: i64,
    /// The start of some window, as ticks since 1970.
    pub(crate) offset: i64,
}

impl Tumble {
    /// The start of the window that holds `time`; `None` where it would lie before what 64 bits can tell.
    pub(crate) fn start_of(self, time: i64) -> Option<i64> {
        let into_window = time.checked_sub(self.offset)?.rem_euclid(self.size);
        time.checked_sub(into_window)
    }
}

/// The scalar function `tumble_start(time)` or `tumble_end(time)` of one size and offset.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct TumbleEdge {
    edge: Edge,
    tumble: Tumble,
    name: String,
    signature: Signature,
}

impl TumbleEdge {
    /// The function as DataFusion calls it. Its name carries size and offset, so that two different windows are never
    /// taken for one expression.
    pub(crate) fn udf(edge: Edge, tumble: Tumble) -> ScalarUDF {
        let word = match edge {
            Edge::Start => "tumble_start",
            Edge::End => "tumble_end",
        };
        let name = match tumble.offset {
            0 => format!("{word}_{}", tumble.size),
            offset => format!("{word}_{}_{offset}", tumble.size),
        };
        ScalarUDF::from(TumbleEdge {
            edge,
            tumble,
            name,
            signature: Signature::any(1, Volatility::Immutable),
        })
    }

    /// The edge and window of a function made by [`TumbleEdge::udf`].
    pub(crate) fn of(function: &ScalarUDF) -> Option<(Edge, Tumble)> {
        let inner: &dyn std::any::Any = function.inner().as_ref();
        inner.downcast_ref::<TumbleEdge>().map(|tumble| (tumble.edge, tumble.tumble))
    }

    fn apply<T: ArrowTimestampType>(&self, times: &dyn Array) -> Result<ArrayRef> {
        let Some(times) = times.as_any().downcast_ref::<PrimitiveArray<T>>() else {
            return exec_err!("{} was given {}", self.name, times.data_type());
        };
        let tumble = self.tumble;
        let edges: PrimitiveArray<T> = match self.edge {
            Edge::Start => times.unary_opt(|time| tumble.start_of(time)),
            Edge::End => times.unary_opt(|time| tumble.start_of(time)?.checked_add(tumble.size)),
        };
        Ok(Arc::new(edges.with_data_type(times.data_type().clone())))
    }
}

impl ScalarUDFImpl for TumbleEdge {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [time @ DataType::Timestamp(_, _)] => Ok(time.clone()),
            other => plan_err!("a window needs a timestamp, not {other:?}"),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [time] = arguments.args.as_slice() else {
            return exec_err!("{} takes one argument", self.name);
        };
        let is_scalar = matches!(time, ColumnarValue::Scalar(_));
        let times = time.to_array(if is_scalar { 1 } else { arguments.number_rows })?;
        let edges = match times.data_type() {
            DataType::Timestamp(TimeUnit::Second, _) => self.apply::<TimestampSecondType>(&times),
            DataType::Timestamp(TimeUnit::Millisecond, _) => self.apply::<TimestampMillisecondType>(&times),
            DataType::Timestamp(TimeUnit::Microsecond, _) => self.apply::<TimestampMicrosecondType>(&times),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => self.apply::<TimestampNanosecondType>(&times),
            other => exec_err!("{} was given {other}", self.name),
        }?;
        if is_scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&edges, 0)?));
        }
        Ok(ColumnarValue::Array(edges))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_row_on_an_edge_belongs_to_the_window_that_begins_there() {
        let hour = Tumble { size: 3_600, offset: 0 };
        assert_eq!(hour.start_of(3_599), Some(0));
        assert_eq!(hour.start_of(3_600), Some(3_600));
        assert_eq!(hour.start_of(-1), Some(-3_600));
        assert_eq!(Tumble { size: 3_600, offset: 900 }.start_of(0), Some(-2_700));
    }

    #[test]
    fn times_at_the_end_of_the_world_have_no_window_rather_than_a_wrong_one() {
        assert_eq!(Tumble { size: 10, offset: 0 }.start_of(i64::MIN), None);
        assert_eq!(Tumble { size: 10, offset: -1 }.start_of(i64::MAX), None);
    }

    proptest! {
        #[test]
        fn every_time_lies_in_its_window(time in -1_000_000_000_000i64..1_000_000_000_000, size in 1i64..10_000_000, offset in -10_000i64..10_000) {
            let start = Tumble { size, offset }.start_of(time).unwrap();
            prop_assert!(start <= time && time < start + size);
            prop_assert_eq!((start - offset).rem_euclid(size), 0);
        }
    }
}
