//! What a record of the load says of itself: who sent it as which, and bytes that follow from that, so that a damaged or
//! mixed-up record is known by sight.

use bytes::Bytes;

/// Which record of which producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub producer: u32,
    pub partition: i32,
    /// Counts the producer's records of the partition, from 0.
    pub number: u64,
}

/// Of the stamp itself.
const STAMP_LEN: usize = 16;

impl Stamp {
    /// The record's value, with so many bytes beside the stamp.
    pub fn value(self, filler_len: usize) -> Bytes {
        let mut value = Vec::with_capacity(STAMP_LEN + filler_len);
        value.extend_from_slice(&self.producer.to_be_bytes());
        value.extend_from_slice(&self.partition.to_be_bytes());
        value.extend_from_slice(&self.number.to_be_bytes());
        value.extend(self.filler().take(filler_len));
        Bytes::from(value)
    }

    /// Reads a value; `None` where it is not one of ours, whole.
    pub fn of(value: &[u8]) -> Option<Stamp> {
        let (head, filler) = value.split_at_checked(STAMP_LEN)?;
        let stamp = Stamp {
            producer: u32::from_be_bytes(head.get(..4)?.try_into().ok()?),
            partition: i32::from_be_bytes(head.get(4..8)?.try_into().ok()?),
            number: u64::from_be_bytes(head.get(8..)?.try_into().ok()?),
        };
        stamp.filler().zip(filler).all(|(expected, found)| expected == *found).then_some(stamp)
    }

    /// Bytes that differ from record to record and compress a little.
    fn filler(self) -> impl Iterator<Item = u8> {
        let mut state = self.number ^ (u64::from(self.producer) << 40) ^ 0x9e37_79b9_7f4a_7c15;
        std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8 & 0x3f
        })
    }
}
