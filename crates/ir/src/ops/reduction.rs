//! Reductions over axes.

use super::Default::{Bool, Int, Str};
use super::Opset::IOS17;
use super::domain::{BOOL, INT32, NUMBER, STRING};
use super::{OpDef, Opset, Param};
use super::infer::{Types, bool, dtype, fixed, int, tensor};
use crate::shape;
use crate::types::{DataType, Dim};
use crate::view::{Given, OpView, ParamError};

const X: Param = Param::value("x", NUMBER);
const KEEP_DIMS: Param = Param::constant("keep_dims", BOOL).or(Bool(false));
const AXES: &[Param] = &[
    X,
    Param::constant("axes", INT32).optional("all axes"),
    KEEP_DIMS,
];
const AXIS: &[Param] = &[
    X,
    Param::scalar("axis", INT32).or(Int(-1)),
    KEEP_DIMS,
    Param::scalar("output_dtype", STRING)
        .since(IOS17)
        .or(Str("int32")),
];
const OUTPUT_DTYPE: &[(Opset, &str)] = &[(IOS17, "`output_dtype`")];

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new("reduce_l1_norm", "Sum of absolute values over `axes`.", AXES, reduce),
    OpDef::new(
        "reduce_l2_norm",
        "Square root of the sum of squares over `axes`.",
        AXES,
        reduce,
    ),
    OpDef::new("reduce_log_sum", "Logarithm of the sum over `axes`.", AXES, reduce),
    OpDef::new(
        "reduce_log_sum_exp",
        "Logarithm of the sum of exponentials over `axes`.",
        AXES,
        reduce,
    ),
    OpDef::new("reduce_max", "Maximum over `axes`.", AXES, reduce),
    OpDef::new("reduce_mean", "Mean over `axes`.", AXES, reduce),
    OpDef::new("reduce_min", "Minimum over `axes`.", AXES, reduce),
    OpDef::new("reduce_prod", "Product over `axes`.", AXES, reduce),
    OpDef::new("reduce_sum", "Sum over `axes`.", AXES, reduce),
    OpDef::new("reduce_sum_square", "Sum of squares over `axes`.", AXES, reduce),
    OpDef::new(
        "reduce_argmax",
        "Index of the maximum along `axis`; of equal ones the first.",
        AXIS,
        arg_reduce,
    )
    .changes(OUTPUT_DTYPE),
    OpDef::new(
        "reduce_argmin",
        "Index of the minimum along `axis`; of equal ones the first.",
        AXIS,
        arg_reduce,
    )
    .changes(OUTPUT_DTYPE),
];

fn reduce(op: &OpView<'_>) -> Types {
    let x = op.tensor("x")?;
    let rank = x.shape.len();
    let axes = match op.ints("axes")? {
        Given::Absent => (0..rank).collect(),
        given => shape::axes("axes", &fixed("axes", given)?, rank)?,
    };
    tensor(x.dtype, reduced(op, &x.shape, &axes)?)
}

fn arg_reduce(op: &OpView<'_>) -> Types {
    let x = op.tensor("x")?;
    let axis = shape::axis("axis", int(op, "axis")?, x.shape.len())?;
    let dtype = dtype(op, "output_dtype", &[DataType::Int32, DataType::UInt16])?;
    tensor(dtype, reduced(op, &x.shape, &[axis])?)
}

fn reduced(op: &OpView<'_>, shape: &[Dim], axes: &[usize]) -> Result<Vec<Dim>, ParamError> {
    let keep = bool(op, "keep_dims")?;
    Ok(shape
        .iter()
        .enumerate()
        .filter_map(|(i, &dim)| match axes.contains(&i) {
            true => keep.then_some(Dim::Known(1)),
            false => Some(dim),
        })
        .collect())
}
