//! Element types, shapes and the types of values.

use std::fmt;

use milwright_package::proto;

use crate::shape;

/// The type of an element, named as in MIL text (`fp16`, `int32`, ...).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DataType {
    /// `bool`, one byte an element in memory.
    Bool,
    /// `string`.
    String,
    /// `fp16`, IEEE binary16.
    Float16,
    /// `fp32`, IEEE binary32.
    Float32,
    /// `fp64`, IEEE binary64.
    Float64,
    /// `bf16`.
    BFloat16,
    /// `fp8e4m3fn`.
    Float8E4M3FN,
    /// `fp8e5m2`.
    Float8E5M2,
    /// `int4`, packed two to a byte.
    Int4,
    /// `int8`.
    Int8,
    /// `int16`.
    Int16,
    /// `int32`.
    Int32,
    /// `int64`.
    Int64,
    /// `uint1`, packed.
    UInt1,
    /// `uint2`, packed.
    UInt2,
    /// `uint3`, packed.
    UInt3,
    /// `uint4`, packed.
    UInt4,
    /// `uint6`, packed.
    UInt6,
    /// `uint8`.
    UInt8,
    /// `uint16`.
    UInt16,
    /// `uint32`.
    UInt32,
    /// `uint64`.
    UInt64,
    /// A number that the schema does not know; carried through.
    Unknown(i32),
}

impl DataType {
    /// Every type that the schema names.
    pub const ALL: [DataType; 22] = {
        use DataType::*;
        [
            Bool,
            String,
            Float16,
            Float32,
            Float64,
            BFloat16,
            Float8E4M3FN,
            Float8E5M2,
            Int4,
            Int8,
            Int16,
            Int32,
            Int64,
            UInt1,
            UInt2,
            UInt3,
            UInt4,
            UInt6,
            UInt8,
            UInt16,
            UInt32,
            UInt64,
        ]
    };

    /// Name as MIL text spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::String => "string",
            Self::Float16 => "fp16",
            Self::Float32 => "fp32",
            Self::Float64 => "fp64",
            Self::BFloat16 => "bf16",
            Self::Float8E4M3FN => "fp8e4m3fn",
            Self::Float8E5M2 => "fp8e5m2",
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::UInt1 => "uint1",
            Self::UInt2 => "uint2",
            Self::UInt3 => "uint3",
            Self::UInt4 => "uint4",
            Self::UInt6 => "uint6",
            Self::UInt8 => "uint8",
            Self::UInt16 => "uint16",
            Self::UInt32 => "uint32",
            Self::UInt64 => "uint64",
            Self::Unknown(_) => "unknown",
        }
    }

    /// The type of that name in MIL text.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.name() == name)
    }

    /// Width of one element in bits, packed as in a weight file; `None` for
    /// `string` and unknown types.
    pub fn bits(self) -> Option<u64> {
        Some(match self {
            Self::UInt1 => 1,
            Self::UInt2 => 2,
            Self::UInt3 => 3,
            Self::Int4 | Self::UInt4 => 4,
            Self::UInt6 => 6,
            Self::Bool | Self::Int8 | Self::UInt8 | Self::Float8E4M3FN | Self::Float8E5M2 => 8,
            Self::Float16 | Self::BFloat16 | Self::Int16 | Self::UInt16 => 16,
            Self::Float32 | Self::Int32 | Self::UInt32 => 32,
            Self::Float64 | Self::Int64 | Self::UInt64 => 64,
            Self::String | Self::Unknown(_) => return None,
        })
    }

    /// Bytes that `elements` of this type take in a weight file; `None` when
    /// the type has no fixed width or the size overflows.
    pub fn byte_len(self, elements: u64) -> Option<u64> {
        Some(elements.checked_mul(self.bits()?)?.div_ceil(8))
    }

    /// `fp16`, `fp32`, `fp64`, `bf16` or an fp8 type.
    pub fn is_float(self) -> bool {
        matches!(
            self,
            Self::Float16
                | Self::Float32
                | Self::Float64
                | Self::BFloat16
                | Self::Float8E4M3FN
                | Self::Float8E5M2
        )
    }

    /// Any signed or unsigned integer type (not `bool`).
    pub fn is_int(self) -> bool {
        !self.is_float() && !matches!(self, Self::Bool | Self::String | Self::Unknown(_))
    }

    pub(crate) fn from_wire(number: i32) -> Self {
        use proto::DataType as P;
        match P::try_from(number) {
            Ok(P::Bool) => Self::Bool,
            Ok(P::String) => Self::String,
            Ok(P::Float16) => Self::Float16,
            Ok(P::Float32) => Self::Float32,
            Ok(P::Float64) => Self::Float64,
            Ok(P::Bfloat16) => Self::BFloat16,
            Ok(P::Float8e4m3fn) => Self::Float8E4M3FN,
            Ok(P::Float8e5m2) => Self::Float8E5M2,
            Ok(P::Int4) => Self::Int4,
            Ok(P::Int8) => Self::Int8,
            Ok(P::Int16) => Self::Int16,
            Ok(P::Int32) => Self::Int32,
            Ok(P::Int64) => Self::Int64,
            Ok(P::Uint1) => Self::UInt1,
            Ok(P::Uint2) => Self::UInt2,
            Ok(P::Uint3) => Self::UInt3,
            Ok(P::Uint4) => Self::UInt4,
            Ok(P::Uint6) => Self::UInt6,
            Ok(P::Uint8) => Self::UInt8,
            Ok(P::Uint16) => Self::UInt16,
            Ok(P::Uint32) => Self::UInt32,
            Ok(P::Uint64) => Self::UInt64,
            Ok(P::UnusedType) | Err(_) => Self::Unknown(number),
        }
    }

    pub(crate) fn to_wire(self) -> i32 {
        use proto::DataType as P;
        let known = match self {
            Self::Bool => P::Bool,
            Self::String => P::String,
            Self::Float16 => P::Float16,
            Self::Float32 => P::Float32,
            Self::Float64 => P::Float64,
            Self::BFloat16 => P::Bfloat16,
            Self::Float8E4M3FN => P::Float8e4m3fn,
            Self::Float8E5M2 => P::Float8e5m2,
            Self::Int4 => P::Int4,
            Self::Int8 => P::Int8,
            Self::Int16 => P::Int16,
            Self::Int32 => P::Int32,
            Self::Int64 => P::Int64,
            Self::UInt1 => P::Uint1,
            Self::UInt2 => P::Uint2,
            Self::UInt3 => P::Uint3,
            Self::UInt4 => P::Uint4,
            Self::UInt6 => P::Uint6,
            Self::UInt8 => P::Uint8,
            Self::UInt16 => P::Uint16,
            Self::UInt32 => P::Uint32,
            Self::UInt64 => P::Uint64,
            Self::Unknown(number) => return number,
        };
        known as i32
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(number) => write!(f, "dtype{number}"),
            known => f.write_str(known.name()),
        }
    }
}

/// One dimension of a tensor type, or the length of a list type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// A size fixed in the program.
    Known(u64),
    /// A size known only when the program runs; `?` in text.
    Unknown,
    /// Any number of dimensions; makes the tensor's rank unknown; `...` in text.
    Variadic,
}

impl Dim {
    /// The size, when it is fixed.
    pub fn known(self) -> Option<u64> {
        match self {
            Self::Known(size) => Some(size),
            Self::Unknown | Self::Variadic => None,
        }
    }
}

impl From<u64> for Dim {
    fn from(size: u64) -> Self {
        Self::Known(size)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(size) => write!(f, "{size}"),
            Self::Unknown => f.write_str("?"),
            Self::Variadic => f.write_str("..."),
        }
    }
}

/// Element type and shape. A scalar has an empty shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// Type of an element.
    pub dtype: DataType,
    /// Dimensions, outermost first.
    pub shape: Vec<Dim>,
}

impl TensorType {
    /// A tensor type of that element type and shape.
    pub fn new(dtype: DataType, shape: impl Into<Vec<Dim>>) -> Self {
        Self {
            dtype,
            shape: shape.into(),
        }
    }

    /// A tensor type with fixed dimensions.
    pub fn fixed(dtype: DataType, shape: &[u64]) -> Self {
        Self::new(
            dtype,
            shape.iter().map(|&d| Dim::Known(d)).collect::<Vec<_>>(),
        )
    }

    /// A scalar.
    pub fn scalar(dtype: DataType) -> Self {
        Self::new(dtype, Vec::new())
    }

    /// The number of dimensions; `None` when it is not known.
    pub fn rank(&self) -> Option<usize> {
        (!self.shape.contains(&Dim::Variadic)).then_some(self.shape.len())
    }

    /// All dimensions, when every one is fixed.
    pub fn known_shape(&self) -> Option<Vec<u64>> {
        self.shape.iter().map(|d| d.known()).collect()
    }

    /// The number of elements, when every dimension is fixed and the product
    /// does not overflow.
    pub fn elements(&self) -> Option<u64> {
        self.known_shape()?
            .into_iter()
            .try_fold(1u64, u64::checked_mul)
    }

    /// The type as a pipeline manifest spells it: `fp32[1,128,?]`.
    pub fn brief(&self) -> String {
        let sizes: Vec<String> = self.shape.iter().map(Dim::to_string).collect();
        format!("{}[{}]", self.dtype, sizes.join(","))
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tensor<{}, {}>", self.dtype, ShapeDisplay(&self.shape))
    }
}

/// Formats a shape as `[1, ?, 3]`.
pub struct ShapeDisplay<'a>(pub &'a [Dim]);

impl fmt::Display for ShapeDisplay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, dim) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{dim}")?;
        }
        f.write_str("]")
    }
}

/// The type of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// A tensor; a scalar is one of rank 0.
    Tensor(TensorType),
    /// A list of equally typed elements.
    List {
        /// Type of an element.
        element: Box<ValueType>,
        /// Number of elements.
        length: Dim,
    },
    /// A fixed sequence of types.
    Tuple(Vec<ValueType>),
    /// A dictionary.
    Dict {
        /// Type of the keys.
        key: Box<ValueType>,
        /// Type of the values.
        value: Box<ValueType>,
    },
    /// A handle of a state that outlives a prediction (iOS 18).
    State(Box<ValueType>),
    /// A message without a type; carried through.
    Missing,
}

impl ValueType {
    /// The tensor type, if this is one.
    pub fn as_tensor(&self) -> Option<&TensorType> {
        match self {
            Self::Tensor(t) => Some(t),
            _ => None,
        }
    }
}

impl ValueType {
    /// Whether a value can be of both types: what both know is the same.
    /// Sizes and ranks that one does not know are no difference.
    pub fn fits(&self, other: &ValueType) -> bool {
        match (self, other) {
            (Self::Tensor(a), Self::Tensor(b)) => {
                a.dtype == b.dtype && shape::merge_shapes(&a.shape, &b.shape).is_some()
            }
            (
                Self::List { element, length },
                Self::List {
                    element: other_element,
                    length: other_length,
                },
            ) => element.fits(other_element) && shape::merge(*length, *other_length).is_some(),
            (Self::Tuple(a), Self::Tuple(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.fits(b))
            }
            (
                Self::Dict { key, value },
                Self::Dict {
                    key: other_key,
                    value: other_value,
                },
            ) => key.fits(other_key) && value.fits(other_value),
            (Self::State(a), Self::State(b)) => a.fits(b),
            (Self::Missing, _) | (_, Self::Missing) => true,
            _ => false,
        }
    }
}

impl From<TensorType> for ValueType {
    fn from(t: TensorType) -> Self {
        Self::Tensor(t)
    }
}

impl ValueType {
    /// The type as a pipeline manifest spells it: that of a tensor, or of the
    /// tensor in a state, in brief.
    pub fn brief(&self) -> String {
        match self {
            Self::Tensor(t) => t.brief(),
            Self::State(inner) => inner.brief(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensor(t) => t.fmt(f),
            Self::List { element, length } => write!(f, "list<{element}, {length}>"),
            Self::Tuple(types) => {
                f.write_str("tuple<")?;
                for (i, t) in types.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    t.fmt(f)?;
                }
                f.write_str(">")
            }
            Self::Dict { key, value } => write!(f, "dict<{key}, {value}>"),
            Self::State(inner) => write!(f, "state<{inner}>"),
            Self::Missing => f.write_str("untyped"),
        }
    }
}
