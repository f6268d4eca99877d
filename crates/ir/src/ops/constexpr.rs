//! Compressed weights: constant tensors that are computed when the model is loaded.
//!
//! Up to iOS 17 their parameters are attributes of the operation; from iOS 18
//! on they are arguments, which may be other `constexpr` operations.

use super::Opset::{IOS16, IOS18};
use super::domain::{FLOAT16, INT32, STRING, UINT32};
use super::{Domain, OpDef, Param};
use crate::types::DataType::{
    self, Float16, Float32, Int4, Int8, UInt1, UInt2, UInt3, UInt4, UInt6, UInt8,
};
use crate::types::ValueType;
use crate::view::{OpView, ParamError};

const FLOATS: &[DataType] = &[Float16, Float32];
const BYTES_OR_FLOATS: &[DataType] = &[Int8, UInt8, Float16, Float32];
const SUB_BYTES: &[DataType] = &[Int4, UInt4, Int8, UInt8, Float16, Float32];
const INDEX_TYPES: &[DataType] = &[UInt1, UInt2, UInt3, UInt4, UInt6, UInt8];

const SOURCE_BYTES: &[Domain] = &[Domain::new("SrcT", &[UInt8, Int8])];
const ZERO_POINT: &[Domain] = &[Domain::new("ZeroPointT", &[UInt8, Int8, Float32])];
const RESULT: &[Domain] = &[Domain::new("DstT", FLOATS)];
const TABLE: &[Domain] = &[Domain::new("T", BYTES_OR_FLOATS)];
const INDICES: &[Domain] = &[
    Domain::new("", &[UInt8]),
    Domain::new("IndicesT", INDEX_TYPES).since(IOS18),
];
const NONZERO: &[Domain] = &[
    Domain::new("T", BYTES_OR_FLOATS),
    Domain::new("T", SUB_BYTES).since(IOS18),
];
const MASK: &[Domain] = &[
    Domain::new("", &[UInt8]),
    Domain::new("", &[UInt1]).since(IOS18),
];
const BIT_MASK: &[Domain] = &[Domain::new("", &[UInt1])];
const SOURCE: &[Domain] = &[Domain::new("SrcT", SUB_BYTES)];
const OFFSET: &[Domain] = &[Domain::new("OffsetT", SUB_BYTES)];

const VECTOR_AXIS: Param = Param::constant("vector_axis", INT32)
    .since(IOS18)
    .optional("the table holds scalars");
const SHAPE: Param = Param::constant("shape", UINT32).until(IOS18);

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new(
        "constexpr_affine_dequantize",
        "`scale * (quantized_data - zero_point)`; scale and zero point are scalars or per `axis`.",
        &[
            Param::constant("quantized_data", SOURCE_BYTES),
            Param::constant("zero_point", ZERO_POINT),
            Param::constant("scale", RESULT),
            Param::constant("axis", INT32),
        ],
        affine_dequantize,
    )
    .since(IOS16),
    OpDef::new(
        "constexpr_cast",
        "Converts to the type that `output_dtype` names (`fp32`).",
        &[
            Param::constant("source_val", FLOAT16),
            Param::constant("output_dtype", STRING),
        ],
        cast,
    )
    .since(IOS16),
    OpDef::new(
        "constexpr_lut_to_dense",
        "Palette: the elements of `lut` at `indices`. Up to iOS 17 the indices are packed bits \
         and `shape` is that of the result.",
        &[
            Param::constant("indices", INDICES),
            Param::constant("lut", TABLE),
            SHAPE,
            VECTOR_AXIS,
        ],
        lut_to_dense,
    )
    .since(IOS16)
    .changes(&[(
        IOS18,
        "indices of 1 to 8 bits in the result's shape, one table per block, `vector_axis`; no `shape`",
    )]),
    OpDef::new(
        "constexpr_sparse_to_dense",
        "`nonzero_data` in order where `mask` is set, zero elsewhere. Up to iOS 17 the mask is \
         packed bits and `shape` is that of the result.",
        &[
            Param::constant("nonzero_data", NONZERO),
            Param::constant("mask", MASK),
            SHAPE,
        ],
        sparse_to_dense,
    )
    .since(IOS16)
    .changes(&[(IOS18, "a mask of `uint1` in the result's shape; no `shape`")]),
    OpDef::new(
        "constexpr_blockwise_shift_scale",
        "`scale * (data - offset)`; scale and offset hold one element per block of `data`.",
        &[
            Param::constant("data", SOURCE),
            Param::constant("scale", RESULT),
            Param::constant("offset", OFFSET).optional("0"),
        ],
        blockwise,
    )
    .since(IOS18),
    OpDef::new(
        "constexpr_lut_to_sparse",
        "Palette of a sparse tensor: gives the mask and the looked-up elements that are not zero.",
        &[
            Param::constant("indices_mask", BIT_MASK),
            Param::constant("indices_nonzero_data", INDICES),
            Param::constant("lut", TABLE),
            VECTOR_AXIS,
        ],
        lut_to_sparse,
    )
    .since(IOS18),
    OpDef::new(
        "constexpr_sparse_blockwise_shift_scale",
        "Scales a sparse tensor by block: gives the mask and the scaled elements that are not zero.",
        &[
            Param::constant("data_mask", BIT_MASK),
            Param::constant("nonzero_data", SOURCE),
            Param::constant("scale", RESULT),
            Param::constant("offset", OFFSET).optional("0"),
        ],
        sparse_blockwise,
    )
    .since(IOS18),
];

fn affine_dequantize(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn cast(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn lut_to_dense(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn sparse_to_dense(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn blockwise(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn lut_to_sparse(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn sparse_blockwise(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
