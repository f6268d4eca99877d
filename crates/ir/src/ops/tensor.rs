//! Making tensors: filled, counted, encoded, masked, looked at.

use super::Default::{Float, Int, Str};
use super::Opset::IOS16;
use super::domain::{ANY, ANY_U, FLOAT, INT32, NUMBER, STRING};
use super::{Kind, OpDef, Param};
use crate::types::ValueType;
use crate::view::{OpView, ParamError};

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new(
        "identity",
        "`x` itself; mostly to give it another name.",
        &[Param::of_kind("x", Kind::Any)],
        identity,
    ),
    OpDef::new(
        "fill",
        "A tensor of that shape, every element `value`.",
        &[
            Param::value("shape", INT32),
            Param::constant("value", ANY).or(Float(0.0)),
        ],
        fill,
    ),
    OpDef::new(
        "fill_like",
        "A tensor of the shape of `ref_tensor`, every element `value`.",
        &[
            Param::value("ref_tensor", ANY),
            Param::constant("value", ANY_U).or(Float(0.0)),
        ],
        fill_like,
    )
    .since(IOS16),
    OpDef::new(
        "range_1d",
        "`start`, `start + step`, ... up to but without `end`.",
        &[
            Param::value("end", NUMBER),
            Param::value("start", NUMBER),
            Param::value("step", NUMBER),
        ],
        range_1d,
    ),
    OpDef::new(
        "one_hot",
        "`on_value` at each index along a new `axis` of that size, `off_value` elsewhere.",
        &[
            Param::value("indices", INT32),
            Param::value("one_hot_vector_size", INT32),
            Param::constant("axis", INT32).or(Int(-1)),
            Param::constant("on_value", ANY).or(Int(1)),
            Param::constant("off_value", ANY).or(Int(0)),
        ],
        one_hot,
    ),
    OpDef::new(
        "band_part",
        "Keeps `lower` diagonals below and `upper` above the main one of the last two \
         dimensions; a negative number keeps all. Zero elsewhere.",
        &[
            Param::value("x", ANY),
            Param::constant("lower", INT32).or(Int(-1)),
            Param::constant("upper", INT32).or(Int(-1)),
        ],
        band_part,
    ),
    OpDef::new(
        "shape",
        "The sizes of `x`, as an `int32` vector.",
        &[Param::value("x", ANY)],
        shape,
    ),
    OpDef::new(
        "non_zero",
        "Indices of the elements that are not zero, one row each.",
        &[Param::value("x", ANY)],
        non_zero,
    ),
    OpDef::new(
        "pad",
        "Adds elements before and after the last dimensions: `pad` has two numbers a dimension. \
         `mode` is `constant`, `reflect` or `replicate`.",
        &[
            Param::value("x", FLOAT),
            Param::value("pad", INT32),
            Param::constant("mode", STRING).or(Str("constant")),
            Param::constant("constant_val", FLOAT).or(Float(0.0)),
        ],
        pad,
    ),
];

fn identity(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn fill(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn fill_like(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn range_1d(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn one_hot(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn band_part(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn shape(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn non_zero(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn pad(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
