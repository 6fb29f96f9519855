//! Zigzag varints as record bodies use them (protobuf's signed encoding).

use bytes::{BufMut, BytesMut};

/// Appends `value` zigzag-encoded, 1 to 5 bytes.
pub(super) fn put_varint(out: &mut BytesMut, value: i32) {
    put_unsigned(out, u64::from(((value << 1) ^ (value >> 31)) as u32));
}

/// Appends `value` zigzag-encoded, 1 to 10 bytes.
pub(super) fn put_varlong(out: &mut BytesMut, value: i64) {
    put_unsigned(out, ((value << 1) ^ (value >> 63)) as u64);
}

fn put_unsigned(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// How many bytes [`put_varint`] takes for `value`.
pub(super) fn varint_len(value: i32) -> usize {
    unsigned_len(u64::from(((value << 1) ^ (value >> 31)) as u32))
}

/// How many bytes [`put_varlong`] takes for `value`.
pub(super) fn varlong_len(value: i64) -> usize {
    unsigned_len(((value << 1) ^ (value >> 63)) as u64)
}

fn unsigned_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Reads a varint at `*at` and moves it on. `None` when the bytes end first or the value has more than 5 bytes.
pub(super) fn get_varint(bytes: &[u8], at: &mut usize) -> Option<i32> {
    let raw = get_unsigned(bytes, at, 5)?;
    let raw = u32::try_from(raw).ok()?;
    Some(((raw >> 1) as i32) ^ -((raw & 1) as i32))
}

/// Reads a varlong at `*at` and moves it on. `None` when the bytes end first or the value has more than 10 bytes.
pub(super) fn get_varlong(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let raw = get_unsigned(bytes, at, 10)?;
    Some(((raw >> 1) as i64) ^ -((raw & 1) as i64))
}

fn get_unsigned(bytes: &[u8], at: &mut usize, len_max: usize) -> Option<u64> {
    let mut value = 0u64;
    for i in 0..len_max {
        let byte = *bytes.get(*at + i)?;
        let bits = u64::from(byte & 0x7f);
        // The tenth byte holds only the 64th bit.
        if i == 9 && bits > 1 {
            return None;
        }
        value |= bits << (7 * i);
        if byte & 0x80 == 0 {
            *at += i + 1;
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_and_their_lengths_round_trip(int in any::<i32>(), long in any::<i64>()) {
            let mut out = BytesMut::new();
            put_varint(&mut out, int);
            prop_assert_eq!(out.len(), varint_len(int));
            put_varlong(&mut out, long);
            prop_assert_eq!(out.len(), varint_len(int) + varlong_len(long));
            let mut at = 0;
            prop_assert_eq!(get_varint(&out, &mut at), Some(int));
            prop_assert_eq!(get_varlong(&out, &mut at), Some(long));
            prop_assert_eq!(at, out.len());
        }
    }

    #[test]
    fn rejects_a_varint_that_never_ends() {
        assert_eq!(get_varint(&[0xff; 6], &mut 0), None);
        assert_eq!(get_varlong(&[0xff; 11], &mut 0), None);
        assert_eq!(get_varint(&[0x80], &mut 0), None);
    }
}
