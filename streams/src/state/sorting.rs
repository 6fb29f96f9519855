//! Keys in order, many at a time.

use std::cmp::Ordering;

/// Sorts by bytes. Encoded rows begin alike and lie all over memory, so what follows their common beginning is compared as
/// numbers first, and the bytes themselves only where these are equal.
pub fn sort_by_bytes<T>(items: &mut Vec<T>, bytes: impl Fn(&T) -> &[u8]) {
    let skipped = common_beginning(items, &bytes);
    let mut numbered: Vec<(u128, T)> =
        items.drain(..).map(|item| (number_at(bytes(&item), skipped), item)).collect();
    numbered.sort_unstable_by(|(number, item), (other_number, other)| match number.cmp(other_number) {
        Ordering::Equal => bytes(item).cmp(bytes(other)),
        order => order,
    });
    items.extend(numbered.into_iter().map(|(_, item)| item));
}

/// How many bytes at the beginning all have in common.
fn common_beginning<T>(items: &[T], bytes: impl Fn(&T) -> &[u8]) -> usize {
    let Some((first, others)) = items.split_first() else { return 0 };
    let first = bytes(first);
    others.iter().fold(first.len(), |length, item| {
        first[..length].iter().zip(bytes(item)).take_while(|(one, other)| one == other).count()
    })
}

/// The sixteen bytes from `skipped` on as a number; what ends before comes first, as it does in the order of bytes, or is
/// equal to what goes on with zeros.
fn number_at(bytes: &[u8], skipped: usize) -> u128 {
    let rest = bytes.get(skipped..).unwrap_or_default();
    match rest.first_chunk::<16>() {
        Some(chunk) => u128::from_be_bytes(*chunk),
        None => {
            let mut chunk = [0; 16];
            chunk[..rest.len()].copy_from_slice(rest);
            u128::from_be_bytes(chunk)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sorts_as_the_bytes_compare(
            beginning in proptest::collection::vec(any::<u8>(), 0..30),
            // Few different bytes, so that many begin alike and some end where others go on.
            ends in proptest::collection::vec(proptest::collection::vec(0..3u8, 0..20), 0..40),
        ) {
            let mut items: Vec<Vec<u8>> = ends.iter().map(|end| [beginning.as_slice(), end].concat()).collect();
            let mut expected = items.clone();
            expected.sort();
            sort_by_bytes(&mut items, |item| item);
            prop_assert_eq!(items, expected);
        }
    }
}
