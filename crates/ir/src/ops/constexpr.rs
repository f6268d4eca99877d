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
use super::infer::{self, Types, int, ranked, shape_param, shaped, tensor};
use crate::shape::{self, mismatch};
use crate::types::{Dim, TensorType};
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
            Param::scalar("axis", INT32),
        ],
        affine_dequantize,
    )
    .since(IOS16),
    OpDef::new(
        "constexpr_cast",
        "Converts to the type that `output_dtype` names (`fp32`).",
        &[
            Param::constant("source_val", FLOAT16),
            Param::scalar("output_dtype", STRING),
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

fn affine_dequantize(op: &OpView<'_>) -> Types {
    let data = ranked(op, "quantized_data", 1..=usize::MAX)?;
    let axis = shape::axis("axis", int(op, "axis")?, data.shape.len())?;
    let scale = per_axis(op, "scale", data.shape[axis])?;
    per_axis(op, "zero_point", data.shape[axis])?;
    tensor(scale.dtype, data.shape.clone())
}

/// A scalar, or a vector of that size.
fn per_axis<'p>(op: &OpView<'p>, param: &str, size: Dim) -> Result<&'p TensorType, ParamError> {
    let ty = op.tensor(param)?;
    if !ty.shape.is_empty() {
        shaped(op, param, &[size])?;
    }
    Ok(ty)
}

fn cast(op: &OpView<'_>) -> Types {
    let to = infer::dtype(op, "output_dtype", &[])?;
    tensor(to, op.tensor("source_val")?.shape.clone())
}

fn lut_to_dense(op: &OpView<'_>) -> Types {
    let lut = op.tensor("lut")?;
    if op.is_given("shape") {
        let shape = shape_param(op, "shape")?;
        let entries = ranked(op, "lut", 1..=1)?.shape[0];
        let bits = index_bits(entries)?;
        let packed = shape::map(shape::product(&shape)?, |n| {
            Some(n.checked_mul(bits)?.div_ceil(8))
        })?;
        shaped(op, "indices", &[packed])?;
        return tensor(lut.dtype, shape);
    }
    let indices = ranked(op, "indices", 1..=usize::MAX)?;
    let (_, shape) = palettized(op, indices, &indices.shape)?;
    tensor(lut.dtype, shape)
}

/// Bits of an index into a table of that many entries.
fn index_bits(entries: Dim) -> Result<u64, ParamError> {
    match entries {
        Dim::Known(n) if n.is_power_of_two() && (2..=256).contains(&n) => Ok(n.ilog2().into()),
        other => Err(ParamError::value(
            "lut",
            format!("has {other} entries, but must have 2, 4, 8, 16, 64 or 256"),
        )),
    }
}

/// Checks the tables of a palette; gives the vector length and the shape of
/// the result for indices of type and `shape`.
fn palettized(
    op: &OpView<'_>,
    indices: &TensorType,
    shape: &[Dim],
) -> Result<(u64, Vec<Dim>), ParamError> {
    let rank = shape.len();
    let lut = ranked(op, "lut", rank + 2..=rank + 2)?;
    for (i, (&dim, table)) in shape.iter().zip(&lut.shape).enumerate() {
        if let Dim::Known(tables) = *table {
            shape::divide(&format!("dimension {i} of the indices"), dim, tables)?;
        }
    }
    let bits = index_bits(lut.shape[rank])?;
    if indices.dtype.bits() != Some(bits) {
        return Err(mismatch(format!(
            "a table of {} entries needs indices of {bits} bits, found {indices}",
            lut.shape[rank]
        )));
    }
    let vector = lut.shape[rank + 1].known().unwrap_or(1);
    let mut result = shape.to_vec();
    if vector != 1 {
        let axis = shape::axis("vector_axis", int(op, "vector_axis")?, rank)?;
        result[axis] = shape::map(result[axis], |n| n.checked_mul(vector))?;
    }
    Ok((vector, result))
}

fn sparse_to_dense(op: &OpView<'_>) -> Types {
    let data = ranked(op, "nonzero_data", 1..=1)?;
    if op.is_given("shape") {
        let shape = shape_param(op, "shape")?;
        let packed = shape::map(shape::product(&shape)?, |n| Some(n.div_ceil(8)))?;
        shaped(op, "mask", &[packed])?;
        return tensor(data.dtype, shape);
    }
    tensor(data.dtype, op.tensor("mask")?.shape.clone())
}

/// Checks scale and offset against the shape they scale; gives the result's
/// element type.
fn scaled(op: &OpView<'_>, shape: &[Dim]) -> Result<DataType, ParamError> {
    let rank = shape.len();
    let scale = ranked(op, "scale", rank..=rank)?;
    for (i, (&dim, blocks)) in shape.iter().zip(&scale.shape).enumerate() {
        if let Dim::Known(blocks) = *blocks {
            shape::divide(&format!("dimension {i} of the data"), dim, blocks)?;
        }
    }
    shaped(op, "offset", &scale.shape)?;
    Ok(scale.dtype)
}

fn blockwise(op: &OpView<'_>) -> Types {
    let data = ranked(op, "data", 1..=usize::MAX)?;
    let dtype = scaled(op, &data.shape)?;
    tensor(dtype, data.shape.clone())
}

fn lut_to_sparse(op: &OpView<'_>) -> Types {
    let mask = ranked(op, "indices_mask", 1..=usize::MAX)?;
    let indices = ranked(op, "indices_nonzero_data", 1..=1)?;
    let (vector, shape) = palettized(op, indices, &mask.shape)?;
    let count = shape::map(indices.shape[0], |n| n.checked_mul(vector))?;
    let mut types = tensor(mask.dtype, shape)?;
    types.extend(tensor(op.tensor("lut")?.dtype, [count])?);
    Ok(types)
}

fn sparse_blockwise(op: &OpView<'_>) -> Types {
    let mask = ranked(op, "data_mask", 1..=usize::MAX)?;
    let data = ranked(op, "nonzero_data", 1..=1)?;
    let dtype = scaled(op, &mask.shape)?;
    let mut types = tensor(mask.dtype, mask.shape.clone())?;
    types.extend(tensor(dtype, data.shape.clone())?);
    Ok(types)
}
