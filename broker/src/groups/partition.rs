//! Which partition of `__consumer_offsets` a group lives in.

/// Kafka's rule, which clients and tools rely on: Java's `String.hashCode` of the group id, its sign bit cleared,
/// modulo the number of partitions. 0 when `partitions` is not positive.
pub fn partition_for(group_id: &str, partitions: i32) -> i32 {
    if partitions <= 0 {
        return 0;
    }
    // Java hashes UTF-16 units, so a character outside the basic plane counts as two.
    let hash =
        group_id.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // `Utils.abs` clears the sign bit; it is not the absolute value.
    (hash & i32::MAX) % partitions
}

#[cfg(test)]
mod tests {
    use super::partition_for;

    #[test]
    fn agrees_with_java_string_hash_code() {
        // "hello".hashCode() = 99162322, "polygenelubricants".hashCode() = Integer.MIN_VALUE.
        assert_eq!(partition_for("hello", i32::MAX), 99_162_322);
        assert_eq!(partition_for("polygenelubricants", 50), 0);
        assert_eq!(partition_for("", 50), 0);
    }

    #[test]
    fn counts_a_character_outside_the_basic_plane_as_two_units() {
        // U+1F600 is D83D DE00: 55357 * 31 + 56832.
        assert_eq!(partition_for("\u{1F600}", i32::MAX), 55_357 * 31 + 56_832);
    }

    #[test]
    fn stays_within_the_partitions() {
        for partitions in 1..60 {
            for group in 0..200 {
                let partition = partition_for(&format!("group-{group}"), partitions);
                assert!((0..partitions).contains(&partition));
            }
        }
    }
}
