//! The elements: little- or big-endian, in rows or in columns.

use half::f16;

use crate::array::{DType, Data};

/// The elements of a stream; bytes that fill none are left out.
pub(super) fn decode(bytes: &[u8], dtype: DType, big_endian: bool) -> Data {
    macro_rules! each {
        ($t:ty) => {
            bytes
                .as_chunks::<{ size_of::<$t>() }>()
                .0
                .iter()
                .map(|&b| {
                    if big_endian {
                        <$t>::from_be_bytes(b)
                    } else {
                        <$t>::from_le_bytes(b)
                    }
                })
                .collect()
        };
    }
    match dtype {
        DType::Bool => Data::Bool(bytes.iter().map(|&b| b != 0).collect()),
        DType::Int8 => Data::Int8(each!(i8)),
        DType::Int16 => Data::Int16(each!(i16)),
        DType::Int32 => Data::Int32(each!(i32)),
        DType::Int64 => Data::Int64(each!(i64)),
        DType::Uint8 => Data::Uint8(each!(u8)),
        DType::Uint16 => Data::Uint16(each!(u16)),
        DType::Uint32 => Data::Uint32(each!(u32)),
        DType::Uint64 => Data::Uint64(each!(u64)),
        DType::Float16 => Data::Float16(each!(f16)),
        DType::Float32 => Data::Float32(each!(f32)),
        DType::Float64 => Data::Float64(each!(f64)),
    }
}

/// Little-endian bytes.
pub(super) fn encode(data: &Data) -> Vec<u8> {
    macro_rules! each {
        ($v:expr) => {
            $v.iter().flat_map(|x| x.to_le_bytes()).collect()
        };
    }
    match data {
        Data::Bool(v) => v.iter().map(|&b| u8::from(b)).collect(),
        Data::Int8(v) => each!(v),
        Data::Int16(v) => each!(v),
        Data::Int32(v) => each!(v),
        Data::Int64(v) => each!(v),
        Data::Uint8(v) => v.clone(),
        Data::Uint16(v) => each!(v),
        Data::Uint32(v) => each!(v),
        Data::Uint64(v) => each!(v),
        Data::Float16(v) => each!(v),
        Data::Float32(v) => each!(v),
        Data::Float64(v) => each!(v),
    }
}

/// Column-major elements put in row-major order. `v.len()` is the product of
/// `shape`.
pub(super) fn to_row_major<T: Copy>(v: &[T], shape: &[usize]) -> Vec<T> {
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = 1;
    for &d in shape {
        strides.push(stride);
        stride *= d;
    }
    let mut index = vec![0usize; shape.len()];
    let mut from = 0;
    let mut out = Vec::with_capacity(v.len());
    for _ in 0..v.len() {
        out.push(v[from]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            from += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            from -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    out
}

macro_rules! from_vec {
    ($($t:ty => $variant:ident),*) => {$(
        impl From<Vec<$t>> for Data {
            fn from(v: Vec<$t>) -> Self { Data::$variant(v) }
        }
    )*};
}
from_vec!(
    bool => Bool, i8 => Int8, i16 => Int16, i32 => Int32, i64 => Int64,
    u8 => Uint8, u16 => Uint16, u32 => Uint32, u64 => Uint64,
    f16 => Float16, f32 => Float32, f64 => Float64
);
