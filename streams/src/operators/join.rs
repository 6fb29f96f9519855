//! Pairs of rows: `Δ(A⋈B) = ΔA⋈B' + A⋈ΔB`, where `A` is before the epoch and `B'` after it.
//!
//! ```text
//! 00  key  left row      ─▶ weight, partners, expiry     partners of a LEFT join only: their weights, summed
//! 01  key  right row     ─▶ weight, expiry
//! ```
//!
//! The expiry is there of rows that have one: once the watermark has passed it the row is forgotten.
//!
//! A left row without partner is given with nulls. When its first partner comes the nulls are taken back, and given again
//! when the last one goes; so the number of its partners is kept with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, new_null_array};
use bytes::Bytes;
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;

use super::context::Context;
use super::evaluate::{each, evaluate_all, millis};
use super::project::batch_of;
use super::rows::Rows;
use super::state_keys::{columns_from_bytes, external, weight_of, weight_row};
use super::watermark::{Watermark, reject_late};
use crate::planner::{Closing, JoinNode};
use crate::state::{Overlay, codec, sort_by_bytes};

const LEFT: u8 = 0;
const RIGHT: u8 = 1;

/// Pairs that are looked at at a time.
const PAIRS_MAX: usize = 8_192;

/// Runs one epoch of a join.
///
/// # Errors
/// When an expression fails for a row that no single record made, or the condition for a pair.
pub(super) fn join(
    node: &Arc<JoinNode>,
    left: Vec<Rows>,
    right: Vec<Rows>,
    overlay: &mut Overlay<'_>,
    context: &mut Context<'_>,
) -> Result<Vec<Rows>> {
    let lefts: Vec<Arc<dyn PhysicalExpr>> = node.on.iter().map(|(left, _)| Arc::clone(left)).collect();
    let rights: Vec<Arc<dyn PhysicalExpr>> = node.on.iter().map(|(_, right)| Arc::clone(right)).collect();
    // A row is late only where its partners may have been forgotten.
    let late_left = node.left_late.filter(|_| node.right_closing.is_some());
    let late_right = node.right_late.filter(|_| node.left_closing.is_some());
    let left = Side::of(LEFT, &lefts, left, late_left, node.left_closing, context)?;
    let right = Side::of(RIGHT, &rights, right, late_right, node.right_closing, context)?;
    let mut pairs = Pairs::new(node);
    let over = [&left, &right].into_iter().flat_map(|side| side.over_at(context.now));
    let over: Vec<Bytes> = over.map(|change| Bytes::copy_from_slice(&change.stored)).collect();

    // A ⋈ ΔB, with A as it was.
    for of_key in right.by_key() {
        let prefix = tagged(LEFT, of_key[0].key());
        for (stored, row) in overlay.base().prefix(&prefix) {
            let (weight, _) = weight_of(row);
            for change in of_key {
                pairs.add(change.key(), &stored[prefix.len()..], change.row(), weight, change.weight)?;
            }
        }
    }
    right.store(overlay);
    // ΔA ⋈ B', with B as it is now.
    pairs.begin_changed_left();
    for of_key in left.by_key() {
        let prefix = tagged(RIGHT, of_key[0].key());
        for (stored, row) in overlay.prefix(&prefix) {
            let (weight, _) = weight_of(row);
            for change in of_key {
                pairs.add(change.key(), change.row(), &stored[prefix.len()..], change.weight, weight)?;
            }
        }
    }
    let mut output = Vec::new();
    let partners = pairs.finish(&mut output)?;
    if node.is_left {
        output.extend(unmatched(node, &left, &partners, overlay)?);
        let alone = left.without_key.iter().map(|(row, weight)| (row.as_slice(), *weight)).collect();
        output.extend(with_nulls(node, alone)?);
    } else {
        left.store(overlay);
    }
    forget(overlay, context.now, over);
    Ok(output)
}

/// A row of one side, and how often more it is there.
struct Change {
    /// Its key in the state: the side's tag, the key of the join and the row.
    stored: Vec<u8>,
    /// Where the row begins in it.
    row_at: usize,
    weight: i64,
    /// When it can be forgotten, if ever.
    expiry: Option<i64>,
}

/// The changes of one side of an epoch, consolidated.
struct Side {
    /// By key and row, each pair once.
    changes: Vec<Change>,
    /// Rows whose key has a null, which equals nothing.
    without_key: BTreeMap<Vec<u8>, i64>,
}

impl Side {
    fn of(
        tag: u8,
        on: &[Arc<dyn PhysicalExpr>],
        input: Vec<Rows>,
        late: Option<Closing>,
        closing: Option<Closing>,
        context: &mut Context<'_>,
    ) -> Result<Side> {
        let mut side = Side { changes: Vec::new(), without_key: BTreeMap::new() };
        let input = match late {
            Some(late) if context.before != Watermark::NONE => {
                let reject = |rows: Rows| {
                    let times = Arc::clone(rows.batch.column(late.column));
                    reject_late(context.before, &times, late.after_ms, rows, context.rejected)
                };
                input.into_iter().map(reject).collect::<Result<Vec<_>>>()?
            }
            _ => input,
        };
        let keyed = each(&input, context.rejected, |rows| Ok((rows.clone(), evaluate_all(on, rows)?)))?;
        side.changes.reserve(keyed.iter().map(|(rows, _)| rows.len()).sum());
        for (rows, keys) in keyed {
            let size = 1 + codec::rows_size_guess(&keys) + codec::rows_size_guess(rows.batch.columns());
            let mut encoded: Vec<Vec<u8>> = (0..rows.len()).map(|_| Vec::with_capacity(size)).collect();
            encoded.iter_mut().for_each(|bytes| bytes.push(tag));
            codec::append_rows(&keys, &mut encoded).map_err(external)?;
            let row_ats: Vec<usize> = encoded.iter().map(Vec::len).collect();
            codec::append_rows(rows.batch.columns(), &mut encoded).map_err(external)?;
            let ends = closing.map(|closing| millis(rows.batch.column(closing.column), true)).transpose()?;
            for (index, (stored, row_at)) in encoded.into_iter().zip(row_ats).enumerate() {
                let weight = rows.weight(index);
                if keys.iter().any(|key| key.is_null(index)) {
                    *side.without_key.entry(stored[row_at..].to_vec()).or_default() += weight;
                    continue;
                }
                let end = ends.as_ref().filter(|ends| ends.is_valid(index)).map(|ends| ends.value(index));
                let expiry = end.zip(closing).map(|(end, closing)| end.saturating_add(closing.after_ms));
                side.changes.push(Change { stored, row_at, weight, expiry });
            }
        }
        side.without_key.retain(|_, weight| *weight != 0);
        sort_by_bytes(&mut side.changes, |change| &change.stored);
        side.changes.dedup_by(|next, kept| {
            let is_same = next.stored == kept.stored;
            kept.weight += if is_same { next.weight } else { 0 };
            is_same
        });
        side.changes.retain(|change| change.weight != 0);
        Ok(side)
    }

    /// The changes of each key.
    fn by_key(&self) -> impl Iterator<Item = &[Change]> {
        self.changes.chunk_by(|one, other| one.key() == other.key())
    }

    /// The changes of rows that can be forgotten when the epoch ends.
    fn over_at(&self, now: Watermark) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(move |change| change.expiry.is_some_and(|expiry| now.has_passed(expiry)))
    }

    /// Adds the changes to the rows of a side whose partners are not counted.
    fn store(self, overlay: &mut Overlay<'_>) {
        for change in self.changes {
            let Change { stored, weight, expiry, .. } = change;
            overlay.update(Bytes::from(stored), |before| {
                let after = before.map_or(0, |row| weight_of(row).0) + weight;
                match expiry {
                    Some(expiry) if after != 0 => Some(numbers_row(&[after, expiry])),
                    _ => weight_row(after),
                }
            });
        }
    }
}

impl Change {
    fn key(&self) -> &[u8] {
        &self.stored[1..self.row_at]
    }

    fn row(&self) -> &[u8] {
        &self.stored[self.row_at..]
    }
}

/// Numbers as a row of the store.
fn numbers_row(numbers: &[i64]) -> Bytes {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<u8>>().into()
}

fn tagged(tag: u8, key: &[u8]) -> Vec<u8> {
    [&[tag], key].concat()
}

/// How much the partners of a left row have changed, by key and row.
#[derive(Default)]
struct Partners {
    /// Of rows that were there before.
    changed: BTreeMap<(Vec<u8>, Vec<u8>), i64>,
    /// Of rows of the epoch: all the partners they have now.
    fresh: BTreeMap<(Vec<u8>, Vec<u8>), i64>,
}

/// Byte strings one after the other, so that adding one takes no memory of its own.
#[derive(Default)]
struct Strings {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Strings {
    fn push(&mut self, string: &[u8]) {
        self.bytes.extend_from_slice(string);
        self.ends.push(self.bytes.len());
    }

    fn get(&self, place: usize) -> &[u8] {
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        &self.bytes[start..self.ends[place]]
    }

    fn all(&self) -> Vec<&[u8]> {
        (0..self.ends.len()).map(|place| self.get(place)).collect()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// Pairs on their way to the condition and to the output.
struct Pairs<'a> {
    node: &'a JoinNode,
    /// Of a LEFT join only.
    keys: Strings,
    left: Strings,
    right: Strings,
    left_weights: Vec<i64>,
    right_weights: Vec<i64>,
    is_fresh: bool,
    fresh_from: usize,
    partners: Partners,
    output: Vec<Rows>,
}

impl<'a> Pairs<'a> {
    fn new(node: &'a JoinNode) -> Self {
        Pairs {
            node,
            keys: Strings::default(),
            left: Strings::default(),
            right: Strings::default(),
            left_weights: Vec::new(),
            right_weights: Vec::new(),
            is_fresh: false,
            fresh_from: 0,
            partners: Partners::default(),
            output: Vec::new(),
        }
    }

    /// From now on the left rows are those of the epoch.
    fn begin_changed_left(&mut self) {
        self.is_fresh = true;
        self.fresh_from = self.left_weights.len();
    }

    fn add(
        &mut self,
        key: &[u8],
        left: &[u8],
        right: &[u8],
        left_weight: i64,
        right_weight: i64,
    ) -> Result<()> {
        if self.node.is_left {
            self.keys.push(key);
        }
        self.left.push(left);
        self.right.push(right);
        self.left_weights.push(left_weight);
        self.right_weights.push(right_weight);
        if self.left_weights.len() >= PAIRS_MAX { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let count = self.left_weights.len();
        if count == 0 {
            return Ok(());
        }
        let mut columns = columns_from_bytes(&self.left.all(), &self.node.left_schema)?;
        columns.extend(columns_from_bytes(&self.right.all(), &self.node.right_schema)?);
        let batch = batch_of(&self.node.schema, columns, count)?;
        let weights = self.left_weights.iter().zip(&self.right_weights).map(|(left, right)| left * right);
        let rows = Rows::changes(batch, weights.collect());
        let keep = match &self.node.filter {
            Some(filter) => super::evaluate::evaluate(filter, &rows)?.as_boolean().clone(),
            None => BooleanArray::from(vec![true; count]),
        };
        if self.node.is_left {
            let kept = (0..count).filter(|pair| keep.is_valid(*pair) && keep.value(*pair));
            for pair in kept {
                let of = match self.is_fresh && pair >= self.fresh_from {
                    true => &mut self.partners.fresh,
                    false => &mut self.partners.changed,
                };
                let row = (self.keys.get(pair).to_vec(), self.left.get(pair).to_vec());
                *of.entry(row).or_default() += self.right_weights[pair];
            }
        }
        let rows = if keep.true_count() == count { rows } else { rows.filtered(&keep)? };
        if !rows.is_empty() {
            self.output.push(rows);
        }
        self.keys.clear();
        self.left.clear();
        self.right.clear();
        self.left_weights.clear();
        self.right_weights.clear();
        self.fresh_from = 0;
        Ok(())
    }

    fn finish(mut self, output: &mut Vec<Rows>) -> Result<Partners> {
        self.flush()?;
        output.append(&mut self.output);
        Ok(self.partners)
    }
}

/// Brings the left rows of a LEFT join up to date; gives those that have lost their last partner or got their first.
fn unmatched(
    node: &JoinNode,
    left: &Side,
    partners: &Partners,
    overlay: &mut Overlay<'_>,
) -> Result<Option<Rows>> {
    let mut changed: BTreeMap<(&[u8], &[u8]), Option<&Change>> =
        partners.changed.keys().map(|(key, row)| ((key.as_slice(), row.as_slice()), None)).collect();
    let of_epoch = left.changes.iter().map(|change| ((change.key(), change.row()), Some(change)));
    changed.extend(of_epoch);
    let mut alone: Vec<(&[u8], i64)> = Vec::new();
    for ((key, row), change) in changed {
        let stored = Bytes::from([&[LEFT], key, row].concat());
        let before = overlay.base().get(&stored);
        let (old_weight, old_partners) = before.map_or((0, 0), |row| {
            let (weight, rest) = weight_of(row);
            (weight, weight_of(rest).0)
        });
        let name = (key.to_vec(), row.to_vec());
        let new_partners = match before {
            Some(_) => old_partners + partners.changed.get(&name).copied().unwrap_or_default(),
            None => partners.fresh.get(&name).copied().unwrap_or_default(),
        };
        let new_weight = old_weight + change.map_or(0, |change| change.weight);
        let was_alone = if old_partners == 0 { old_weight } else { 0 };
        let is_alone = if new_partners == 0 { new_weight } else { 0 };
        if is_alone != was_alone {
            alone.push((row, is_alone - was_alone));
        }
        let expiry = match change {
            Some(change) => change.expiry,
            None => before.and_then(|row| row.get(16..)).and_then(expiry_of),
        };
        let numbers: Vec<i64> = [new_weight, new_partners].into_iter().chain(expiry).collect();
        overlay.put(stored, (new_weight != 0).then(|| numbers_row(&numbers)));
    }
    with_nulls(node, alone)
}

/// Left rows with nulls for a right one.
fn with_nulls(node: &JoinNode, alone: Vec<(&[u8], i64)>) -> Result<Option<Rows>> {
    if alone.is_empty() {
        return Ok(None);
    }
    let (rows, weights): (Vec<&[u8]>, Vec<i64>) = alone.into_iter().unzip();
    let mut columns = columns_from_bytes(&rows, &node.left_schema)?;
    let null =
        |field: &arrow::datatypes::FieldRef| -> ArrayRef { new_null_array(field.data_type(), rows.len()) };
    columns.extend(node.right_schema.fields().iter().map(null));
    Ok(Some(Rows::changes(batch_of(&node.schema, columns, rows.len())?, weights)))
}

/// Forgets the rows that can have no new partner: those that were there, and `over` of the epoch's own.
fn forget(overlay: &mut Overlay<'_>, now: Watermark, over: Vec<Bytes>) {
    let Some(watermark) = now.0 else { return };
    let base = overlay.base();
    let mut keys: Vec<Bytes> = base.expired(watermark).cloned().chain(over).collect();
    sort_by_bytes(&mut keys, |key| key);
    keys.into_iter().for_each(|key| overlay.put(key, None));
}

/// The last of a row's numbers.
fn expiry_of(bytes: &[u8]) -> Option<i64> {
    bytes.try_into().ok().map(i64::from_be_bytes)
}
