//! Elements of one type as elements of another.

use std::io::{self, Write};

use half::{bf16, f16};
use milwright_package::Source;

use crate::types::DataType;

/// How many elements are in memory at once; a multiple of 8, so that packed
/// ones begin at a byte.
const CHUNK: u64 = 1 << 18;

/// What a conversion could not keep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loss {
    /// Elements whose value is another one now, rounded.
    pub rounded: u64,
    /// Elements that the new type does not reach: a number that became
    /// infinite, or an integer that lost its high bits.
    pub out_of_range: u64,
}

impl Loss {
    /// Whether every element kept its value.
    pub fn is_none(self) -> bool {
        self == Loss::default()
    }
}

/// Whether elements of one type can become elements of another: floats become
/// floats, integers and truth values integers.
pub fn converts(from: DataType, to: DataType) -> bool {
    let whole = |t: DataType| t == DataType::Bool || t.is_int();
    let known = from.bits().is_some() && to.bits().is_some();
    known && (from == to || (from.is_float() && to.is_float()) || (whole(from) && whole(to)))
}

/// Converts the first `count` elements of `bytes` (little-endian, packed as in
/// a weight file) and appends them to `out`; the last byte of packed ones is
/// filled with zeros. Elements that `bytes` does not have are left out. `None`
/// for types that do not convert.
pub fn convert(
    from: DataType,
    to: DataType,
    bytes: &[u8],
    count: usize,
    out: &mut Vec<u8>,
) -> Option<Loss> {
    if !converts(from, to) {
        return None;
    }
    let mut loss = Loss::default();
    let mut packer = Packer {
        bits: to.bits()? as u32,
        word: 0,
        filled: 0,
        out,
    };
    let whole = usize::try_from(bytes.len() as u64 * 8 / from.bits()?).unwrap_or(usize::MAX);
    for index in 0..count.min(whole) {
        let raw = raw_at(bytes, index, from.bits()? as usize);
        if from == to {
            packer.push(raw);
        } else if from.is_float() {
            let value = float_of(from, raw);
            let raw = raw_of_float(to, value);
            let now = float_of(to, raw);
            let same = now == value || (now.is_nan() && value.is_nan());
            if value.is_finite() && !now.is_finite() {
                loss.out_of_range += 1;
            } else if !same {
                loss.rounded += 1;
            }
            packer.push(raw);
        } else {
            let value = int_of(from, raw);
            let raw = (value as u128 as u64) & mask(to.bits()? as usize);
            let raw = if to == DataType::Bool {
                u64::from(value != 0)
            } else {
                raw
            };
            if int_of(to, raw) != value {
                loss.out_of_range += 1;
            }
            packer.push(raw);
        }
    }
    packer.finish();
    Some(loss)
}

/// Converts `count` elements of a range of a file, a part at a time.
///
/// # Errors
/// Reading or writing fails, the range is too short, or the types do not
/// convert.
pub fn convert_range(
    source: &Source,
    from: DataType,
    to: DataType,
    count: u64,
    out: &mut dyn Write,
) -> io::Result<Loss> {
    let unfit = || io::Error::other(format!("{from} does not convert to {to}"));
    let mut loss = Loss::default();
    let (mut input, mut output) = (Vec::new(), Vec::new());
    let (mut done, mut at) = (0, 0);
    while done < count {
        let step = CHUNK.min(count - done);
        let size = from.byte_len(step).ok_or_else(unfit)?;
        input.clear();
        output.clear();
        if source.copy(at, size, &mut input)? != size {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        let part = convert(from, to, &input, step as usize, &mut output).ok_or_else(unfit)?;
        loss.rounded += part.rounded;
        loss.out_of_range += part.out_of_range;
        out.write_all(&output)?;
        done += step;
        at += size;
    }
    Ok(loss)
}

fn mask(bits: usize) -> u64 {
    u64::MAX >> (64 - bits)
}

/// The bits of element `index`; the caller has checked that it is there.
fn raw_at(bytes: &[u8], index: usize, bits: usize) -> u64 {
    let at = index * bits;
    let mut word = [0u8; 8];
    let needed = (at % 8 + bits).div_ceil(8);
    for (to, from) in word.iter_mut().zip(&bytes[at / 8..]).take(needed) {
        *to = *from;
    }
    (u64::from_le_bytes(word) >> (at % 8)) & mask(bits)
}

/// Joins elements, the first in the lowest bits.
struct Packer<'o> {
    bits: u32,
    word: u128,
    filled: u32,
    out: &'o mut Vec<u8>,
}

impl Packer<'_> {
    fn push(&mut self, raw: u64) {
        self.word |= u128::from(raw) << self.filled;
        self.filled += self.bits;
        while self.filled >= 8 {
            self.out.push(self.word as u8);
            self.word >>= 8;
            self.filled -= 8;
        }
    }

    fn finish(self) {
        if self.filled > 0 {
            self.out.push(self.word as u8);
        }
    }
}

fn int_of(ty: DataType, raw: u64) -> i128 {
    let bits = ty.bits().unwrap_or(64) as u32;
    let signed = matches!(
        ty,
        DataType::Int4 | DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64
    );
    if signed {
        let shift = 64 - bits;
        i128::from((raw << shift) as i64 >> shift)
    } else {
        i128::from(raw)
    }
}

fn float_of(ty: DataType, raw: u64) -> f64 {
    match ty {
        DataType::Float16 => f16::from_bits(raw as u16).to_f64(),
        DataType::BFloat16 => bf16::from_bits(raw as u16).to_f64(),
        DataType::Float32 => f64::from(f32::from_bits(raw as u32)),
        DataType::Float8E4M3FN => small_float(raw as u8, 3, 7, false),
        DataType::Float8E5M2 => small_float(raw as u8, 2, 15, true),
        _ => f64::from_bits(raw),
    }
}

fn raw_of_float(ty: DataType, value: f64) -> u64 {
    match ty {
        DataType::Float16 => u64::from(f16::from_f64(value).to_bits()),
        DataType::BFloat16 => u64::from(bf16::from_f64(value).to_bits()),
        DataType::Float32 => u64::from((value as f32).to_bits()),
        DataType::Float8E4M3FN | DataType::Float8E5M2 => nearest_small(ty, value),
        _ => value.to_bits(),
    }
}

/// An 8-bit float: sign, exponent, `fraction` bits. With `infinite`, the
/// largest exponent holds infinity and NaN as in IEEE formats; without, only
/// the one with all fraction bits set is NaN.
fn small_float(raw: u8, fraction: u32, bias: i32, infinite: bool) -> f64 {
    let sign = if raw & 0x80 == 0 { 1.0 } else { -1.0 };
    let bits = raw & 0x7f;
    let exponent = i32::from(bits >> fraction);
    let rest = f64::from(bits & ((1 << fraction) - 1)) / f64::from(1u32 << fraction);
    let last = (1 << (7 - fraction)) - 1;
    if infinite && exponent == last {
        return if rest == 0.0 {
            sign * f64::INFINITY
        } else {
            f64::NAN
        };
    }
    if !infinite && bits == 0x7f {
        return f64::NAN;
    }
    match exponent {
        0 => sign * rest * 2f64.powi(1 - bias),
        e => sign * (1.0 + rest) * 2f64.powi(e - bias),
    }
}

/// The 8-bit float nearest to a value, of two the one with an even last bit.
fn nearest_small(ty: DataType, value: f64) -> u64 {
    let sign = if value.is_sign_negative() { 0x80 } else { 0 };
    if value.is_nan() {
        return 0x7f | sign;
    }
    let infinite = ty == DataType::Float8E5M2;
    if value.is_infinite() {
        return if infinite { 0x7c | sign } else { 0x7f | sign };
    }
    let finite = (0..0x80u64).filter(|&raw| float_of(ty, raw).is_finite());
    let distance = |raw: u64| (float_of(ty, raw) - value.abs()).abs();
    let best = finite.min_by(|&a, &b| {
        distance(a)
            .total_cmp(&distance(b))
            .then((a & 1).cmp(&(b & 1)))
    });
    let best = best.unwrap_or(0);
    // Half a step above the largest is where rounding leaves the range.
    let (top, below) = (float_of(ty, best), float_of(ty, best.saturating_sub(1)));
    let past = !float_of(ty, best + 1).is_finite() && value.abs() >= top + (top - below) / 2.0;
    match (past, infinite) {
        (true, true) => 0x7c | sign,
        (true, false) => 0x7f | sign,
        (false, _) => best | sign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DataType::*;

    fn through(from: DataType, to: DataType, bytes: &[u8], count: usize) -> (Vec<u8>, Loss) {
        let mut out = Vec::new();
        let loss = convert(from, to, bytes, count, &mut out).unwrap();
        (out, loss)
    }

    /// Every pattern of a narrow type survives the way through a wide one.
    #[test]
    fn narrow_types_come_back_from_wide_ones() {
        let mut checked = 0;
        let pairs = [
            (Float16, Float32),
            (BFloat16, Float32),
            (Float8E4M3FN, Float32),
            (Float8E5M2, Float32),
            (Float8E5M2, Float16),
            (Int4, Int8),
            (UInt1, UInt8),
            (UInt2, UInt8),
            (UInt3, UInt8),
            (UInt4, UInt8),
            (UInt6, UInt8),
            (Int8, Int32),
            (UInt16, Int64),
        ];
        for (narrow, wide) in pairs {
            let bits = narrow.bits().unwrap();
            let mut packed = Vec::new();
            let all: Vec<u8> = (0..1u32 << bits).flat_map(u32::to_le_bytes).collect();
            let count = 1usize << bits;
            let as_int = if narrow.is_float() {
                [UInt8, UInt16][bits as usize / 16]
            } else {
                narrow
            };
            convert(UInt32, as_int, &all, count, &mut packed).unwrap();
            assert_eq!(packed.len() as u64, narrow.byte_len(count as u64).unwrap());
            let (out, loss) = through(narrow, wide, &packed, count);
            assert!(loss.is_none(), "{narrow} to {wide}: {loss:?}");
            assert_eq!(out.len() as u64, wide.byte_len(count as u64).unwrap());
            let (back, loss) = through(wide, narrow, &out, count);
            assert!(loss.is_none(), "{wide} to {narrow}: {loss:?}");
            for index in 0..count {
                let (a, b) = (
                    raw_at(&packed, index, bits as usize),
                    raw_at(&back, index, bits as usize),
                );
                let both_nan = narrow.is_float()
                    && float_of(narrow, a).is_nan()
                    && float_of(narrow, b).is_nan();
                assert!(a == b || both_nan, "{narrow} {a:#x} became {b:#x}");
                checked += 1;
            }
        }
        println!("{checked} elements in {} pairs of types", pairs.len());
    }

    #[test]
    fn what_is_lost_is_counted() {
        let floats = |v: &[f32]| -> Vec<u8> { v.iter().flat_map(|x| x.to_le_bytes()).collect() };
        let values = floats(&[1.0, 0.1, 70000.0, f32::INFINITY, f32::NAN, -0.0]);
        let (out, loss) = through(Float32, Float16, &values, 6);
        assert_eq!((loss.rounded, loss.out_of_range), (1, 1));
        assert_eq!(out[10..], [0x00, 0x80]);
        let ints: Vec<u8> = [7i32, -8, 8, -9]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let (out, loss) = through(Int32, Int4, &ints, 4);
        assert_eq!((loss.rounded, loss.out_of_range), (0, 2));
        assert_eq!(out, [0x87, 0x78]);
        let (_, loss) = through(
            Float32,
            Float8E4M3FN,
            &floats(&[448.0, 463.9, 464.0, 0.001]),
            4,
        );
        assert_eq!((loss.rounded, loss.out_of_range), (2, 1));
        assert!(convert(Float32, Int32, &ints, 4, &mut Vec::new()).is_none());
        assert!(convert(String, String, &ints, 4, &mut Vec::new()).is_none());
    }
}
