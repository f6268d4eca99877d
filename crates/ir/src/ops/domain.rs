//! Element types that many parameters share.

use super::Opset::{IOS16, IOS17};
use super::param::Domain;
use crate::types::DataType::{
    self, Bool, Float16, Float32, Int8, Int16, Int32, String, UInt8, UInt16, UInt32,
};

const FLOATS: &[DataType] = &[Float16, Float32];
const NUMBERS: &[DataType] = &[Float16, Float32, Int32];
const BASIC: &[DataType] = &[Float16, Float32, Int32, Bool];
const WIDE: &[DataType] = &[Float16, Float32, Int8, Int16, Int32, UInt8, UInt16, Bool];
const NARROW_NUMBERS: &[DataType] = &[Float16, Float32, Int8, Int16, Int32, UInt8, UInt16];

/// Floats; the same type for all parameters of the group `T`.
pub(super) const FLOAT: &[Domain] = &[Domain::new("T", FLOATS)];
/// Floats; from iOS 17 on they may differ from `x`.
pub(super) const FLOAT_U: &[Domain] = &[
    Domain::new("T", FLOATS),
    Domain::new("U", FLOATS).since(IOS17),
];
/// Floats and `int32`.
pub(super) const NUMBER: &[Domain] = &[Domain::new("T", NUMBERS)];
/// Floats and `int32`; from iOS 17 on they may differ from `x`.
pub(super) const NUMBER_U: &[Domain] = &[
    Domain::new("T", NUMBERS),
    Domain::new("U", NUMBERS).since(IOS17),
];
/// Floats and `int32`; from iOS 17 on also small integers.
pub(super) const NUMBER_NARROW: &[Domain] = &[
    Domain::new("T", NUMBERS),
    Domain::new("T", NARROW_NUMBERS).since(IOS17),
];
/// Floats and `int32`; from iOS 17 on all types.
pub(super) const NUMBER_WIDE: &[Domain] = &[
    Domain::new("T", NUMBERS),
    Domain::new("T", WIDE).since(IOS17),
];
/// Floats, `int32` and `bool`.
pub(super) const ANY: &[Domain] = &[Domain::new("T", BASIC)];
/// Floats, `int32` and `bool`, in a group of their own.
pub(super) const ANY_U: &[Domain] = &[Domain::new("U", BASIC)];
/// Floats, `int32` and `bool`; from iOS 17 on also small integers.
pub(super) const ANY_WIDE: &[Domain] =
    &[Domain::new("T", BASIC), Domain::new("T", WIDE).since(IOS17)];
/// All types that a state may hold.
pub(super) const STATE: &[Domain] = &[Domain::new("T", WIDE)];
/// `int32`.
pub(super) const INT32: &[Domain] = &[Domain::new("", &[Int32])];
/// `uint32`.
pub(super) const UINT32: &[Domain] = &[Domain::new("", &[UInt32])];
/// `bool`.
pub(super) const BOOL: &[Domain] = &[Domain::new("", &[Bool])];
/// `bool`, in the group `T`.
pub(super) const BOOLS: &[Domain] = &[Domain::new("T", &[Bool])];
/// `string`.
pub(super) const STRING: &[Domain] = &[Domain::new("", &[String])];
/// `fp16`.
pub(super) const FLOAT16: &[Domain] = &[Domain::new("", &[Float16])];
/// `fp32`.
pub(super) const FLOAT32: &[Domain] = &[Domain::new("", &[Float32])];
/// Positions and sizes: `int32`; from iOS 17 on also narrower ones.
pub(super) const EXTENT: &[Domain] = &[
    Domain::new("", &[Int32]),
    Domain::new("U", &[Int8, Int16, Int32]).since(IOS17),
];
/// Indices of `gather`: `int32`, later also narrower ones.
pub(super) const INDEX: &[Domain] = &[
    Domain::new("", &[Int32]),
    Domain::new("I", &[Int32, UInt16, Int16]).since(IOS16),
    Domain::new("I", &[Int32, Int16, UInt16, Int8, UInt8]).since(IOS17),
];
/// `fp32`; from iOS 17 on also `fp16`.
pub(super) const RECURRENT: &[Domain] = &[
    Domain::new("T", &[Float32]),
    Domain::new("T", FLOATS).since(IOS17),
];
