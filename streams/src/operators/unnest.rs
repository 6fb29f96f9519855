//! One row per element of a list, the other columns repeated.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{NullHandling, Result, exec_err};

use super::project::batch_of;
use super::rows::Rows;
use crate::planner::UnnestNode;

/// The rows with their lists unnested; several lists stand side by side, the shorter ones filled up with nulls.
///
/// # Errors
/// When a column is no list, which planning has excluded.
pub(super) fn unnest(node: &UnnestNode, schema: &SchemaRef, rows: &Rows) -> Result<Rows> {
    let lists =
        node.lists.iter().map(|list| List::of(rows.batch.column(*list))).collect::<Result<Vec<_>>>()?;
    let mut from: Vec<u32> = Vec::new();
    let mut elements: Vec<Vec<Option<u32>>> = vec![Vec::new(); lists.len()];
    for row in 0..rows.len() {
        let longest = lists.iter().map(|list| list.length(row, node.null_handling)).max().unwrap_or_default();
        for index in 0..longest {
            from.push(row as u32);
            for (list, elements) in lists.iter().zip(&mut elements) {
                elements.push(list.element(row, index));
            }
        }
    }
    let from = UInt32Array::from(from);
    let columns = node
        .columns
        .iter()
        .map(|column| match node.lists.iter().position(|list| list == column) {
            Some(list) => lists[list].taken(&UInt32Array::from(elements[list].clone())),
            None => Ok(take(rows.batch.column(*column), &from, None)?),
        })
        .collect::<Result<Vec<ArrayRef>>>()?;
    let batch = batch_of(schema, columns, from.len())?;
    let spread = Rows { batch: rows.batch.project(&[])?, ..rows.clone() };
    Ok(spread.taken(&from)?.with_batch(batch))
}

/// A list column as offsets into its elements.
struct List {
    array: ArrayRef,
    values: ArrayRef,
    ends: Vec<usize>,
    starts: Vec<usize>,
}

impl List {
    fn of(array: &ArrayRef) -> Result<List> {
        let (values, offsets): (ArrayRef, Vec<usize>) = match array.data_type() {
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                (
                    Arc::clone(list.values()),
                    list.value_offsets().iter().map(|offset| *offset as usize).collect(),
                )
            }
            DataType::LargeList(_) => {
                let list = array.as_list::<i64>();
                (
                    Arc::clone(list.values()),
                    list.value_offsets().iter().map(|offset| *offset as usize).collect(),
                )
            }
            DataType::FixedSizeList(_, size) => {
                let list = array.as_fixed_size_list();
                let size = *size as usize;
                (Arc::clone(list.values()), (0..=list.len()).map(|row| row * size).collect())
            }
            other => return exec_err!("UNNEST was given {other}"),
        };
        let (starts, ends) = (offsets[..offsets.len() - 1].to_vec(), offsets[1..].to_vec());
        Ok(List { array: Arc::clone(array), values, ends, starts })
    }

    fn length(&self, row: usize, null_handling: NullHandling) -> usize {
        match (self.array.is_null(row), self.ends[row] - self.starts[row], null_handling) {
            (true, _, NullHandling::Drop) => 0,
            (true, _, _) | (false, 0, NullHandling::PreserveAndExpandEmpty) => 1,
            (false, length, _) => length,
        }
    }

    fn element(&self, row: usize, index: usize) -> Option<u32> {
        let place = self.starts[row] + index;
        (self.array.is_valid(row) && place < self.ends[row]).then_some(place as u32)
    }

    fn taken(&self, indices: &UInt32Array) -> Result<ArrayRef> {
        match self.values.is_empty() {
            true => Ok(new_null_array(self.values.data_type(), indices.len())),
            false => Ok(take(&self.values, indices, None)?),
        }
    }
}
