//! Building a batch from records.

use bytes::{BufMut, Bytes, BytesMut};

use super::batch::{HEADER_LEN, LOG_OVERHEAD, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, write_crc};
use super::compression::Compression;
use super::record::{ControlType, Header};
use super::varint::{put_varint, put_varlong, varint_len, varlong_len};

/// What a batch carries besides its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchOptions {
    /// Offset of the first record; a producer leaves it 0 and the broker patches it.
    pub base_offset: i64,
    /// -1 until a leader stores the batch.
    pub leader_epoch: i32,
    /// Codec of the record bytes.
    pub compression: Compression,
    /// -1 without idempotence.
    pub producer_id: i64,
    /// -1 without idempotence.
    pub producer_epoch: i16,
    /// -1 without idempotence.
    pub base_sequence: i32,
    /// Part of a transaction.
    pub transactional: bool,
    /// Holds control records.
    pub control: bool,
}

impl Default for BatchOptions {
    fn default() -> BatchOptions {
        BatchOptions {
            base_offset: 0,
            leader_epoch: -1,
            compression: Compression::None,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            base_sequence: NO_SEQUENCE,
            transactional: false,
            control: false,
        }
    }
}

/// Collects records and turns them into one batch. Record bytes are written once, in place.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    // The header's room is kept free at the front so that an uncompressed batch needs no second copy.
    buffer: BytesMut,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
    record_count: i32,
}

impl Default for BatchBuilder {
    fn default() -> BatchBuilder {
        BatchBuilder::with_capacity(1024)
    }
}

impl BatchBuilder {
    /// Starts an empty batch with room for `capacity` bytes of records.
    pub fn with_capacity(capacity: usize) -> BatchBuilder {
        let mut buffer = BytesMut::with_capacity(HEADER_LEN + capacity);
        buffer.put_bytes(0, HEADER_LEN);
        BatchBuilder { buffer, base_timestamp_ms: 0, max_timestamp_ms: i64::MIN, record_count: 0 }
    }

    /// Appends a record; its offset delta is its place in the batch.
    pub fn push(&mut self, timestamp_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header]) {
        if self.record_count == 0 {
            self.base_timestamp_ms = timestamp_ms;
        }
        self.max_timestamp_ms = self.max_timestamp_ms.max(timestamp_ms);
        let timestamp_delta = timestamp_ms.wrapping_sub(self.base_timestamp_ms);
        let offset_delta = self.record_count;
        put_record(&mut self.buffer, timestamp_delta, offset_delta, key, value, headers);
        self.record_count += 1;
    }

    /// Records so far.
    pub fn record_count(&self) -> i32 {
        self.record_count
    }

    /// Whether no record was pushed.
    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Bytes of the batch before compression, header included.
    pub fn size(&self) -> usize {
        self.buffer.len()
    }

    /// How many bytes at most the record would add.
    pub fn size_of(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header]) -> usize {
        5 + body_len(i64::MIN, i32::MIN, key, value, headers)
    }

    /// Ends the batch: compresses, writes the header and the CRC.
    pub fn build(self, options: BatchOptions) -> Bytes {
        let mut batch = match options.compression {
            Compression::None => self.buffer,
            codec => {
                let mut out = BytesMut::with_capacity(HEADER_LEN + self.buffer.len() / 2);
                out.put_bytes(0, HEADER_LEN);
                codec.compress(&self.buffer[HEADER_LEN..], &mut out);
                out
            }
        };
        let attributes = options.compression.attribute_bits()
            | if options.transactional { 1 << 4 } else { 0 }
            | if options.control { 1 << 5 } else { 0 };
        let batch_length = (batch.len() - LOG_OVERHEAD) as i32;
        let mut header = &mut batch[..HEADER_LEN];
        header.put_i64(options.base_offset);
        header.put_i32(batch_length);
        header.put_i32(options.leader_epoch);
        header.put_i8(2);
        header.put_u32(0);
        header.put_i16(attributes);
        header.put_i32((self.record_count - 1).max(0));
        header.put_i64(self.base_timestamp_ms);
        header.put_i64(if self.record_count == 0 { -1 } else { self.max_timestamp_ms });
        header.put_i64(options.producer_id);
        header.put_i16(options.producer_epoch);
        header.put_i32(options.base_sequence);
        header.put_i32(self.record_count);
        write_crc(&mut batch);
        batch.freeze()
    }

    /// A batch of one control record, such as a transaction marker or a leader change.
    pub fn control(timestamp_ms: i64, kind: ControlType, value: &[u8], options: BatchOptions) -> Bytes {
        let mut builder = BatchBuilder::with_capacity(value.len() + 32);
        let mut key = [0u8; 4];
        key[2..].copy_from_slice(&kind.code().to_be_bytes());
        builder.push(timestamp_ms, Some(&key), Some(value), &[]);
        builder.build(BatchOptions { control: true, ..options })
    }
}

/// Writes one record as it lies in a batch.
pub(super) fn put_record(
    out: &mut BytesMut,
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[Header],
) {
    put_varint(out, body_len(timestamp_delta, offset_delta, key, value, headers) as i32);
    out.put_u8(0);
    put_varlong(out, timestamp_delta);
    put_varint(out, offset_delta);
    put_nullable(out, key);
    put_nullable(out, value);
    put_varint(out, headers.len() as i32);
    for header in headers {
        put_varint(out, header.key.len() as i32);
        out.put_slice(&header.key);
        put_nullable(out, header.value.as_deref());
    }
}

fn nullable_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint_len(bytes.len() as i32) + bytes.len())
}

fn put_nullable(out: &mut BytesMut, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(out, -1),
        Some(bytes) => {
            put_varint(out, bytes.len() as i32);
            out.put_slice(bytes);
        }
    }
}

fn body_len(
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[Header],
) -> usize {
    let headers_len: usize = headers
        .iter()
        .map(|header| {
            varint_len(header.key.len() as i32) + header.key.len() + nullable_len(header.value.as_deref())
        })
        .sum();
    1 + varlong_len(timestamp_delta)
        + varint_len(offset_delta)
        + nullable_len(key)
        + nullable_len(value)
        + varint_len(headers.len() as i32)
        + headers_len
}
