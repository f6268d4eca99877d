//! Named numbers between a file and a program: [`Array`], [`DType`], [`Data`].

use half::f16;
use serde::Serialize;

/// The largest rank accepted, NumPy's own limit before version 2.
pub const MAX_RANK: usize = 32;

/// Element types of NumPy arrays that a feature of a model can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are NumPy's")]
pub enum DType {
    Bool,
    Int8,
    Int16,
    Int32,
    Int64,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Float16,
    Float32,
    Float64,
}

/// What a [`DType`] counts as when two sides are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Kind {
    Bool,
    Integer,
    Float,
}

impl DType {
    /// NumPy's name, as in `np.dtype(...).name`.
    pub fn name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::Int8 => "int8",
            DType::Int16 => "int16",
            DType::Int32 => "int32",
            DType::Int64 => "int64",
            DType::Uint8 => "uint8",
            DType::Uint16 => "uint16",
            DType::Uint32 => "uint32",
            DType::Uint64 => "uint64",
            DType::Float16 => "float16",
            DType::Float32 => "float32",
            DType::Float64 => "float64",
        }
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::Bool | DType::Int8 | DType::Uint8 => 1,
            DType::Int16 | DType::Uint16 | DType::Float16 => 2,
            DType::Int32 | DType::Uint32 | DType::Float32 => 4,
            DType::Int64 | DType::Uint64 | DType::Float64 => 8,
        }
    }

    /// Truth values, integers or floats.
    pub fn kind(self) -> Kind {
        match self {
            DType::Bool => Kind::Bool,
            DType::Float16 | DType::Float32 | DType::Float64 => Kind::Float,
            _ => Kind::Integer,
        }
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The elements of an [`Array`] in row-major order.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "one variant for each `DType`")]
pub enum Data {
    Bool(Vec<bool>),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Uint8(Vec<u8>),
    Uint16(Vec<u16>),
    Uint32(Vec<u32>),
    Uint64(Vec<u64>),
    Float16(Vec<f16>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
}

/// Runs one expression on the vector inside a [`Data`], whatever its type.
macro_rules! with_data {
    ($data:expr, $v:ident => $body:expr) => {
        match $data {
            $crate::array::Data::Bool($v) => $body,
            $crate::array::Data::Int8($v) => $body,
            $crate::array::Data::Int16($v) => $body,
            $crate::array::Data::Int32($v) => $body,
            $crate::array::Data::Int64($v) => $body,
            $crate::array::Data::Uint8($v) => $body,
            $crate::array::Data::Uint16($v) => $body,
            $crate::array::Data::Uint32($v) => $body,
            $crate::array::Data::Uint64($v) => $body,
            $crate::array::Data::Float16($v) => $body,
            $crate::array::Data::Float32($v) => $body,
            $crate::array::Data::Float64($v) => $body,
        }
    };
}
pub(crate) use with_data;

impl Data {
    /// Number of elements.
    pub fn len(&self) -> usize {
        with_data!(self, v => v.len())
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        match self {
            Data::Bool(_) => DType::Bool,
            Data::Int8(_) => DType::Int8,
            Data::Int16(_) => DType::Int16,
            Data::Int32(_) => DType::Int32,
            Data::Int64(_) => DType::Int64,
            Data::Uint8(_) => DType::Uint8,
            Data::Uint16(_) => DType::Uint16,
            Data::Uint32(_) => DType::Uint32,
            Data::Uint64(_) => DType::Uint64,
            Data::Float16(_) => DType::Float16,
            Data::Float32(_) => DType::Float32,
            Data::Float64(_) => DType::Float64,
        }
    }

    /// Every element as `f64`. Exact except for integers beyond 2^53.
    pub fn to_f64(&self) -> Vec<f64> {
        with_data!(self, v => v.iter().map(|&x| Number::to_f64(x)).collect())
    }

    /// Every element as `i128`, or `None` for floats.
    pub fn to_i128(&self) -> Option<Vec<i128>> {
        with_data!(self, v => v.iter().map(|&x| Number::to_i128(x)).collect())
    }
}

/// What the element types have in common.
pub(crate) trait Number: Copy {
    fn to_f64(self) -> f64;
    fn to_i128(self) -> Option<i128>;
}

macro_rules! integers {
    ($($t:ty),*) => {$(
        impl Number for $t {
            fn to_f64(self) -> f64 { self as f64 }
            fn to_i128(self) -> Option<i128> { Some(i128::from(self)) }
        }
    )*};
}
integers!(i8, i16, i32, i64, u8, u16, u32, u64);

impl Number for bool {
    fn to_f64(self) -> f64 {
        f64::from(u8::from(self))
    }
    fn to_i128(self) -> Option<i128> {
        Some(i128::from(self))
    }
}

macro_rules! floats {
    ($($t:ty),*) => {$(
        impl Number for $t {
            fn to_f64(self) -> f64 { f64::from(self) }
            fn to_i128(self) -> Option<i128> { None }
        }
    )*};
}
floats!(f16, f32, f64);

/// An n-dimensional array with its elements in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    shape: Vec<usize>,
    data: Data,
}

impl Array {
    /// Joins a shape and its elements; `None` when their counts differ or the
    /// count overflows.
    pub fn new(shape: Vec<usize>, data: Data) -> Option<Self> {
        (element_count(&shape)? == data.len()).then_some(Array { shape, data })
    }

    /// Extent of every axis; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements in row-major order.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }
}

/// Product of the extents, `None` when it overflows.
pub fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

/// Arrays in the order of the file or of the features they belong to.
///
/// Names are unique; [`NamedArrays::insert`] keeps them so.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NamedArrays(Vec<(String, Array)>);

impl NamedArrays {
    /// No arrays.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an array at the end and returns `true`, or leaves the arrays as
    /// they are and returns `false` when the name is taken.
    pub fn insert(&mut self, name: impl Into<String>, array: Array) -> bool {
        let name = name.into();
        if self.get(&name).is_some() {
            return false;
        }
        self.0.push((name, array));
        true
    }

    /// The array of that name.
    pub fn get(&self, name: &str) -> Option<&Array> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, a)| a)
    }

    /// Names and arrays in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Array)> {
        self.0.iter().map(|(n, a)| (n.as_str(), a))
    }

    /// The names in order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(|(n, _)| n.as_str())
    }

    /// Number of arrays.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no array.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
