//! Which partition a record goes to: by its key as Kafka's Java client does, or sticky without one. Pure but for the
//! random choice, which the caller supplies.

/// Bytes a topic's keyless records go to one partition before the next is chosen (KIP-794 with its default batch).
const STICKY_BYTES: usize = 16 << 10;

/// Kafka's variant of the 32-bit murmur2 hash, seed 0x9747b28c.
pub fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash: u32 = 0x9747_b28c ^ (data.len() as u32);
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = chunk.iter().rev().fold(0u32, |word, byte| (word << 8) | u32::from(*byte));
        k = k.wrapping_mul(M);
        k ^= k >> 24;
        k = k.wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        hash ^= rest.iter().rev().fold(0u32, |word, byte| (word << 8) | u32::from(*byte));
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The partition of a key, as every Kafka client with the default partitioner chooses it.
pub fn partition_of_key(key: &[u8], partitions: i32) -> i32 {
    let positive = murmur2(key) & 0x7fff_ffff;
    (positive % partitions.max(1) as u32) as i32
}

/// Keeps keyless records together, so that their batches are full, and moves on so that all partitions get some.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sticky {
    current: Option<i32>,
    bytes: usize,
}

impl Sticky {
    /// The partition for the next keyless record. `random` gives a number below its argument.
    pub(crate) fn partition(&mut self, partitions: i32, random: impl FnOnce(u32) -> u32) -> i32 {
        match self.current {
            Some(current) if self.bytes < STICKY_BYTES && current < partitions => current,
            previous => {
                let partitions = partitions.max(1) as u32;
                let next = match previous {
                    // Any other one, so that a move is a move.
                    Some(previous) if partitions > 1 => {
                        (previous as u32 % partitions + 1 + random(partitions - 1)) % partitions
                    }
                    _ => random(partitions),
                } as i32;
                *self = Sticky { current: Some(next), bytes: 0 };
                next
            }
        }
    }

    /// Counts bytes that went to the current partition.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_java_does() {
        // Expectations of Kafka's own UtilsTest.
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
    }

    #[test]
    fn keyless_records_stick_until_enough_bytes_and_then_move() {
        let mut sticky = Sticky::default();
        let first = sticky.partition(3, |_| 0);
        sticky.add(STICKY_BYTES - 1);
        assert_eq!(sticky.partition(3, |_| unreachable!("still sticking")), first);
        sticky.add(1);
        for random in 0..2 {
            assert_ne!(sticky.clone().partition(3, |_| random), first);
        }
        assert_eq!(Sticky { current: Some(0), bytes: STICKY_BYTES }.partition(1, |_| 0), 0);
    }
}
