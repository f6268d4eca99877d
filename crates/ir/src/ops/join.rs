//! Joining and splitting along an axis.

use super::Default::Bool;
use super::domain::{ANY, BOOL, INT32};
use super::{OpDef, Param};
use crate::types::ValueType;
use crate::view::{OpView, ParamError};

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new(
        "concat",
        "Joins tensors along `axis`; with `interleave`, of each the n-th slice in turn.",
        &[
            Param::value("values", &[]).variadic(),
            Param::constant("axis", INT32),
            Param::constant("interleave", BOOL).or(Bool(false)),
        ],
        concat,
    ),
    OpDef::new(
        "stack",
        "Joins tensors of one shape along a new `axis`.",
        &[
            Param::value("values", &[]).variadic(),
            Param::constant("axis", INT32),
        ],
        stack,
    ),
    OpDef::new(
        "split",
        "Cuts `x` along `axis` into `num_splits` equal parts, or parts of `split_sizes`.",
        &[
            Param::value("x", ANY),
            Param::constant("num_splits", INT32).optional("the number of `split_sizes`"),
            Param::constant("split_sizes", INT32).optional("equal parts"),
            Param::constant("axis", INT32),
        ],
        split,
    ),
    OpDef::new(
        "tile",
        "Repeats `x`, `reps[i]` times along dimension `i`.",
        &[Param::value("x", ANY), Param::value("reps", INT32)],
        tile,
    ),
];

fn concat(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn stack(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn split(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn tile(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
