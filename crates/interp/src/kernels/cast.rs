//! `cast`.
//!
//! A float becomes an integer by dropping its fraction; what does not fit
//! becomes the nearest value that does, and NaN becomes 0. An integer becomes a
//! narrower one by keeping its low bits. Anything but 0 is true.

use candle_core::{DType, Tensor};
use milwright_ir::DataType;

use super::build::{CHEAP, Element, unsupported};
use super::check::{Result, bad, need};
use super::unary::map;
use crate::call::{Call, Outputs};
use crate::error::KernelError;
use crate::precision::Precision;

pub(crate) fn cast(call: &Call<'_>) -> Outputs {
    let name = need("dtype", call.string("dtype")?)?;
    let dtype = DataType::from_name(&name)
        .ok_or_else(|| bad("dtype", format_args!("unknown type {name:?}")))?;
    let x = call.tensor("x")?;
    let data = converted(&x.data, x.dtype, dtype, call.precision)?;
    Ok(vec![crate::value::Tensor::new(dtype, data)?.into()])
}

/// The range of an integer type of 32 bits or fewer.
fn range(dtype: DataType) -> Option<(i64, i64)> {
    Some(match dtype {
        DataType::Int4 => (-8, 7),
        DataType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 => (i32::MIN.into(), i32::MAX.into()),
        DataType::UInt1 => (0, 1),
        DataType::UInt2 => (0, 3),
        DataType::UInt3 => (0, 7),
        DataType::UInt4 => (0, 15),
        DataType::UInt6 => (0, 63),
        DataType::UInt8 => (0, u8::MAX.into()),
        DataType::UInt16 => (0, u16::MAX.into()),
        DataType::UInt32 => (0, u32::MAX.into()),
        _ => return None,
    })
}

/// The low bits of `value`, read as a number from `low` to `high`.
#[inline(always)]
fn wrapped(value: i64, low: i64, high: i64) -> i64 {
    // The sizes of ranges are powers of two.
    let size = high - low + 1;
    low + (value.wrapping_sub(low) & (size - 1))
}

/// Integers within the range of `dtype`: what does not fit keeps its low bits.
///
/// # Errors
/// When memory runs out.
pub(crate) fn wrapped_to(x: &Tensor, dtype: DataType) -> Result<Tensor> {
    let Some((low, high)) = range(dtype) else {
        return Ok(x.clone());
    };
    match (x.dtype(), dtype) {
        (DType::U8, DataType::UInt8) | (DType::I32, DataType::Int32) => Ok(x.clone()),
        (DType::U8, _) => map::<u8, u8>(x, CHEAP, |v| wrapped(v.into(), low, high) as u8),
        (DType::I32, _) => map::<i32, i32>(x, CHEAP, |v| wrapped(v.into(), low, high) as i32),
        (DType::I64, _) => map::<i64, i64>(x, CHEAP, |v| wrapped(v, low, high)),
        (other, _) => Err(unsupported(other)),
    }
}

/// `x`, of element type `from`, as `to`, held as `precision` says.
///
/// # Errors
/// When either is no type of numbers.
pub(crate) fn converted(
    x: &Tensor,
    from: DataType,
    to: DataType,
    precision: Precision,
) -> Result<Tensor> {
    let held = precision
        .storage(to)
        .ok_or_else(|| KernelError::Unsupported(format!("a cast to {to}")))?;
    if from == to {
        return Ok(x.clone());
    }
    if to == DataType::Bool {
        return match x.dtype() {
            DType::F32 => map::<f32, u8>(x, CHEAP, |v| u8::from(v != 0.0)),
            DType::F64 => map::<f64, u8>(x, CHEAP, |v| u8::from(v != 0.0)),
            DType::I32 => map::<i32, u8>(x, CHEAP, |v| u8::from(v != 0)),
            DType::I64 => map::<i64, u8>(x, CHEAP, |v| u8::from(v != 0)),
            DType::U8 => map::<u8, u8>(x, CHEAP, |v| u8::from(v != 0)),
            other => Err(unsupported(other)),
        };
    }
    if to.is_float() {
        return match x.dtype() {
            // Floats of all types are held alike.
            DType::F32 | DType::F64 => Ok(x.clone()),
            held @ (DType::I32 | DType::I64 | DType::U8) => {
                if precision.float() == DType::F64 {
                    floats::<f64>(x, held)
                } else {
                    floats::<f32>(x, held)
                }
            }
            other => Err(unsupported(other)),
        };
    }
    let (low, high) = range(to).unwrap_or((i64::MIN, i64::MAX));
    // `as` drops the fraction and saturates at i64, `clamp` at the range.
    macro_rules! to {
        ($t:ty) => {
            match x.dtype() {
                DType::F32 => map::<f32, $t>(x, CHEAP, |v| (v as i64).clamp(low, high) as $t),
                DType::F64 => map::<f64, $t>(x, CHEAP, |v| (v as i64).clamp(low, high) as $t),
                DType::I32 if to == DataType::Int32 => Ok(x.clone()),
                DType::I32 => map::<i32, $t>(x, CHEAP, |v| narrow(v.into(), low, high) as $t),
                DType::I64 => map::<i64, $t>(x, CHEAP, |v| narrow(v, low, high) as $t),
                DType::U8 => map::<u8, $t>(x, CHEAP, |v| narrow(v.into(), low, high) as $t),
                other => Err(unsupported(other)),
            }
        };
    }
    match held {
        DType::I32 => to!(i32),
        DType::I64 => to!(i64),
        DType::U8 => to!(u8),
        other => Err(unsupported(other)),
    }
}

/// Integers held as `held` as floats, each rounded once.
fn floats<T: Element>(x: &Tensor, held: DType) -> Result<Tensor> {
    match held {
        DType::I32 => map::<i32, T>(x, CHEAP, |v| T::from_f64(v.into())),
        // By way of f64 a large integer would be rounded twice.
        DType::I64 if T::DTYPE == DType::F32 => map::<i64, f32>(x, CHEAP, |v| v as f32),
        DType::I64 => map::<i64, T>(x, CHEAP, |v| T::from_f64(v as f64)),
        _ => map::<u8, T>(x, CHEAP, |v| T::from_f64(v.into())),
    }
}

#[inline(always)]
fn narrow(value: i64, low: i64, high: i64) -> i64 {
    if high == i64::MAX {
        value
    } else {
        wrapped(value, low, high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn to_f64(x: &Tensor) -> Vec<f64> {
        x.to_dtype(DType::F64).unwrap().to_vec1().unwrap()
    }

    #[test]
    fn floats_truncate_and_saturate() {
        let x = [1.9f32, -1.9, 0.4, f32::NAN, 1e10, -1e10, 300.0, -0.5];
        let x = Tensor::new(&x, &Device::Cpu).unwrap();
        let cases = [
            (DataType::Int32, [1.0, -1.0, 0.0, 0.0, 2_147_483_647.0, -2_147_483_648.0, 300.0, 0.0]),
            (DataType::UInt8, [1.0, 0.0, 0.0, 0.0, 255.0, 0.0, 255.0, 0.0]),
            (DataType::Int8, [1.0, -1.0, 0.0, 0.0, 127.0, -128.0, 127.0, 0.0]),
            (DataType::UInt16, [1.0, 0.0, 0.0, 0.0, 65535.0, 0.0, 300.0, 0.0]),
            (DataType::Int64, [1.0, -1.0, 0.0, 0.0, 1e10, -1e10, 300.0, 0.0]),
            (DataType::Bool, [1.0; 8]),
        ];
        for (to, expected) in cases {
            let out = converted(&x, DataType::Float32, to, Precision::Fp32).unwrap();
            assert_eq!(Some(out.dtype()), Precision::Fp32.storage(to));
            assert_eq!(to_f64(&out), expected, "{to}");
        }
    }

    #[test]
    fn integers_keep_their_low_bits() {
        // numpy 1.26: np.array([...], dtype=np.int32).astype(...).
        let x = Tensor::new(&[1i32, -1, 300, -300, 40_000, -40_000, i32::MAX], &Device::Cpu).unwrap();
        let cases = [
            (DataType::Int8, [1.0, -1.0, 44.0, -44.0, 64.0, -64.0, -1.0]),
            (DataType::UInt8, [1.0, 255.0, 44.0, 212.0, 64.0, 192.0, 255.0]),
            (DataType::Int16, [1.0, -1.0, 300.0, -300.0, -25536.0, 25536.0, -1.0]),
            (DataType::UInt16, [1.0, 65535.0, 300.0, 65236.0, 40000.0, 25536.0, 65535.0]),
            (DataType::Bool, [1.0; 7]),
            (DataType::Float16, [1.0, -1.0, 300.0, -300.0, 40000.0, -40000.0, 2_147_483_648.0]),
        ];
        for (to, expected) in cases {
            let out = converted(&x, DataType::Int32, to, Precision::Fp32).unwrap();
            assert_eq!(to_f64(&out), expected, "{to}");
        }
        let bools = Tensor::new(&[0u8, 1], &Device::Cpu).unwrap();
        let out = converted(&bools, DataType::Bool, DataType::Int32, Precision::Fp32).unwrap();
        assert_eq!(out.to_vec1::<i32>().unwrap(), [0, 1]);
        assert!(converted(&bools, DataType::Bool, DataType::String, Precision::Fp32).is_err());
    }
}
