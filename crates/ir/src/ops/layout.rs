//! The same elements in another shape or order.

use super::Default::Int;
use super::Opset::{IOS16, IOS17};
use super::domain::{ANY, ANY_WIDE, EXTENT, INT32};
use super::{OpDef, Opset, Param};
use crate::types::ValueType;
use crate::view::{OpView, ParamError};

const X: Param = Param::value("x", ANY_WIDE);
const NARROW: &[(Opset, &str)] = &[(IOS17, "8 and 16 bit integers")];

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new(
        "reshape",
        "The elements of `x` in another shape: -1 is what remains, 0 keeps the size of `x` there.",
        &[X, Param::value("shape", EXTENT)],
        reshape,
    )
    .changes(NARROW),
    OpDef::new(
        "reshape_like",
        "Reshapes `x` to sizes taken from ranges of dimensions of other tensors.",
        &[
            X,
            Param::value("ref_tensors", &[]).variadic(),
            Param::constant("begins", INT32).variadic(),
            Param::constant("ends", INT32).variadic(),
            Param::constant("end_masks", super::domain::BOOL).variadic(),
        ],
        reshape_like,
    )
    .since(IOS16)
    .changes(NARROW),
    OpDef::new(
        "transpose",
        "Dimension `i` of the result is dimension `perm[i]` of `x`.",
        &[X, Param::constant("perm", INT32)],
        transpose,
    )
    .changes(NARROW),
    OpDef::new(
        "expand_dims",
        "Adds dimensions of size 1 at `axes` of the result.",
        &[X, Param::constant("axes", INT32)],
        expand_dims,
    )
    .changes(NARROW),
    OpDef::new(
        "squeeze",
        "Removes dimensions of size 1.",
        &[
            X,
            Param::constant("axes", INT32).optional("all dimensions of size 1"),
        ],
        squeeze,
    )
    .changes(NARROW),
    OpDef::new(
        "flatten2d",
        "The dimensions before `axis` become the first, the others the second.",
        &[
            Param::value("x", ANY),
            Param::constant("axis", INT32).or(Int(1)),
        ],
        flatten2d,
    ),
    OpDef::new(
        "reverse",
        "Reverses the order along `axes`.",
        &[X, Param::constant("axes", INT32).optional("all axes")],
        reverse,
    )
    .changes(NARROW),
    OpDef::new(
        "reverse_sequence",
        "Reverses the first `lengths[b]` elements along `seq_axis`, for each `b` of `batch_axis`.",
        &[
            X,
            Param::value("lengths", EXTENT),
            Param::constant("seq_axis", INT32).or(Int(0)),
            Param::constant("batch_axis", INT32).or(Int(0)),
        ],
        reverse_sequence,
    )
    .changes(NARROW),
];

fn reshape(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn reshape_like(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn transpose(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn expand_dims(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn squeeze(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn flatten2d(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn reverse(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn reverse_sequence(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
