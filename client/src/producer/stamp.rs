//! Gives a finished batch another producer id, epoch and base sequence, and the CRC that goes with them. Needed when
//! a broker has forgotten the producer: the records are compressed already and stay as they are.

use std::ops::Range;

use ottla_protocol::records::HEADER_LEN;

// Places in the layout that `ottla_protocol::records` draws.
const CRC: Range<usize> = 17..21;
const CRC_COVERS_FROM: usize = 21;
const PRODUCER_ID: Range<usize> = 43..51;
const PRODUCER_EPOCH: Range<usize> = 51..53;
const BASE_SEQUENCE: Range<usize> = 53..57;

/// Renews the producer's fields of a batch of this client's own making.
pub(super) fn patch_producer(batch: &mut [u8], producer_id: i64, producer_epoch: i16, base_sequence: i32) {
    assert!(batch.len() >= HEADER_LEN, "a batch has a header");
    batch[PRODUCER_ID].copy_from_slice(&producer_id.to_be_bytes());
    batch[PRODUCER_EPOCH].copy_from_slice(&producer_epoch.to_be_bytes());
    batch[BASE_SEQUENCE].copy_from_slice(&base_sequence.to_be_bytes());
    let crc = crc32c::crc32c(&batch[CRC_COVERS_FROM..]);
    batch[CRC].copy_from_slice(&crc.to_be_bytes());
}
