//! Sums of floats without rounding, so that what is taken back is as if it had never been there, and no order of rows and
//! no cut into epochs changes the last bit of a sum.
//!
//! Every finite double is a whole number of the least double, 2⁻¹⁰⁷⁴. A sum is kept as such a number, in limbs of 32 bits,
//! of which only the stretch that is not zero is stored. It is rounded once, when it is read, to the nearest double.
//!
//! ```text
//! value = (limbs[0] + limbs[1]·2³² + limbs[2]·2⁶⁴ + …) · 2^(32·low) · 2⁻¹⁰⁷⁴
//! ```

const LIMB_BITS: u32 = 32;
const LIMB: i64 = 1 << LIMB_BITS;
/// Additions after which carries must be passed on, long before a limb could overflow.
const PENDING_MAX: u32 = 1 << 24;
const MANTISSA_BITS: u32 = 52;
const EXPONENT_SPECIAL: u64 = 0x7FF;
/// Limbs that any sum of fewer than 2⁶³ doubles can have.
const LIMBS_MAX: usize = 70;

/// A sum that rounds only when it is read.
#[derive(Debug, Clone, Default)]
pub(super) struct ExactSum {
    /// The place of the first limb.
    low: usize,
    limbs: Vec<i64>,
    pending: u32,
    /// What is no number counts apart: it can be taken back, too.
    nans: i64,
    infinities: i64,
    negative_infinities: i64,
}

impl ExactSum {
    /// Adds `value` `weight` times; a negative weight takes it back.
    pub(super) fn add(&mut self, value: f64, weight: i64) {
        let bits = value.to_bits();
        let exponent = (bits >> MANTISSA_BITS) & EXPONENT_SPECIAL;
        if exponent == EXPONENT_SPECIAL {
            let counter = match (value.is_nan(), value > 0.0) {
                (true, _) => &mut self.nans,
                (false, true) => &mut self.infinities,
                (false, false) => &mut self.negative_infinities,
            };
            *counter += weight;
            return;
        }
        let fraction = bits & ((1 << MANTISSA_BITS) - 1);
        // Subnormal numbers have no hidden bit, and the exponent of the least normal one.
        let (mantissa, shift) = match exponent {
            0 => (fraction, 0),
            _ => (fraction | (1 << MANTISSA_BITS), exponent as u32 - 1),
        };
        if mantissa == 0 || weight == 0 {
            return;
        }
        let is_negative = value.is_sign_negative() != (weight < 0);
        let count = weight.unsigned_abs();
        // 53 bits by 32 bits, moved by up to 31 bits, fit into 128 bits.
        for (half, place) in [(count & 0xFFFF_FFFF, 0), (count >> LIMB_BITS, 1)] {
            if half != 0 {
                let product = (u128::from(mantissa) * u128::from(half)) << (shift % LIMB_BITS);
                self.add_at((shift / LIMB_BITS) as usize + place, product, is_negative);
            }
        }
    }

    fn add_at(&mut self, place: usize, mut product: u128, is_negative: bool) {
        let mut limb = place;
        while product != 0 {
            let part = (product & 0xFFFF_FFFF) as i64;
            *self.limb(limb) += if is_negative { -part } else { part };
            product >>= LIMB_BITS;
            limb += 1;
        }
        self.pending += 1;
        if self.pending >= PENDING_MAX {
            self.carry();
        }
    }

    fn limb(&mut self, place: usize) -> &mut i64 {
        if self.limbs.is_empty() {
            self.low = place;
        }
        if place < self.low {
            self.limbs.splice(0..0, std::iter::repeat_n(0, self.low - place));
            self.low = place;
        }
        let index = place - self.low;
        if index >= self.limbs.len() {
            self.limbs.resize(index + 1, 0);
        }
        &mut self.limbs[index]
    }

    /// Brings every limb but the last into 0..2³²; the last one has the sign.
    fn carry(&mut self) {
        self.pending = 0;
        let mut carry = 0;
        for limb in &mut self.limbs {
            let sum = *limb + carry;
            *limb = sum.rem_euclid(LIMB);
            carry = sum.div_euclid(LIMB);
        }
        while carry != 0 && carry != -1 {
            self.limbs.push(carry.rem_euclid(LIMB));
            carry = carry.div_euclid(LIMB);
        }
        if carry == -1 {
            match self.limbs.last_mut() {
                Some(last) => *last -= LIMB,
                None => self.limbs.push(-1),
            }
        }
    }

    /// The sign and the limbs of the absolute value, without zeros at either end.
    fn magnitude(&self) -> (bool, usize, Vec<u32>) {
        let mut sum = self.clone();
        sum.carry();
        let is_negative = sum.limbs.last().is_some_and(|last| *last < 0);
        if is_negative {
            sum.limbs.iter_mut().for_each(|limb| *limb = -*limb);
            sum.carry();
        }
        let mut limbs: Vec<u32> = sum.limbs.iter().map(|limb| *limb as u32).collect();
        while limbs.last() == Some(&0) {
            limbs.pop();
        }
        let zeros = limbs.iter().take_while(|limb| **limb == 0).count();
        limbs.drain(..zeros);
        let low = if limbs.is_empty() { 0 } else { sum.low + zeros };
        (is_negative && !limbs.is_empty(), low, limbs)
    }

    /// The double that is nearest to the sum, ties to even.
    pub(super) fn value(&self) -> f64 {
        if self.nans > 0 || (self.infinities > 0 && self.negative_infinities > 0) {
            return f64::NAN;
        }
        if self.infinities > 0 {
            return f64::INFINITY;
        }
        if self.negative_infinities > 0 {
            return f64::NEG_INFINITY;
        }
        let (is_negative, low, limbs) = self.magnitude();
        let value = rounded(low, &limbs);
        if is_negative { -value } else { value }
    }

    /// The same for the same sum, however it came about.
    pub(super) fn encode(&self) -> Vec<u8> {
        let (is_negative, low, limbs) = self.magnitude();
        let mut bytes = Vec::with_capacity(3 + limbs.len() * 4);
        let has_specials = self.nans != 0 || self.infinities != 0 || self.negative_infinities != 0;
        bytes.push(u8::from(is_negative) | (u8::from(has_specials) << 1));
        if has_specials {
            for count in [self.nans, self.infinities, self.negative_infinities] {
                bytes.extend_from_slice(&count.to_be_bytes());
            }
        }
        bytes.push(low as u8);
        limbs.iter().for_each(|limb| bytes.extend_from_slice(&limb.to_be_bytes()));
        bytes
    }

    /// The inverse of [`ExactSum::encode`]; `None` for other bytes.
    pub(super) fn decode(bytes: &[u8]) -> Option<ExactSum> {
        let (flags, mut rest) = bytes.split_first()?;
        let mut sum = ExactSum::default();
        if flags & 2 != 0 {
            for counter in [&mut sum.nans, &mut sum.infinities, &mut sum.negative_infinities] {
                let (count, after) = rest.split_first_chunk::<8>()?;
                *counter = i64::from_be_bytes(*count);
                rest = after;
            }
        }
        let (low, limbs) = rest.split_first()?;
        if limbs.len() % 4 != 0 || usize::from(*low) + limbs.len() / 4 > LIMBS_MAX {
            return None;
        }
        sum.low = usize::from(*low);
        let sign = if flags & 1 != 0 { -1 } else { 1 };
        let limb =
            |bytes: &[u8]| bytes.try_into().map(|bytes| sign * i64::from(u32::from_be_bytes(bytes))).ok();
        sum.limbs = limbs.chunks_exact(4).map(limb).collect::<Option<Vec<_>>>()?;
        Some(sum)
    }

    /// Adds another sum.
    pub(super) fn merge(&mut self, other: &ExactSum) {
        self.carry();
        let mut other = other.clone();
        other.carry();
        for (index, limb) in other.limbs.iter().enumerate() {
            *self.limb(other.low + index) += *limb;
        }
        self.carry();
        self.nans += other.nans;
        self.infinities += other.infinities;
        self.negative_infinities += other.negative_infinities;
    }
}

/// The nearest double to whole limbs of 2⁻¹⁰⁷⁴; the last limb is not zero.
fn rounded(low: usize, limbs: &[u32]) -> f64 {
    let Some(last) = limbs.last() else { return 0.0 };
    let bit = |place: usize| {
        let (limb, bit) = (place / LIMB_BITS as usize, place % LIMB_BITS as usize);
        limb.checked_sub(low).and_then(|index| limbs.get(index)).is_some_and(|limb| limb >> bit & 1 == 1)
    };
    let top = (low + limbs.len()) * LIMB_BITS as usize - last.leading_zeros() as usize - 1;
    // Below 2⁵³ units every number is a double, whose bits are the number itself: subnormal or of the first exponent.
    let dropped = top.saturating_sub(MANTISSA_BITS as usize);
    let mut mantissa =
        (dropped..=top).rev().fold(0u64, |mantissa, place| mantissa << 1 | u64::from(bit(place)));
    if dropped > 0 && bit(dropped - 1) {
        let is_more_than_half = (low * LIMB_BITS as usize..dropped - 1).any(bit);
        if is_more_than_half || mantissa & 1 == 1 {
            mantissa += 1;
        }
    }
    // The hidden bit adds one to the exponent, and a mantissa that rounded up to the next power of two another one.
    let bits = ((dropped as u64) << MANTISSA_BITS) + mantissa;
    if bits >= EXPONENT_SPECIAL << MANTISSA_BITS { f64::INFINITY } else { f64::from_bits(bits) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(values: &[(f64, i64)]) -> ExactSum {
        let mut sum = ExactSum::default();
        values.iter().for_each(|(value, weight)| sum.add(*value, *weight));
        sum
    }

    #[test]
    fn what_is_taken_back_leaves_no_trace() {
        assert_eq!(sum(&[(1e20, 1), (1.0, 1), (1e20, -1)]).value(), 1.0);
        assert_eq!(sum(&[(f64::NAN, 1), (0.5, 2), (f64::NAN, -1)]).value(), 1.0);
        assert_eq!(sum(&[(f64::INFINITY, 1), (2.5, 1), (f64::INFINITY, -1)]).value(), 2.5);
        assert!(sum(&[(f64::INFINITY, 1), (f64::NEG_INFINITY, 1)]).value().is_nan());
    }

    #[test]
    fn a_sum_may_pass_what_a_double_can_hold_and_come_back() {
        let over = sum(&[(f64::MAX, 3)]);
        assert_eq!(over.value(), f64::INFINITY);
        assert_eq!(sum(&[(f64::MAX, 3), (f64::MAX, -2)]).value(), f64::MAX);
        assert_eq!(sum(&[(f64::MAX, i64::MAX), (f64::MAX, -i64::MAX), (5e-324, -3)]).value(), -1.5e-323);
    }

    #[test]
    fn ties_round_to_even() {
        let half = 2f64.powi(-53);
        assert_eq!(sum(&[(1.0, 1), (half, 1)]).value(), 1.0);
        assert_eq!(sum(&[(1.0, 1), (half, 1), (5e-324, 1)]).value(), 1.0 + f64::EPSILON);
        assert_eq!(sum(&[(1.0 + f64::EPSILON, 1), (half, 1)]).value(), 1.0 + 2.0 * f64::EPSILON);
    }

    proptest! {
        #[test]
        fn one_value_is_itself(value in any::<f64>().prop_filter("a number", |value| !value.is_nan())) {
            prop_assert_eq!(sum(&[(value, 1)]).value(), value);
            prop_assert_eq!(sum(&[(value, -1)]).value(), -value);
        }

        #[test]
        fn two_values_are_the_sum_that_the_processor_rounds(left in -1e300f64..1e300, right in prop_oneof![-1e300f64..1e300, -1f64..1.0]) {
            prop_assert_eq!(sum(&[(left, 1), (right, 1)]).value(), left + right);
        }

        #[test]
        fn order_cuts_and_storage_change_nothing(values in proptest::collection::vec((any::<f64>(), -3i64..4), 0..20), cut in 0usize..20) {
            let whole = sum(&values);
            let (first, second) = values.split_at(cut.min(values.len()));
            let mut stored = ExactSum::decode(&sum(second).encode()).unwrap();
            stored.merge(&sum(first));
            prop_assert_eq!(stored.encode(), whole.encode());
            let mut emptied = whole;
            values.iter().for_each(|(value, weight)| emptied.add(*value, -weight));
            prop_assert_eq!(emptied.encode(), ExactSum::default().encode());
        }

        #[test]
        fn any_bytes_are_a_sum_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Some(sum) = ExactSum::decode(&bytes) {
                prop_assert_eq!(ExactSum::decode(&sum.encode()).unwrap().encode(), sum.encode());
            }
        }
    }
}
