//! Reading and writing at indices.

use super::Default::{Bool, Int, Str};
use super::Opset::{IOS16, IOS17};
use super::domain::{BOOL, NUMBER_NARROW, INDEX, INT32, NUMBER, STRING};
use super::{OpDef, Opset, Param};
use crate::types::ValueType;
use crate::view::{OpView, ParamError};

const X: Param = Param::value("x", NUMBER_NARROW);
const INDICES: Param = Param::value("indices", INDEX);
const AXIS: Param = Param::constant("axis", INT32).or(Int(0));
const BATCH_DIMS: Param = Param::constant("batch_dims", INT32).since(IOS16).or(Int(0));
const VALIDATE: Param = Param::constant("validate_indices", BOOL)
    .since(IOS17)
    .or(Bool(false));

const DATA: Param = Param::value("data", NUMBER);
const SCATTER_INDICES: Param = Param::value("indices", INT32);
const UPDATES: Param = Param::value("updates", NUMBER);
const MODE: Param = Param::constant("mode", STRING).or(Str("add"));

const BATCHED: &[(Opset, &str)] = &[
    (IOS16, "`batch_dims`; 16 bit indices"),
    (IOS17, "`validate_indices`; 8 and 16 bit integers"),
];
const ALONG: &[(Opset, &str)] = &[
    (IOS16, "16 bit indices"),
    (IOS17, "`validate_indices`; 8 and 16 bit integers"),
];
const VALIDATED: &[(Opset, &str)] = &[(IOS17, "`validate_indices`")];

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new(
        "gather",
        "Slices of `x` at `indices` along `axis`; negative indices count from the end.",
        &[X, INDICES, AXIS, BATCH_DIMS, VALIDATE],
        gather,
    )
    .changes(BATCHED),
    OpDef::new(
        "gather_along_axis",
        "`x[.., indices[.., i, ..], ..]` along `axis`; both have the same rank.",
        &[X, INDICES, AXIS, VALIDATE],
        gather_along_axis,
    )
    .changes(ALONG),
    OpDef::new(
        "gather_nd",
        "Slices of `x` at index tuples, the last dimension of `indices`.",
        &[X, INDICES, BATCH_DIMS, VALIDATE],
        gather_nd,
    )
    .changes(BATCHED),
    OpDef::new(
        "scatter",
        "`data` with slices at `indices` along `axis` combined with `updates` by `mode`: \
         `add`, `div`, `max`, `min`, `mul`, `sub` or `update`.",
        &[DATA, SCATTER_INDICES, UPDATES, AXIS, MODE, VALIDATE],
        scatter,
    )
    .changes(VALIDATED),
    OpDef::new(
        "scatter_along_axis",
        "`data` with elements at `indices` along `axis` combined with `updates` by `mode`.",
        &[DATA, SCATTER_INDICES, UPDATES, AXIS, MODE, VALIDATE],
        scatter_along_axis,
    )
    .changes(VALIDATED),
    OpDef::new(
        "scatter_nd",
        "`data` with slices at index tuples combined with `updates` by `mode`.",
        &[DATA, SCATTER_INDICES, UPDATES, MODE, VALIDATE],
        scatter_nd,
    )
    .changes(VALIDATED),
];

fn gather(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn gather_along_axis(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn gather_nd(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn scatter(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn scatter_along_axis(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn scatter_nd(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
