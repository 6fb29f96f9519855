//! A small stable hash for names and fingerprints that are stored; not for anything hostile.

const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// FNV-1a of 64 bits, as sixteen hex digits.
pub(crate) fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    format!("{:016x}", fingerprint_bits(parts))
}

/// FNV-1a of 64 bits.
pub(crate) fn fingerprint_bits<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hash = OFFSET_BASIS;
    for byte in parts.into_iter().flatten() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_published_function() {
        // Test vectors of the authors (Fowler, Noll, Vo).
        assert_eq!(fingerprint([]), "cbf29ce484222325");
        assert_eq!(fingerprint([&b"foo"[..], b"bar"]), "85944171f73967e8");
    }
}
