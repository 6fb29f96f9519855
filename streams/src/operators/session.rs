//! Sessions: rows of a partition that follow each other in less than the gap.
//!
//! ```text
//!   ●  ●    ●            ●                      time
//!   [──────────── gap )  [──── gap )
//!   window_start      ▲ window_end = last row + gap
//! ```
//!
//! ```text
//! 00  partition  time  row        ─▶ how often
//! 01  end of session  partition   ─▶ nothing      sessions that are open, by when they close
//! ```
//!
//! A row may make a session longer, or one of two; then the rows of these sessions are taken back and given again with
//! their new window. Rows before the watermark are late: their session may have closed.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use bytes::Bytes;
use datafusion::common::Result;

use super::context::Context;
use super::project::batch_of;
use super::rows::Rows;
use super::state_keys::{closed_keys, external, row_bytes, time_key, weight_of, weight_row};
use super::watermark::{Watermark, reject_late};
use crate::planner::SessionNode;
use crate::state::Overlay;
use crate::state::codec;

const ROWS: u8 = 0;
const ENDS: u8 = 1;

/// Runs one epoch of sessions.
///
/// # Errors
/// Only when the state is damaged.
pub(super) fn session(
    node: &SessionNode,
    schema: &SchemaRef,
    input: Vec<Rows>,
    overlay: &mut Overlay<'_>,
    context: &mut Context<'_>,
) -> Result<Vec<Rows>> {
    let mut partitions: BTreeSet<Vec<u8>> = BTreeSet::new();
    for rows in input {
        let times = rows.batch.column(node.time).clone();
        let rows = match node.closes_ms {
            Some(after_ms) => reject_late(context.before, &times, after_ms, rows, context.rejected)?,
            None => rows,
        };
        store(node, &rows, overlay, &mut partitions)?;
    }
    let mut changes: BTreeMap<(i64, i64, Vec<u8>), i64> = BTreeMap::new();
    for partition in &partitions {
        let before = Sessions::of(node, partition, &Overlay::new(overlay.base()))?;
        let after = Sessions::of(node, partition, overlay)?;
        for (weight, sessions) in [(-1, &before), (1, &after)] {
            for (start, end, row, count) in sessions.rows() {
                *changes.entry((start, end, row.to_vec())).or_default() += weight * count;
            }
        }
        if let Some(after_ms) = node.closes_ms {
            for (exists, sessions) in [(false, &before), (true, &after)] {
                for end_ms in sessions.closings_ms(node, after_ms) {
                    let key = [&[ENDS], time_key(end_ms).as_slice(), partition].concat();
                    overlay.put(Bytes::from(key), exists.then(Bytes::new));
                }
            }
        }
    }
    if let Some(after_ms) = node.closes_ms {
        forget(node, after_ms, overlay, context.now)?;
    }
    changes.retain(|_, weight| *weight != 0);
    let rows: Vec<&[u8]> = changes.keys().map(|(_, _, row)| row.as_slice()).collect();
    let fields = schema.fields();
    let types: Vec<DataType> =
        fields[..fields.len() - 2].iter().map(|field| field.data_type().clone()).collect();
    let mut columns = codec::decode_rows(&rows, &types).map_err(external)?;
    let time_type = fields[node.time].data_type();
    let edge = |pick: fn(&(i64, i64, Vec<u8>)) -> i64| -> Result<ArrayRef> {
        let ticks = Int64Array::from_iter_values(changes.keys().map(pick));
        Ok(cast(&ticks, time_type)?)
    };
    columns.push(edge(|(start, _, _)| *start)?);
    columns.push(edge(|(_, end, _)| *end)?);
    let batch = batch_of(schema, columns, rows.len())?;
    Ok(vec![Rows::changes(batch, changes.values().copied().collect())])
}

fn store(
    node: &SessionNode,
    rows: &Rows,
    overlay: &mut Overlay<'_>,
    partitions: &mut BTreeSet<Vec<u8>>,
) -> Result<()> {
    let columns: Vec<ArrayRef> =
        node.partition.iter().map(|column| rows.batch.column(*column).clone()).collect();
    let keys = codec::encode_rows(&columns, rows.len()).map_err(external)?;
    let times = cast(rows.batch.column(node.time), &DataType::Int64)?;
    let times = codec::encode_rows(&[times], rows.len()).map_err(external)?;
    for (index, ((partition, time), row)) in
        keys.into_iter().zip(times).zip(row_bytes(&rows.batch)?).enumerate()
    {
        let key = Bytes::from([&[ROWS], partition.as_slice(), &time, &row].concat());
        let before = overlay.get(&key).map_or(0, |row| weight_of(row).0);
        overlay.put(key, weight_row(before + rows.weight(index)));
        partitions.insert(partition);
    }
    Ok(())
}

/// Start and end in ticks, and the rows with how often they are there.
type Window = (i64, i64, Vec<(Vec<u8>, i64)>);

/// The sessions of one partition, in the order of time.
struct Sessions {
    sessions: Vec<Window>,
}

impl Sessions {
    fn of(node: &SessionNode, partition: &[u8], view: &Overlay<'_>) -> Result<Sessions> {
        let prefix = [&[ROWS], partition].concat();
        let time_length = time_key(0).len();
        let mut sessions: Vec<Window> = Vec::new();
        for (key, weight) in view.prefix(&prefix) {
            let (time, row) = key[prefix.len()..].split_at(time_length);
            let time = codec::decode_rows(&[time], &[DataType::Int64]).map_err(external)?;
            let time = time[0].as_primitive::<Int64Type>().value(0);
            let row = (row.to_vec(), weight_of(weight).0);
            match sessions.last_mut() {
                Some((_, end, rows)) if time < *end => {
                    *end = time.saturating_add(node.gap);
                    rows.push(row);
                }
                _ => sessions.push((time, time.saturating_add(node.gap), vec![row])),
            }
        }
        Ok(Sessions { sessions })
    }

    fn rows(&self) -> impl Iterator<Item = (i64, i64, &[u8], i64)> {
        self.sessions.iter().flat_map(|(start, end, rows)| {
            rows.iter().map(|(row, count)| (*start, *end, row.as_slice(), *count))
        })
    }

    /// When each session is complete: all rows that could belong to it have come and stay.
    fn closings_ms(&self, node: &SessionNode, after_ms: i64) -> impl Iterator<Item = i64> {
        self.sessions.iter().map(move |(_, end, _)| closing_ms(node, *end, after_ms))
    }
}

fn closing_ms(node: &SessionNode, end: i64, after_ms: i64) -> i64 {
    node.to_ms(end).saturating_add(after_ms - 1)
}

/// Forgets the sessions that the watermark has passed.
fn forget(node: &SessionNode, after_ms: i64, overlay: &mut Overlay<'_>, now: Watermark) -> Result<()> {
    for (entry, _) in closed_keys(overlay, &[ENDS], now) {
        let partition = &entry[1 + time_key(0).len()..];
        let sessions = Sessions::of(node, partition, overlay)?.sessions;
        // Sessions are in the order of time, so those that are closed come first.
        let closed = sessions
            .iter()
            .map(|(_, end, _)| *end)
            .take_while(|end| now.has_passed(closing_ms(node, *end, after_ms)));
        if let Some(end) = closed.last() {
            let prefix = [&[ROWS], partition].concat();
            let gone: Vec<Bytes> =
                overlay.prefix_below(&prefix, &time_key(end)).map(|(key, _)| key.clone()).collect();
            gone.into_iter().for_each(|key| overlay.put(key, None));
        }
        overlay.put(entry, None);
    }
    Ok(())
}
