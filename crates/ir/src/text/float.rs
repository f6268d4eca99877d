//! Floats as C spells them: `0x1.8p+1`.

/// C's `%a`; infinities and NaN by name.
pub(super) fn spell(x: f64) -> String {
    if x.is_nan() {
        return "nan".into();
    }
    let sign = if x.is_sign_negative() { "-" } else { "" };
    if x.is_infinite() {
        return format!("{sign}inf");
    }
    if x == 0.0 {
        return format!("{sign}0x0p+0");
    }
    let bits = x.to_bits();
    let mut mantissa = bits & ((1 << 52) - 1);
    let mut exponent = ((bits >> 52) & 0x7ff) as i64 - 1023;
    if exponent == -1023 {
        // Subnormal: shift the leading one up to bit 52.
        let shift = i64::from(mantissa.leading_zeros()) - 11;
        mantissa = (mantissa << shift) & ((1 << 52) - 1);
        exponent = -1022 - shift;
    }
    let mut digits = format!("{mantissa:013x}");
    digits.truncate(digits.trim_end_matches('0').len());
    let point = if digits.is_empty() { "" } else { "." };
    format!("{sign}0x1{point}{digits}p{exponent:+}")
}

/// The float nearest to a hexadecimal or decimal number, or to `inf` and
/// `nan`; `None` when it is none of them.
pub(super) fn read(text: &str) -> Option<f64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let hex = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"));
    let magnitude = match hex {
        Some(hex) => read_hex(hex)?,
        None if digits == "inf" => f64::INFINITY,
        None if digits == "nan" => f64::NAN,
        // Of what else Rust reads, nothing starts with a digit.
        None if digits.as_bytes().first()?.is_ascii_digit() => digits.parse().ok()?,
        None => return None,
    };
    Some(if negative { -magnitude } else { magnitude })
}

/// `1.8p+1`
fn read_hex(text: &str) -> Option<f64> {
    let (digits, exponent) = match text.find(['p', 'P']) {
        Some(at) => (&text[..at], read_exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    // The first 60 bits from the leading digit on; the lowest also says
    // whether anything follows.
    let (mut mantissa, mut scale) = (0u64, exponent);
    for (i, digit) in whole.bytes().chain(fraction.bytes()).enumerate() {
        let digit = u64::from(char::from(digit).to_digit(16)?);
        if mantissa >> 56 == 0 {
            mantissa = mantissa << 4 | digit;
            scale -= if i < whole.len() { 0 } else { 4 };
        } else {
            mantissa |= u64::from(digit != 0);
            scale += if i < whole.len() { 4 } else { 0 };
        }
    }
    Some(scaled(mantissa, scale))
}

/// Far outside of every exponent, and far inside of an i64.
const FAR: i64 = 1 << 40;

fn read_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let size = digits.parse().unwrap_or(FAR).min(FAR);
    Some(if text.starts_with('-') { -size } else { size })
}

/// `mantissa * 2^scale`, rounded to the nearest float, ties to even.
fn scaled(mantissa: u64, scale: i64) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    let zeros = mantissa.leading_zeros();
    let mantissa = mantissa << zeros;
    // The value lies between 2^top and 2^(top + 1).
    let top = scale + 63 - i64::from(zeros);
    if top > 1023 {
        return f64::INFINITY;
    }
    if top < -1075 {
        return 0.0;
    }
    // Bits that the float has room for: 53, fewer when it is subnormal.
    let bits = if top < -1022 { top + 1075 } else { 53 };
    let cut = (64 - bits) as u32;
    let kept = mantissa.checked_shr(cut).unwrap_or(0);
    let rest = u128::from(mantissa) & ((1u128 << cut) - 1);
    let half = 1u128 << (cut - 1);
    let up = rest > half || rest == half && kept & 1 == 1;
    let rounded = kept + u64::from(up);
    let exponent = (top + 1022).max(0) as u64;
    // A carry out of the mantissa raises the exponent, up to infinity.
    f64::from_bits((exponent << 52) + rounded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_spelled_as_c_does() {
        let cases = [
            (0.0, "0x0p+0"),
            (-0.0, "-0x0p+0"),
            (1.0, "0x1p+0"),
            (-1.0, "-0x1p+0"),
            (0.5, "0x1p-1"),
            (10000.0, "0x1.388p+13"),
            (f64::from(f32::MIN_POSITIVE), "0x1p-126"),
            (f64::from_bits(1), "0x1p-1074"),
            (f64::from_bits(3), "0x1.8p-1073"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ];
        for (x, text) in cases {
            assert_eq!(spell(x), text);
        }
        println!("{} spellings", cases.len());
    }

    #[test]
    fn what_is_spelled_is_read() {
        // Neighbours of every power of two, subnormals and extremes included.
        let mut count = 0;
        for exponent in 0..2047u64 {
            for mantissa in [
                0,
                1,
                0x8_0000_0000_0000,
                0xf_ffff_ffff_ffff,
                0x5_5555_5555_5555,
            ] {
                let x = f64::from_bits(exponent << 52 | mantissa);
                for x in [x, -x] {
                    assert_eq!(
                        read(&spell(x)).map(f64::to_bits),
                        Some(x.to_bits()),
                        "{x:e}"
                    );
                    count += 1;
                }
            }
        }
        println!("{count} floats");
    }

    #[test]
    fn other_spellings() {
        let cases = [
            ("1", 1.0),
            ("-1.5e-3", -0.0015),
            ("0x10", 16.0),
            ("0x.8p0", 0.5),
            ("0xap-1", 5.0),
            ("0x1p2000", f64::INFINITY),
            ("0x1p-2000", 0.0),
            ("0x0.000000000000000000000000001p0", 2f64.powi(-108)),
            // A tie, and a tie with something behind it.
            ("0x1.00000000000008p0", 1.0),
            ("0x1.000000000000080000000001p0", 1.0 + f64::EPSILON),
            ("0x1.ffffffffffffffp1023", f64::INFINITY),
            ("0x0.8p-1074", 0.0),
            ("0x0.81p-1074", f64::from_bits(1)),
            ("inf", f64::INFINITY),
        ];
        for (text, x) in cases {
            assert_eq!(read(text), Some(x), "{text}");
        }
        for bad in [
            "", "-", "0x", "0x1p", "0x1p+", "1e", "infinity", "1.2.3", "0xg", "--1", "1_0",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
        println!("{} spellings", cases.len());
    }
}
