//! Decimal text to unscaled integers, without rounding anything.

/// Reads `-12.50` as an unscaled integer; digits beyond the scale must be zero, so nothing is rounded in silence.
pub(crate) fn parse_decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if let Some(plain) = without_exponent(digits) {
        return parse_decimal(&plain, precision, scale).map(|value| if negative { -value } else { value });
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let scale = usize::try_from(scale).ok()?;
    let kept = fraction.get(..scale.min(fraction.len()))?;
    let dropped = fraction.get(kept.len()..)?;
    if !dropped.bytes().all(|byte| byte == b'0') {
        return None;
    }
    let padding = scale - kept.len();
    let mut value = 0_i128;
    for byte in whole.bytes().chain(kept.bytes()).chain(std::iter::repeat_n(b'0', padding)) {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
    }
    let limit = 10_i128.checked_pow(u32::from(precision))?;
    if value >= limit {
        return None;
    }
    Some(if negative { -value } else { value })
}

/// `1.5e3` as `1500`: the point moved, no digit changed. `None` when there is no exponent, or one that no decimal needs.
fn without_exponent(digits: &str) -> Option<String> {
    let (mantissa, exponent) = digits.split_once(['e', 'E'])?;
    let exponent: i32 = exponent.parse().ok().filter(|exponent| (-80..=80).contains(exponent))?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut all = format!("{whole}{fraction}");
    if all.is_empty() {
        return None;
    }
    let point = i32::try_from(whole.len()).ok()? + exponent;
    let point = usize::try_from(point).unwrap_or_else(|_| {
        all.insert_str(0, &"0".repeat(point.unsigned_abs() as usize));
        0
    });
    while all.len() < point {
        all.push('0');
    }
    if !all.is_char_boundary(point) || all.contains(['e', 'E']) {
        return None;
    }
    all.insert(point, '.');
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_plain_numbers_and_exponents_exactly() {
        for (text, expected) in [
            ("12.5", 1250),
            ("-12.50", -1250),
            ("+.5", 50),
            ("7.", 700),
            ("12.500", 1250),
            ("1.25e1", 1250),
            ("1250E-2", 1250),
            ("125e-2", 125),
            ("0e80", 0),
            ("-1e2", -10000),
        ] {
            assert_eq!(parse_decimal(text, 6, 2), Some(expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_would_not_come_back_as_it_was() {
        for text in [
            "", ".", "-", "1.005", "125e-3", "10000", "1e5", "1e99", "e5", "1e", "1 2", "1.2.3", "0x1", "１",
            "é1e1", "--1",
        ] {
            assert_eq!(parse_decimal(text, 6, 2), None, "{text}");
        }
        let most = "9".repeat(38);
        assert_eq!(parse_decimal(&most, 38, 0), Some(10_i128.pow(38) - 1));
        assert_eq!(parse_decimal(&format!("{most}0"), 38, 0), None);
    }
}
