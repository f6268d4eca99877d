//! Values while a program runs. [`Precision`] says which type holds what.

use candle_core::{DType, Device};
use half::{bf16, f16};
use milwright_ir::{BlobSource, ConstData, ConstError, Constant, DataType, TensorType};

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
    List(List),
    /// What `classify` says of each class, in the order of the classes.
    Dict(Vec<(Label, f64)>),
    /// A handle of a state: the index of the function input that declares it.
    State(usize),
}

/// The value of a list.
#[derive(Clone, Debug)]
pub struct List {
    /// The elements; `None` for one that nothing wrote yet and whose shape is
    /// not known.
    pub elements: Vec<Option<Tensor>>,
    /// Whether writing behind the end makes it longer.
    pub dynamic: bool,
}

/// The name of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Label {
    /// As text.
    Text(String),
    /// As a number.
    Number(i64),
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

impl Value {
    /// The value with each tensor in it replaced.
    pub(crate) fn map(
        self,
        f: impl Fn(Tensor) -> Result<Tensor, KernelError>,
    ) -> Result<Self, KernelError> {
        Ok(match self {
            Self::Tensor(t) => Self::Tensor(f(t)?),
            Self::List(List { elements, dynamic }) => Self::List(List {
                elements: elements
                    .into_iter()
                    .map(|e| e.map(&f).transpose())
                    .collect::<Result<_, _>>()?,
                dynamic,
            }),
            other => other,
        })
    }
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
    if let ConstData::List(items) = &constant.data {
        return from_list(constant, items, blobs);
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

/// Reads a list of scalars, as `classify` has them: strings, or integers as a
/// vector.
fn from_list(
    constant: &Constant,
    items: &[Constant],
    blobs: &dyn BlobSource,
) -> Result<Value, ConstError> {
    let strings = items.iter().map(|c| c.as_str().map(str::to_owned));
    if let Some(strings) = strings.collect::<Option<Vec<String>>>()
        && !strings.is_empty()
    {
        return Ok(Value::Strings(strings));
    }
    let mut numbers = Vec::with_capacity(items.len());
    for item in items {
        numbers.extend(item.to_i64s(blobs)?);
    }
    let data = candle_core::Tensor::from_vec(numbers, items.len(), &Device::Cpu);
    let data = data.map_err(|_| ConstError::Kind {
        wanted: "a list of strings or integers",
        ty: constant.ty.to_string(),
    })?;
    Ok(Value::Tensor(Tensor {
        dtype: DataType::Int64,
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
