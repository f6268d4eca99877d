//! Reductions over axes.

use super::Default::{Bool, Int, Str};
use super::Opset::IOS17;
use super::domain::{BOOL, INT32, NUMBER, STRING};
use super::{OpDef, Opset, Param};
use crate::types::ValueType;
use crate::view::{OpView, ParamError};

const X: Param = Param::value("x", NUMBER);
const KEEP_DIMS: Param = Param::constant("keep_dims", BOOL).or(Bool(false));
const AXES: &[Param] = &[
    X,
    Param::constant("axes", INT32).optional("all axes"),
    KEEP_DIMS,
];
const AXIS: &[Param] = &[
    X,
    Param::constant("axis", INT32).or(Int(-1)),
    KEEP_DIMS,
    Param::constant("output_dtype", STRING)
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

fn reduce(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn arg_reduce(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
