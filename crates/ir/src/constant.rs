//! Constants: immediate in the spec, in a weight file, or made by a pass.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use half::{bf16, f16};

use crate::types::{DataType, TensorType, ValueType};

/// A typed constant.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// Its type, as the file declares it.
    pub ty: ValueType,
    /// Where its elements are.
    pub data: ConstData,
    /// Free text of the format's `docString` field; almost always empty.
    pub doc_string: String,
}

/// The elements of a [`Constant`].
#[derive(Clone, Debug, PartialEq)]
pub enum ConstData {
    /// Elements written in the spec.
    Tensor(TensorData),
    /// A tuple of constants.
    Tuple(Vec<Constant>),
    /// A list of constants.
    List(Vec<Constant>),
    /// A dictionary, in file order.
    Dict(Vec<(Constant, Constant)>),
    /// Elements in a weight file.
    Blob(BlobRef),
    /// Some of the elements of a blob, which a pass divided; when the model is
    /// saved, they become a blob of their own, copied from file to file.
    Range(BlobRange),
    /// Elements that a pass made; they go to the weight file when the model is
    /// saved. Little-endian, packed as in a weight file.
    New(Bytes),
    /// A message without a value; carried through.
    Missing,
}

/// Immediate elements, in the form the file stores them.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// `fp32`.
    Floats(Vec<f32>),
    /// `fp64`.
    Doubles(Vec<f64>),
    /// `int32` (and narrower types of some writers).
    Ints(Vec<i32>),
    /// `int64`.
    LongInts(Vec<i64>),
    /// `bool`.
    Bools(Vec<bool>),
    /// `string`.
    Strings(Vec<String>),
    /// Everything else (`fp16`, `int8`, ...), little-endian.
    Bytes(Bytes),
    /// A message without elements; carried through.
    Missing,
}

impl TensorData {
    /// Elements in the field that the format uses for their type, from
    /// little-endian packed bytes.
    pub fn from_bytes(dtype: DataType, bytes: &Bytes) -> Self {
        match dtype {
            DataType::Float32 => Self::Floats(each(bytes, f32::from_le_bytes)),
            DataType::Float64 => Self::Doubles(each(bytes, f64::from_le_bytes)),
            DataType::Int32 => Self::Ints(each(bytes, i32::from_le_bytes)),
            DataType::Int16 => Self::Ints(each(bytes, |b| i16::from_le_bytes(b).into())),
            DataType::UInt16 => Self::Ints(each(bytes, |b| u16::from_le_bytes(b).into())),
            DataType::Int64 | DataType::UInt64 => Self::LongInts(each(bytes, i64::from_le_bytes)),
            DataType::Bool => Self::Bools(bytes.iter().map(|&b| b != 0).collect()),
            _ => Self::Bytes(bytes.clone()),
        }
    }
}

/// A place in a weight file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobRef {
    /// File name as written in the spec, e.g. `@model_path/weights/weight.bin`.
    pub file_name: Arc<str>,
    /// Byte offset of the blob's 64-byte metadata record.
    pub offset: u64,
}

/// Elements of a blob that follow one another. How many there are is what the
/// constant's type says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobRange {
    /// The whole.
    pub blob: BlobRef,
    /// The first byte, counted from the blob's first.
    pub start: u64,
}

/// What resolves a [`BlobRef`] to bytes; a package is one.
pub trait BlobSource {
    /// The elements at `blob`. Length and type are those of the blob's metadata
    /// record; [`Constant::bytes`] compares them with what the program declares.
    ///
    /// # Errors
    /// The file or the record cannot be read; the message names both.
    fn blob(&self, blob: &BlobRef) -> Result<BlobData<'_>, ConstError>;
}

/// The elements of a blob.
#[derive(Clone, Copy, Debug)]
pub struct BlobData<'a> {
    /// Element type by the weight file; `None` if this build does not know it.
    pub dtype: Option<DataType>,
    /// Elements, little-endian and packed.
    pub bytes: &'a [u8],
}

/// A [`BlobSource`] without any file, for programs that hold no blobs.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoBlobs;

impl BlobSource for NoBlobs {
    fn blob(&self, blob: &BlobRef) -> Result<BlobData<'_>, ConstError> {
        Err(ConstError::Blob {
            file_name: blob.file_name.to_string(),
            offset: blob.offset,
            cause: "this program was made without weight files".into(),
        })
    }
}

/// Why the elements of a constant could not be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConstError {
    /// The weight file or its record is bad.
    #[error("weight at offset {offset} of {file_name}: {cause}")]
    Blob {
        /// File name as written in the spec.
        file_name: String,
        /// Offset of the metadata record.
        offset: u64,
        /// What is wrong.
        cause: String,
    },
    /// The number of bytes or elements does not fit the type.
    #[error("constant of type {ty} needs {expected}, found {found}")]
    Size {
        /// Declared type.
        ty: String,
        /// What the type asks for, with its unit.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The constant is not of the kind that was asked for.
    #[error("expected {wanted}, found a constant of type {ty}")]
    Kind {
        /// What the caller wanted.
        wanted: &'static str,
        /// Declared type.
        ty: String,
    },
}

impl Constant {
    /// A constant of that type and data.
    pub fn new(ty: impl Into<ValueType>, data: ConstData) -> Self {
        Self {
            ty: ty.into(),
            data,
            doc_string: String::new(),
        }
    }

    /// A scalar `string`.
    pub fn string(value: impl Into<String>) -> Self {
        Self::tensor(
            TensorType::scalar(DataType::String),
            TensorData::Strings(vec![value.into()]),
        )
    }

    /// A scalar `bool`.
    pub fn bool(value: bool) -> Self {
        Self::tensor(
            TensorType::scalar(DataType::Bool),
            TensorData::Bools(vec![value]),
        )
    }

    /// A scalar `int32`.
    pub fn int(value: i32) -> Self {
        Self::tensor(
            TensorType::scalar(DataType::Int32),
            TensorData::Ints(vec![value]),
        )
    }

    /// A vector of `int32`.
    pub fn ints(values: &[i32]) -> Self {
        Self::tensor(
            TensorType::fixed(DataType::Int32, &[values.len() as u64]),
            TensorData::Ints(values.to_vec()),
        )
    }

    /// A vector of `bool`.
    pub fn bools(values: &[bool]) -> Self {
        Self::tensor(
            TensorType::fixed(DataType::Bool, &[values.len() as u64]),
            TensorData::Bools(values.to_vec()),
        )
    }

    /// A scalar of a float type, rounded to it (`fp16`, `fp32`, `fp64`, `bf16`);
    /// `None` for other types.
    pub fn float(dtype: DataType, value: f64) -> Option<Self> {
        let data = match dtype {
            DataType::Float32 => TensorData::Floats(vec![value as f32]),
            DataType::Float64 => TensorData::Doubles(vec![value]),
            DataType::Float16 => {
                TensorData::Bytes(f16::from_f64(value).to_le_bytes().to_vec().into())
            }
            DataType::BFloat16 => {
                TensorData::Bytes(bf16::from_f64(value).to_le_bytes().to_vec().into())
            }
            _ => return None,
        };
        Some(Self::tensor(TensorType::scalar(dtype), data))
    }

    /// An immediate tensor.
    pub fn tensor(ty: TensorType, data: TensorData) -> Self {
        Self::new(ty, ConstData::Tensor(data))
    }

    /// The tensor type, if this is a tensor.
    pub fn tensor_type(&self) -> Option<&TensorType> {
        self.ty.as_tensor()
    }

    /// The elements as little-endian packed bytes, as a weight file holds them.
    /// `bool` is one byte an element.
    ///
    /// # Errors
    /// The constant is no fixed-shape tensor of a fixed-width type, its blob
    /// cannot be read, or the number of bytes differs from what the type needs.
    pub fn bytes<'a>(&'a self, blobs: &'a dyn BlobSource) -> Result<Cow<'a, [u8]>, ConstError> {
        let (Some(ty), Some(expected)) = (
            self.tensor_type(),
            self.tensor_type()
                .and_then(|t| t.dtype.byte_len(t.elements()?)),
        ) else {
            return Err(self.kind("a tensor of fixed shape and width"));
        };
        let bytes: Cow<'_, [u8]> = match &self.data {
            ConstData::Blob(blob) => typed_blob(blob, ty, blobs)?.into(),
            ConstData::Range(range) => {
                let whole = typed_blob(&range.blob, ty, blobs)?;
                let end = range.start.checked_add(expected);
                let part = end.and_then(|end| {
                    whole.get(usize::try_from(range.start).ok()?..usize::try_from(end).ok()?)
                });
                let Some(part) = part else {
                    return Err(ConstError::Size {
                        ty: self.ty.to_string(),
                        expected: format!("{expected} bytes from byte {} on", range.start),
                        found: format!("{} bytes", whole.len()),
                    });
                };
                part.into()
            }
            ConstData::New(bytes) => bytes.as_ref().into(),
            ConstData::Tensor(data) => match data {
                TensorData::Bytes(b) => b.as_ref().into(),
                TensorData::Floats(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
                TensorData::Doubles(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
                TensorData::LongInts(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
                TensorData::Bools(v) => v.iter().map(|&x| u8::from(x)).collect(),
                TensorData::Ints(v) => match ty.dtype {
                    DataType::Int32 | DataType::UInt32 => {
                        v.iter().flat_map(|x| x.to_le_bytes()).collect()
                    }
                    DataType::Int16 | DataType::UInt16 => {
                        v.iter().flat_map(|&x| (x as i16).to_le_bytes()).collect()
                    }
                    DataType::Int8 | DataType::UInt8 => v.iter().map(|&x| x as u8).collect(),
                    _ => return Err(self.kind("an immediate of a fixed-width type")),
                },
                TensorData::Strings(_) | TensorData::Missing => {
                    return Err(self.kind("a tensor of numbers"));
                }
            },
            _ => return Err(self.kind("a tensor")),
        };
        if bytes.len() as u64 != expected {
            return Err(ConstError::Size {
                ty: self.ty.to_string(),
                expected: format!("{expected} bytes"),
                found: format!("{} bytes", bytes.len()),
            });
        }
        Ok(bytes)
    }

    /// The elements as `f64`, from any float, integer or bool type of at least
    /// eight bits.
    ///
    /// # Errors
    /// As [`Constant::bytes`], or the type is `string` or narrower than a byte.
    pub fn to_f64s(&self, blobs: &dyn BlobSource) -> Result<Vec<f64>, ConstError> {
        let Some(ty) = self.tensor_type() else {
            return Err(self.kind("a tensor of numbers"));
        };
        let bytes = self.bytes(blobs)?;
        Ok(match ty.dtype {
            DataType::Float16 => each(&bytes, |b| f16::from_le_bytes(b).to_f64()),
            DataType::BFloat16 => each(&bytes, |b| bf16::from_le_bytes(b).to_f64()),
            DataType::Float32 => each(&bytes, |b| f64::from(f32::from_le_bytes(b))),
            DataType::Float64 => each(&bytes, f64::from_le_bytes),
            _ => self.to_i64s(blobs)?.into_iter().map(|x| x as f64).collect(),
        })
    }

    /// The elements as `i64`, from any integer type of at least eight bits or
    /// `bool`.
    ///
    /// # Errors
    /// As [`Constant::bytes`], or the type is not such an integer.
    pub fn to_i64s(&self, blobs: &dyn BlobSource) -> Result<Vec<i64>, ConstError> {
        let Some(ty) = self.tensor_type() else {
            return Err(self.kind("a tensor of integers"));
        };
        let bytes = self.bytes(blobs)?;
        Ok(match ty.dtype {
            DataType::Bool | DataType::UInt8 => bytes.iter().map(|&b| i64::from(b)).collect(),
            DataType::Int8 => bytes.iter().map(|&b| i64::from(b as i8)).collect(),
            DataType::Int16 => each(&bytes, |b| i64::from(i16::from_le_bytes(b))),
            DataType::UInt16 => each(&bytes, |b| i64::from(u16::from_le_bytes(b))),
            DataType::Int32 => each(&bytes, |b| i64::from(i32::from_le_bytes(b))),
            DataType::UInt32 => each(&bytes, |b| i64::from(u32::from_le_bytes(b))),
            DataType::Int64 => each(&bytes, i64::from_le_bytes),
            DataType::UInt64 => each(&bytes, |b| u64::from_le_bytes(b) as i64),
            _ => return Err(self.kind("a tensor of integers")),
        })
    }

    /// The elements of a `bool` tensor.
    ///
    /// # Errors
    /// As [`Constant::bytes`], or the type is not `bool`.
    pub fn to_bools(&self, blobs: &dyn BlobSource) -> Result<Vec<bool>, ConstError> {
        match self.tensor_type() {
            Some(ty) if ty.dtype == DataType::Bool => {
                Ok(self.bytes(blobs)?.iter().map(|&b| b != 0).collect())
            }
            _ => Err(self.kind("a tensor of bool")),
        }
    }

    /// The elements of an immediate `string` tensor.
    pub fn strings(&self) -> Option<&[String]> {
        match &self.data {
            ConstData::Tensor(TensorData::Strings(v)) => Some(v),
            _ => None,
        }
    }

    /// The string of a one-element `string` tensor.
    pub fn as_str(&self) -> Option<&str> {
        match self.strings() {
            Some([one]) => Some(one),
            _ => None,
        }
    }

    /// Calls `f` on this constant and on every one nested in it.
    pub fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Constant)) {
        f(self);
        match &self.data {
            ConstData::Tuple(items) | ConstData::List(items) => {
                items.iter().for_each(|c| c.visit(f));
            }
            ConstData::Dict(pairs) => pairs.iter().for_each(|(k, v)| {
                k.visit(f);
                v.visit(f);
            }),
            _ => {}
        }
    }

    /// Calls `f` on this constant and on every one nested in it.
    pub fn visit_mut(&mut self, f: &mut dyn FnMut(&mut Constant)) {
        f(self);
        match &mut self.data {
            ConstData::Tuple(items) | ConstData::List(items) => {
                items.iter_mut().for_each(|c| c.visit_mut(f));
            }
            ConstData::Dict(pairs) => pairs.iter_mut().for_each(|(k, v)| {
                k.visit_mut(f);
                v.visit_mut(f);
            }),
            _ => {}
        }
    }

    fn kind(&self, wanted: &'static str) -> ConstError {
        ConstError::Kind {
            wanted,
            ty: self.ty.to_string(),
        }
    }
}

/// The bytes of a blob that is to hold elements of that type.
fn typed_blob<'a>(
    blob: &BlobRef,
    ty: &TensorType,
    blobs: &'a dyn BlobSource,
) -> Result<&'a [u8], ConstError> {
    let data = blobs.blob(blob)?;
    match data.dtype {
        Some(dtype) if dtype != ty.dtype => Err(ConstError::Blob {
            file_name: blob.file_name.to_string(),
            offset: blob.offset,
            cause: format!("holds {dtype}, but the program declares {ty}"),
        }),
        _ => Ok(data.bytes),
    }
}

fn each<const N: usize, T>(bytes: &[u8], f: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|b| f(*b)).collect()
}
