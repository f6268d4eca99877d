//! Values while a program runs.
//!
//! | MIL element type | held as |
//! |---|---|
//! | fp16, bf16, fp32, fp64 | F32 |
//! | bool, uint8 and sub-byte unsigned | U8 |
//! | int4, int8, int16, uint16, int32 | I32 |
//! | int64, uint32, uint64 | I64 |
//!
//! So all float arithmetic is in single precision, whatever the program
//! declares; [`Precision`](crate::Precision) says when results are rounded.

use candle_core::{DType, Device};
use half::{bf16, f16};
use milwright_ir::{BlobSource, ConstError, Constant, DataType, TensorType};

use crate::error::KernelError;

/// A tensor with the element type that the program declares.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Element type in the program.
    pub dtype: DataType,
    /// Elements, on the CPU; may be a strided view.
    pub data: candle_core::Tensor,
}

/// A value of a running program.
#[derive(Clone, Debug)]
pub enum Value {
    /// A tensor of numbers.
    Tensor(Tensor),
    /// A tensor of strings, in row-major order.
    Strings(Vec<String>),
    /// A list (`make_list` and its relatives).
    List(Vec<Tensor>),
    /// A handle of a state: the index of the function input that declares it.
    State(usize),
}

/// The type that holds elements of `dtype`; `None` for `string` and types that
/// only occur compressed.
pub fn storage(dtype: DataType) -> Option<DType> {
    use DataType as D;
    Some(match dtype {
        D::Float16 | D::BFloat16 | D::Float32 | D::Float64 => DType::F32,
        D::Bool | D::UInt8 | D::UInt1 | D::UInt2 | D::UInt3 | D::UInt4 | D::UInt6 => DType::U8,
        D::Int4 | D::Int8 | D::Int16 | D::UInt16 | D::Int32 => DType::I32,
        D::Int64 | D::UInt32 | D::UInt64 => DType::I64,
        D::String | D::Float8E4M3FN | D::Float8E5M2 | D::Unknown(_) => return None,
    })
}

impl Tensor {
    /// Wraps `data`, which must be held as [`storage`] says.
    ///
    /// # Errors
    /// It is held in another type.
    pub fn new(dtype: DataType, data: candle_core::Tensor) -> Result<Self, KernelError> {
        let held = data.dtype();
        if storage(dtype) == Some(held) || (held == DType::F64 && dtype.is_float()) {
            return Ok(Self { dtype, data });
        }
        Err(KernelError::Internal(format!(
            "a tensor of {dtype} held as {:?}",
            data.dtype()
        )))
    }

    /// The dimensions.
    pub fn dims(&self) -> &[usize] {
        self.data.dims()
    }

    /// Rounds float elements to the declared type, as a device that computes
    /// in it would hold them. Other types stay as they are.
    ///
    /// # Errors
    /// The tensor library fails.
    pub fn rounded(self) -> Result<Self, KernelError> {
        let narrow = match self.dtype {
            DataType::Float16 => DType::F16,
            DataType::BFloat16 => DType::BF16,
            _ => return Ok(self),
        };
        let data = self.data.to_dtype(narrow)?.to_dtype(self.data.dtype())?;
        Ok(Self {
            dtype: self.dtype,
            data,
        })
    }
}

impl From<Tensor> for Value {
    fn from(tensor: Tensor) -> Self {
        Self::Tensor(tensor)
    }
}

/// Reads a constant into a value.
pub(crate) fn from_constant(
    constant: &Constant,
    blobs: &dyn BlobSource,
) -> Result<Value, ConstError> {
    if let Some(strings) = constant.strings() {
        return Ok(Value::Strings(strings.to_vec()));
    }
    let kind = |wanted| ConstError::Kind {
        wanted,
        ty: constant.ty.to_string(),
    };
    let ty: &TensorType = constant.tensor_type().ok_or_else(|| kind("a tensor"))?;
    let shape: Vec<usize> = ty
        .known_shape()
        .into_iter()
        .flatten()
        .map(|d| usize::try_from(d).unwrap_or(usize::MAX))
        .collect();
    let bytes = constant.bytes(blobs)?;
    let device = &Device::Cpu;
    let data = match ty.dtype {
        DataType::Float32 => {
            candle_core::Tensor::from_vec(words(&bytes, f32::from_le_bytes), shape, device)
        }
        DataType::Float16 => candle_core::Tensor::from_vec(widened(&bytes), shape, device),
        DataType::BFloat16 => {
            let wide = words(&bytes, |b| bf16::from_le_bytes(b).to_f32());
            candle_core::Tensor::from_vec(wide, shape, device)
        }
        DataType::Float64 => {
            let narrow = words(&bytes, |b| f64::from_le_bytes(b) as f32);
            candle_core::Tensor::from_vec(narrow, shape, device)
        }
        dtype => match (storage(dtype), dtype.bits()) {
            (Some(DType::U8), Some(8)) => {
                candle_core::Tensor::from_vec(bytes.to_vec(), shape, device)
            }
            (Some(DType::U8), Some(bits)) => {
                let count: usize = shape.iter().product();
                candle_core::Tensor::from_vec(unpack(&bytes, bits as usize, count), shape, device)
            }
            (Some(DType::I32), Some(4)) => {
                let count: usize = shape.iter().product();
                let signed = unpack(&bytes, 4, count)
                    .into_iter()
                    .map(|v| i32::from((v << 4) as i8 >> 4))
                    .collect::<Vec<_>>();
                candle_core::Tensor::from_vec(signed, shape, device)
            }
            (Some(DType::I32), _) => {
                let ints = constant.to_i64s(blobs)?;
                let ints: Vec<i32> = ints.into_iter().map(|v| v as i32).collect();
                candle_core::Tensor::from_vec(ints, shape, device)
            }
            (Some(DType::I64), _) => {
                candle_core::Tensor::from_vec(constant.to_i64s(blobs)?, shape, device)
            }
            _ => return Err(kind("a tensor of numbers")),
        },
    };
    // The byte count was checked against the shape.
    let data = data.map_err(|_| kind("a tensor whose elements fill its shape"))?;
    Ok(Value::Tensor(Tensor {
        dtype: ty.dtype,
        data,
    }))
}

fn words<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|b| read(*b)).collect()
}

/// Half to single precision, a block at a time so that the hardware's
/// conversion is used.
fn widened(bytes: &[u8]) -> Vec<f32> {
    use half::slice::HalfFloatSliceExt;
    const BLOCK: usize = 4096;
    let halves = bytes.as_chunks::<2>().0;
    let mut wide = vec![0f32; halves.len()];
    let mut block = [f16::ZERO; BLOCK];
    for (source, target) in halves.chunks(BLOCK).zip(wide.chunks_mut(BLOCK)) {
        let block = &mut block[..source.len()];
        for (half, bytes) in block.iter_mut().zip(source) {
            *half = f16::from_le_bytes(*bytes);
        }
        block.convert_to_f32_slice(target);
    }
    wide
}

/// Unsigned integers of `bits` bits, packed from the least significant bit up.
fn unpack(bytes: &[u8], bits: usize, count: usize) -> Vec<u8> {
    (0..count)
        .map(|i| {
            let at = i * bits;
            let low = u16::from(bytes.get(at / 8).copied().unwrap_or(0));
            let high = u16::from(bytes.get(at / 8 + 1).copied().unwrap_or(0));
            let word = (low | (high << 8)) >> (at % 8);
            (word & ((1 << bits) - 1)) as u8
        })
        .collect()
}
