//! Values while a program runs. [`Precision`] says which type holds what.

use candle_core::{DType, Device};
use half::{bf16, f16};
use milwright_ir::{BlobSource, ConstError, Constant, DataType, TensorType};

use crate::error::KernelError;
use crate::precision::Precision;

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

impl Tensor {
    /// Wraps `data`, which must be held as [`Precision::storage`] says for
    /// some mode.
    ///
    /// # Errors
    /// It is held in another type.
    pub fn new(dtype: DataType, data: candle_core::Tensor) -> Result<Self, KernelError> {
        let held = data.dtype();
        let modes = [Precision::Fp32, Precision::Fp64];
        if modes.iter().any(|mode| mode.storage(dtype) == Some(held)) {
            return Ok(Self { dtype, data });
        }
        Err(KernelError::Internal(format!(
            "a tensor of {dtype} held as {held:?}"
        )))
    }

    /// The dimensions.
    pub fn dims(&self) -> &[usize] {
        self.data.dims()
    }
}

impl From<Tensor> for Value {
    fn from(tensor: Tensor) -> Self {
        Self::Tensor(tensor)
    }
}

/// Reads a constant into a value, as `precision` holds it.
pub(crate) fn from_constant(
    constant: &Constant,
    blobs: &dyn BlobSource,
    precision: Precision,
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
            candle_core::Tensor::from_vec(words(&bytes, f64::from_le_bytes), shape, device)
        }
        dtype => match (precision.storage(dtype), dtype.bits()) {
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
    let tensor = Tensor {
        dtype: ty.dtype,
        data,
    };
    let held = precision.hold(tensor);
    held.map(Value::Tensor)
        .map_err(|_| kind("a tensor of numbers"))
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
