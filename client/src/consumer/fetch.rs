//! From the bytes of a fetch answer to records. Pure.

use std::collections::BTreeSet;

use bytes::Bytes;
use ottla_protocol::messages::k01_fetch::AbortedTransaction;
use ottla_protocol::records::{Batch, BatchError, Batches, ControlType};

use crate::record::ConsumerRecord;

/// What to check and to leave out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadOptions {
    pub(crate) check_crcs: bool,
    pub(crate) decompressed_bytes_max: usize,
    pub(crate) read_committed: bool,
}

/// Records of one partition, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chunk {
    pub(crate) records: Vec<ConsumerRecord>,
    /// Where to read on. Beyond the last record when what follows it is not for consumers.
    pub(crate) next_offset: i64,
    /// Leader epoch of the last batch; -1 when there was none.
    pub(crate) leader_epoch: i32,
}

/// Why nothing could be read, and from which offset on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ReadError {
    pub(crate) offset: i64,
    pub(crate) reason: BatchError,
}

/// Reads the records from `position` on. Batches before it, control batches, and with `read_committed` those of
/// aborted transactions are left out. Damage behind good records is found by the next read, when it is in front.
pub(crate) fn read_records(
    bytes: Bytes,
    position: i64,
    aborted: &[AbortedTransaction],
    options: ReadOptions,
) -> Result<Chunk, ReadError> {
    let mut chunk = Chunk { records: Vec::new(), next_offset: position, leader_epoch: -1 };
    let is_empty = bytes.is_empty();
    let available = bytes.len();
    let mut batches = Batches::new(bytes);
    let mut transactions = Transactions::new(aborted);
    let mut any = false;
    for batch in &mut batches {
        any = true;
        let read = batch.and_then(|batch| read_batch(&batch, &mut chunk, &mut transactions, options));
        if let Err(reason) = read {
            if chunk.next_offset > position {
                return Ok(chunk);
            }
            return Err(ReadError { offset: position, reason });
        }
    }
    if !any && !is_empty {
        // Since KIP-74 the first batch always comes whole.
        let reason = BatchError::Incomplete { needed: available + 1, available };
        return Err(ReadError { offset: position, reason });
    }
    Ok(chunk)
}

fn read_batch(
    batch: &Batch,
    chunk: &mut Chunk,
    transactions: &mut Transactions<'_>,
    options: ReadOptions,
) -> Result<(), BatchError> {
    let header = &batch.header;
    if header.next_offset() <= chunk.next_offset {
        return Ok(());
    }
    if options.check_crcs {
        batch.check_crc()?;
    }
    let is_aborted =
        options.read_committed && transactions.is_aborted(batch, options.decompressed_bytes_max)?;
    if !header.is_control() && !is_aborted {
        let records = batch.records(options.decompressed_bytes_max)?;
        let count_before = chunk.records.len();
        chunk.records.reserve(records.size_hint().1.unwrap_or(0));
        for record in records {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    // A batch is read as a whole or not at all.
                    chunk.records.truncate(count_before);
                    return Err(error);
                }
            };
            if record.offset < chunk.next_offset {
                continue;
            }
            chunk.records.push(ConsumerRecord {
                offset: record.offset,
                timestamp_ms: record.timestamp_ms,
                key: record.key,
                value: record.value,
                headers: record.headers,
                leader_epoch: header.leader_epoch,
            });
        }
    }
    chunk.next_offset = header.next_offset();
    chunk.leader_epoch = header.leader_epoch;
    Ok(())
}

/// Follows which producers are inside an aborted transaction, batch by batch (KIP-98).
struct Transactions<'a> {
    /// Not begun yet, the latest first.
    ahead: Vec<&'a AbortedTransaction>,
    producers: BTreeSet<i64>,
}

impl<'a> Transactions<'a> {
    fn new(aborted: &'a [AbortedTransaction]) -> Transactions<'a> {
        let mut ahead: Vec<&AbortedTransaction> = aborted.iter().collect();
        ahead.sort_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
        Transactions { ahead, producers: BTreeSet::new() }
    }

    fn is_aborted(&mut self, batch: &Batch, decompressed_bytes_max: usize) -> Result<bool, BatchError> {
        let header = &batch.header;
        while let Some(begun) = self.ahead.pop_if(|ahead| ahead.first_offset <= header.last_offset()) {
            self.producers.insert(begun.producer_id);
        }
        if header.is_control() {
            let marker = batch.records(decompressed_bytes_max)?.next().transpose()?;
            let kind = marker.and_then(|marker| ControlType::from_key(&marker.key?));
            if kind == Some(ControlType::Abort) {
                self.producers.remove(&header.producer_id);
            }
        }
        Ok(header.is_transactional() && self.producers.contains(&header.producer_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ottla_protocol::records::{BatchBuilder, BatchOptions, Compression};
    use proptest::collection::vec;
    use proptest::prelude::*;

    const OPTIONS: ReadOptions =
        ReadOptions { check_crcs: true, decompressed_bytes_max: 1 << 20, read_committed: true };

    fn batch(base_offset: i64, count: i64, options: BatchOptions) -> Vec<u8> {
        let mut builder = BatchBuilder::default();
        for offset in base_offset..base_offset + count {
            builder.push(offset * 10, None, Some(offset.to_string().as_bytes()), &[]);
        }
        builder.build(BatchOptions { base_offset, leader_epoch: 4, ..options }).to_vec()
    }

    fn plain(base_offset: i64, count: i64) -> Vec<u8> {
        batch(base_offset, count, BatchOptions { compression: Compression::Lz4, ..BatchOptions::default() })
    }

    fn offsets(chunk: &Chunk) -> Vec<i64> {
        chunk.records.iter().map(|record| record.offset).collect()
    }

    #[test]
    fn a_position_inside_a_batch_skips_the_records_before_it() {
        let bytes = [plain(0, 3), plain(3, 4), plain(7, 2)].concat();
        let chunk = read_records(bytes.into(), 5, &[], OPTIONS).unwrap();
        assert_eq!(offsets(&chunk), [5, 6, 7, 8]);
        assert_eq!((chunk.next_offset, chunk.leader_epoch), (9, 4));
        assert_eq!(chunk.records[0].timestamp_ms, 50);
        assert_eq!(chunk.records[0].value.as_deref(), Some(&b"5"[..]));
    }

    #[test]
    fn a_control_batch_moves_the_position_and_gives_no_record() {
        let options =
            BatchOptions { base_offset: 3, transactional: true, producer_id: 1, ..Default::default() };
        let marker = BatchBuilder::control(0, ControlType::Commit, b"\0\0\0\0\0\0", options);
        let bytes = [plain(0, 3), marker.to_vec()].concat();
        let chunk = read_records(bytes.into(), 3, &[], OPTIONS).unwrap();
        assert_eq!((offsets(&chunk), chunk.next_offset), (vec![], 4));
    }

    #[test]
    fn read_committed_leaves_out_aborted_transactions_and_no_others() {
        let of = |producer_id| BatchOptions { transactional: true, producer_id, ..Default::default() };
        let abort = |base_offset, producer_id| {
            let options = BatchOptions { base_offset, ..of(producer_id) };
            BatchBuilder::control(0, ControlType::Abort, b"\0\0\0\0\0\0", options).to_vec()
        };
        let bytes: Bytes =
            [batch(0, 2, of(1)), batch(2, 1, of(2)), plain(3, 1), abort(4, 1), batch(5, 1, of(1))]
                .concat()
                .into();
        let aborted = [AbortedTransaction { producer_id: 1, first_offset: 0 }];
        assert_eq!(offsets(&read_records(bytes.clone(), 0, &aborted, OPTIONS).unwrap()), [2, 3, 5]);
        let uncommitted = ReadOptions { read_committed: false, ..OPTIONS };
        assert_eq!(offsets(&read_records(bytes, 0, &aborted, uncommitted).unwrap()), [0, 1, 2, 3, 5]);
    }

    #[test]
    fn damage_is_told_once_the_good_records_before_it_are_read() {
        let mut bytes = [plain(0, 3), plain(3, 4)].concat();
        *bytes.last_mut().unwrap() ^= 1;
        let bytes = Bytes::from(bytes);
        let chunk = read_records(bytes.clone(), 0, &[], OPTIONS).unwrap();
        assert_eq!((offsets(&chunk), chunk.next_offset), (vec![0, 1, 2], 3));
        let error = read_records(bytes, 3, &[], OPTIONS).unwrap_err();
        assert_eq!(error.offset, 3);
        assert!(matches!(error.reason, BatchError::BadCrc { .. }));
    }

    #[test]
    fn a_batch_cut_off_at_the_end_is_left_for_the_next_fetch() {
        let mut bytes = [plain(0, 3), plain(3, 4)].concat();
        bytes.truncate(bytes.len() - 1);
        assert_eq!(read_records(bytes.into(), 0, &[], OPTIONS).unwrap().next_offset, 3);
        let alone = plain(0, 3);
        let error = read_records(Bytes::from(alone).slice(..70), 0, &[], OPTIONS).unwrap_err();
        assert!(matches!(error.reason, BatchError::Incomplete { .. }));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200), position in any::<i64>(), at in 0usize..200) {
            let _ = read_records(Bytes::from(bytes.clone()), position, &[], OPTIONS);
            let mut damaged = [plain(0, 3), plain(3, 4)].concat();
            if let (Some(byte), Some(to)) = (damaged.get_mut(at), bytes.first()) {
                *byte = *to;
            }
            let _ = read_records(damaged.into(), position.rem_euclid(9), &[], OPTIONS);
        }
    }
}
