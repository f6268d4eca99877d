//! The elements of a tensor, collected in the form that a package stores.

use half::{bf16, f16};

use super::float;
use crate::constant::TensorData;
use crate::types::DataType;

pub(super) struct Elements {
    dtype: DataType,
    count: usize,
    kept: Kept,
}

enum Kept {
    Floats(Vec<f32>),
    Doubles(Vec<f64>),
    Ints(Vec<i32>),
    LongInts(Vec<i64>),
    Bools(Vec<bool>),
    Strings(Vec<String>),
    /// Little-endian; elements narrower than a byte are packed from the lowest
    /// bit up.
    Bytes(Vec<u8>),
}

impl Elements {
    /// None yet; `None` for types whose elements have no spelling.
    pub(super) fn new(dtype: DataType) -> Option<Self> {
        use DataType as D;
        let kept = match dtype {
            D::Float32 => Kept::Floats(Vec::new()),
            D::Float64 => Kept::Doubles(Vec::new()),
            D::Int32 | D::Int16 | D::UInt16 => Kept::Ints(Vec::new()),
            D::Int64 | D::UInt64 => Kept::LongInts(Vec::new()),
            D::Bool => Kept::Bools(Vec::new()),
            D::String => Kept::Strings(Vec::new()),
            D::Float8E4M3FN | D::Float8E5M2 | D::Unknown(_) => return None,
            _ => Kept::Bytes(Vec::new()),
        };
        let count = 0;
        Some(Self { dtype, count, kept })
    }

    pub(super) fn dtype(&self) -> DataType {
        self.dtype
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn finish(self) -> TensorData {
        match self.kept {
            Kept::Floats(v) => TensorData::Floats(v),
            Kept::Doubles(v) => TensorData::Doubles(v),
            Kept::Ints(v) => TensorData::Ints(v),
            Kept::LongInts(v) => TensorData::LongInts(v),
            Kept::Bools(v) => TensorData::Bools(v),
            Kept::Strings(v) => TensorData::Strings(v),
            Kept::Bytes(v) => TensorData::Bytes(v.into()),
        }
    }

    /// Adds the element that a number or a word spells.
    ///
    /// # Errors
    /// It is of another type, or does not fit.
    pub(super) fn push(&mut self, spelled: &str) -> Result<(), String> {
        let dtype = self.dtype;
        let short: String = spelled.chars().take(40).collect();
        if let Kept::Bools(bools) = &mut self.kept {
            bools.push(match spelled {
                "true" => true,
                "false" => false,
                _ => return Err(format!("`{short}` is no bool; write true or false")),
            });
            self.count += 1;
            return Ok(());
        }
        if dtype == DataType::String {
            return Err(format!("`{short}` is no string; texts stand in quotes"));
        }
        if dtype.is_float() {
            let value = float::read(spelled).ok_or_else(|| format!("`{short}` is no {dtype}"))?;
            let fits = match dtype {
                DataType::Float16 => kept_by(value, f16::from_f64(value).to_f64()),
                DataType::BFloat16 => kept_by(value, bf16::from_f64(value).to_f64()),
                DataType::Float32 => kept_by(value, f64::from(value as f32)),
                _ => kept_by_f64(value, spelled),
            };
            if !fits {
                return Err(format!("{dtype} cannot hold {short}"));
            }
            // Decimals are rounded once, not by way of double precision.
            let single = match &self.kept {
                Kept::Floats(_) if !spelled.contains(['x', 'X']) => spelled.parse().ok(),
                _ => None,
            };
            if let (Kept::Floats(v), Some(single)) = (&mut self.kept, single) {
                v.push(single);
                self.count += 1;
                return Ok(());
            }
            self.push_float(value);
            return Ok(());
        }
        let is_whole = spelled
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'+'));
        let (low, high) = self.int_range();
        match spelled.parse::<i128>() {
            Ok(value) if (low..=high).contains(&value) => {
                self.push_int(value);
                Ok(())
            }
            // Too long for any type here.
            Ok(_) | Err(_) if is_whole && spelled.len() > 1 => {
                Err(format!("{dtype} cannot hold {short}"))
            }
            _ => Err(format!("`{short}` is no {dtype}")),
        }
    }

    /// Adds a text.
    ///
    /// # Errors
    /// The type is not `string`.
    pub(super) fn push_text(&mut self, text: String) -> Result<(), String> {
        let Kept::Strings(v) = &mut self.kept else {
            return Err(format!("a text is no {}", self.dtype));
        };
        v.push(text);
        self.count += 1;
        Ok(())
    }

    /// Adds a float, rounded to the type, which must be one of floats.
    pub(super) fn push_float(&mut self, value: f64) {
        match &mut self.kept {
            Kept::Floats(v) => v.push(value as f32),
            Kept::Doubles(v) => v.push(value),
            Kept::Bytes(v) if self.dtype == DataType::Float16 => {
                v.extend(f16::from_f64(value).to_le_bytes());
            }
            Kept::Bytes(v) => v.extend(bf16::from_f64(value).to_le_bytes()),
            _ => return,
        }
        self.count += 1;
    }

    /// Adds an integer of [`Elements::int_range`], or a bool as 0 or 1.
    pub(super) fn push_int(&mut self, value: i128) {
        match &mut self.kept {
            Kept::Ints(v) => v.push(value as i32),
            Kept::LongInts(v) => v.push(value as i64),
            Kept::Bools(v) => v.push(value != 0),
            Kept::Bytes(v) => match self.dtype.bits() {
                Some(bits @ 1..8) => {
                    pack(v, self.count * bits as usize, bits as usize, value as u8)
                }
                Some(32) => v.extend((value as u32).to_le_bytes()),
                _ => v.push(value as u8),
            },
            _ => return,
        }
        self.count += 1;
    }

    /// The least and the greatest integer of the type.
    pub(super) fn int_range(&self) -> (i128, i128) {
        use DataType as D;
        let bits = self.dtype.bits().unwrap_or(0);
        match self.dtype {
            D::Int4 | D::Int8 | D::Int16 | D::Int32 | D::Int64 => {
                (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
            }
            D::Bool => (0, 1),
            _ => (0, (1 << bits) - 1),
        }
    }
}

/// Whether rounding keeps what a number is: finite, and not 0.
fn kept_by(value: f64, rounded: f64) -> bool {
    value.is_nan()
        || value.is_infinite()
        || rounded.is_finite() && (value == 0.0) == (rounded == 0.0)
}

/// Whether a double is what was written: not infinite, and not 0, by rounding.
fn kept_by_f64(value: f64, spelled: &str) -> bool {
    let digits = spelled.trim_start_matches(['-', '+']);
    let mantissa = digits.split(['p', 'P']).next().unwrap_or("");
    let is_hex = mantissa.len() > 1 && mantissa[1..].starts_with(['x', 'X']);
    let mantissa = if is_hex {
        &mantissa[2..]
    } else {
        mantissa.split(['e', 'E']).next().unwrap_or("")
    };
    let is_zero = mantissa.bytes().all(|b| matches!(b, b'0' | b'.'));
    match value {
        v if v.is_infinite() => digits == "inf",
        0.0 => is_zero,
        _ => true,
    }
}

/// Puts the low `bits` of a value at a bit position; the bytes grow to it.
fn pack(bytes: &mut Vec<u8>, at: usize, bits: usize, value: u8) {
    let value = u16::from(value) & ((1 << bits) - 1);
    let word = value << (at % 8);
    let last = (at + bits - 1) / 8;
    if bytes.len() <= last {
        bytes.resize(last + 1, 0);
    }
    bytes[at / 8] |= word as u8;
    if last > at / 8 {
        bytes[last] |= (word >> 8) as u8;
    }
}

/// Undoes [`pack`]: the bits of the element at a position, as an unsigned
/// number.
pub(super) fn unpack(bytes: &[u8], at: usize, bits: usize) -> u8 {
    let byte = |i: usize| u16::from(bytes.get(i).copied().unwrap_or(0));
    let word = (byte(at / 8) | byte(at / 8 + 1) << 8) >> (at % 8);
    (word & ((1 << bits) - 1)) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_is_undone() {
        for bits in [1, 2, 3, 4, 6] {
            let values: Vec<u8> = (0..29u8).map(|i| (i * 7 + 3) & ((1 << bits) - 1)).collect();
            let mut bytes = Vec::new();
            for (i, &v) in values.iter().enumerate() {
                pack(&mut bytes, i * bits, bits, v);
            }
            assert_eq!(bytes.len(), (29 * bits).div_ceil(8));
            let back: Vec<u8> = (0..29).map(|i| unpack(&bytes, i * bits, bits)).collect();
            assert_eq!(back, values);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let push = |dtype, text: &str| Elements::new(dtype).unwrap().push(text);
        use DataType as D;
        let bad = [
            (D::Int8, "128"),
            (D::Int8, "-129"),
            (D::UInt8, "-1"),
            (D::UInt4, "16"),
            (D::Int4, "-9"),
            (D::Int32, "2147483648"),
            (D::UInt64, "18446744073709551616"),
            (D::Int64, "99999999999999999999999999999999999999999999"),
            (D::Int32, "0x1p+0"),
            (D::Int32, "1.0"),
            (D::Int32, "-"),
            (D::Bool, "1"),
            (D::Float16, "65536"),
            (D::Float16, "0x1p-26"),
            (D::Float32, "1e39"),
            (D::Float32, "true"),
            (D::Float64, "1e999"),
            (D::Float64, "1e-999"),
            (D::Float64, "0x1p+9999"),
            (D::String, "a"),
        ];
        for (dtype, text) in bad {
            assert!(push(dtype, text).is_err(), "{dtype} {text}");
        }
        let good = [
            (D::Int8, "-128"),
            (D::UInt64, "18446744073709551615"),
            (D::Int4, "-8"),
            (D::Float16, "-inf"),
            (D::Float16, "65504"),
            (D::Float64, "0e-999"),
            (D::Float64, "-0x0p+0"),
            (D::BFloat16, "nan"),
        ];
        for (dtype, text) in good {
            assert_eq!(push(dtype, text), Ok(()), "{dtype} {text}");
        }
    }
}
