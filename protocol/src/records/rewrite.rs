//! Batches made from batches: fewer records (compaction) or another codec (`compression.type`). Offsets, timestamps and
//! what belongs to the producer stay as they are.

use bytes::{BufMut, Bytes, BytesMut};

use super::batch::{
    ATTRIBUTES_AT, Batch, BatchError, COMPRESSION_BITS, DELETE_HORIZON_BIT, HEADER_LEN, LOG_OVERHEAD,
    TimestampType, write_crc,
};
use super::builder::put_record;
use super::compression::Compression;
use super::record::RecordView;

impl Batch {
    /// The batch with the records that `keep` wants, which may be none. With a `delete_horizon_ms` the batch says from
    /// when on its tombstones may go (KIP-534). At most `decompressed_bytes_max` bytes are decompressed.
    pub fn retain(
        &self,
        decompressed_bytes_max: usize,
        delete_horizon_ms: Option<i64>,
        mut keep: impl FnMut(&RecordView) -> bool,
    ) -> Result<Bytes, BatchError> {
        let base_timestamp_ms = delete_horizon_ms.unwrap_or(self.header.base_timestamp_ms);
        let mut body = BytesMut::with_capacity(self.bytes.len());
        let (mut count, mut max_timestamp_ms) = (0, i64::MIN);
        for record in self.records(decompressed_bytes_max)? {
            let record = record?;
            if !keep(&record) {
                continue;
            }
            count += 1;
            max_timestamp_ms = max_timestamp_ms.max(record.timestamp_ms);
            put_record(
                &mut body,
                record.timestamp_ms.wrapping_sub(base_timestamp_ms),
                (record.offset - self.header.base_offset) as i32,
                record.key.as_deref(),
                record.value.as_deref(),
                &record.headers,
            );
        }
        let stamped = self.header.timestamp_type() == TimestampType::LogAppendTime;
        if count == 0 || stamped {
            max_timestamp_ms = self.header.max_timestamp_ms;
        }
        let horizon_bit = if delete_horizon_ms.is_some() { DELETE_HORIZON_BIT } else { 0 };
        let mut batch = self.with_body(&body, self.header.compression()?, horizon_bit);
        batch[27..35].copy_from_slice(&base_timestamp_ms.to_be_bytes());
        batch[35..43].copy_from_slice(&max_timestamp_ms.to_be_bytes());
        batch[57..61].copy_from_slice(&i32::to_be_bytes(count));
        write_crc(&mut batch);
        Ok(batch.freeze())
    }

    /// The batch with its records in another codec.
    pub fn recompress(&self, codec: Compression, decompressed_bytes_max: usize) -> Result<Bytes, BatchError> {
        let body = self.bytes.slice(HEADER_LEN..);
        let body = self.header.compression()?.decompress(body, decompressed_bytes_max)?;
        let mut batch = self.with_body(&body, codec, 0);
        write_crc(&mut batch);
        Ok(batch.freeze())
    }

    /// The header with right length and codec before a compressed body; counts and CRC are left to the caller.
    fn with_body(&self, body: &[u8], codec: Compression, more_attributes: i16) -> BytesMut {
        let mut batch = BytesMut::with_capacity(HEADER_LEN + body.len());
        batch.extend_from_slice(self.bytes.get(..HEADER_LEN).unwrap_or_default());
        match codec {
            Compression::None => batch.put_slice(body),
            codec => codec.compress(body, &mut batch),
        }
        let length = (batch.len() - LOG_OVERHEAD) as i32;
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        let attributes =
            self.header.attributes & !COMPRESSION_BITS | codec.attribute_bits() | more_attributes;
        batch[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&attributes.to_be_bytes());
        batch
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{BatchBuilder, BatchOptions};
    use super::*;

    const MAX: usize = 1 << 20;

    fn batch(values: &[Option<Vec<u8>>], compression: Compression) -> Batch {
        let mut builder = BatchBuilder::default();
        for (i, value) in values.iter().enumerate() {
            builder.push(1000 - i as i64, Some(&[i as u8]), value.as_deref(), &[]);
        }
        let options = BatchOptions {
            base_offset: 70,
            compression,
            producer_id: 5,
            producer_epoch: 1,
            base_sequence: 9,
            ..BatchOptions::default()
        };
        Batch::parse(&builder.build(options)).unwrap()
    }

    fn records(batch: &Batch) -> Vec<RecordView> {
        batch.records(MAX).unwrap().map(Result::unwrap).collect()
    }

    fn codec() -> impl Strategy<Value = Compression> {
        prop_oneof![
            Just(Compression::None),
            Just(Compression::Gzip),
            Just(Compression::Snappy),
            Just(Compression::Lz4),
            Just(Compression::Zstd),
        ]
    }

    proptest! {
        #[test]
        fn what_is_kept_is_kept_as_it_was(
            values in proptest::collection::vec(proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9)), 1..20),
            kept in any::<u32>(),
            horizon in proptest::option::of(0i64..5000),
            codec in codec(),
        ) {
            let before = batch(&values, codec);
            let keep = |record: &RecordView| kept >> (record.offset - 70) & 1 == 1;
            let after = Batch::parse(&before.retain(MAX, horizon, keep).unwrap()).unwrap();
            after.check_crc().unwrap();
            let expected: Vec<RecordView> = records(&before).into_iter().filter(keep).collect();
            prop_assert_eq!(after.header.record_count as usize, expected.len());
            prop_assert_eq!(after.header.last_offset(), before.header.last_offset());
            prop_assert_eq!(after.header.last_sequence(), before.header.last_sequence());
            prop_assert_eq!(after.header.has_delete_horizon(), horizon.is_some());
            let newest = expected.iter().map(|record| record.timestamp_ms).max();
            prop_assert_eq!(after.header.max_timestamp_ms, newest.unwrap_or(1000));
            prop_assert_eq!(records(&after), expected);
        }

        #[test]
        fn another_codec_changes_no_record(
            values in proptest::collection::vec(proptest::option::of(proptest::collection::vec(any::<u8>(), 0..99)), 1..20),
            from in codec(), to in codec(),
        ) {
            let before = batch(&values, from);
            let after = Batch::parse(&before.recompress(to, MAX).unwrap()).unwrap();
            after.check_crc().unwrap();
            prop_assert_eq!(after.header.compression().unwrap(), to);
            prop_assert_eq!(records(&after), records(&before));
        }
    }
}
