//! Lists of tensors, and the classifier output.

use super::Default::{Bool, Int, Str};
use super::domain::{ANY, BOOL, FLOAT32, INT32, STRING};
use super::{Kind, OpDef, Param};
use crate::types::ValueType;
use crate::view::{OpView, ParamError};

const LS: Param = Param::of_kind("ls", Kind::List);

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new(
        "make_list",
        "A list for tensors of `elem_shape`.",
        &[
            Param::value("init_length", INT32).or(Int(1)),
            Param::constant("dynamic_length", BOOL).or(Bool(true)),
            Param::value("elem_shape", &[]).variadic(),
            Param::constant("dtype", STRING).or(Str("fp32")),
        ],
        make_list,
    ),
    OpDef::new("list_length", "The number of elements of a list.", &[LS], list_length),
    OpDef::new(
        "list_read",
        "The element of a list at `index`.",
        &[LS, Param::value("index", INT32)],
        list_read,
    ),
    OpDef::new(
        "list_write",
        "The list with the element at `index` replaced by `value`.",
        &[LS, Param::value("index", INT32), Param::value("value", ANY)],
        list_write,
    ),
    OpDef::new(
        "list_gather",
        "The elements of a list at `indices`, stacked.",
        &[LS, Param::value("indices", INT32)],
        list_gather,
    ),
    OpDef::new(
        "list_scatter",
        "The list with the elements at `indices` replaced by the slices of `value`.",
        &[LS, Param::value("indices", INT32), Param::value("value", ANY)],
        list_scatter,
    ),
    OpDef::new(
        "classify",
        "The class of the highest probability, and a dictionary of all.",
        &[
            Param::value("probabilities", FLOAT32),
            Param::of_kind("classes", Kind::List).always_constant(),
        ],
        classify,
    ),
];

fn make_list(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn list_length(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn list_read(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn list_write(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn list_gather(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn list_scatter(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn classify(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
