//! Matrix products.

use super::Default::Bool;
use super::Opset::IOS17;
use super::domain::{BOOL, NUMBER, NUMBER_U, STRING};
use super::{OpDef, Param};
use crate::types::ValueType;
use crate::view::{OpView, ParamError};

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new(
        "linear",
        "`x` times the transpose of `weight`, plus `bias`: `x` [.., D_in], `weight` \
         [D_out, D_in], `bias` [D_out].",
        &[
            Param::value("x", NUMBER),
            Param::constant("weight", NUMBER_U),
            Param::constant("bias", NUMBER_U).optional("no bias"),
        ],
        linear,
    )
    .changes(&[(IOS17, "`weight` and `bias` may be of another type than `x`")]),
    OpDef::new(
        "matmul",
        "Matrix product of the last two dimensions, the others broadcast. A vector counts as a \
         row on the left and as a column on the right.",
        &[
            Param::value("x", NUMBER),
            Param::value("y", NUMBER_U),
            Param::constant("transpose_x", BOOL).or(Bool(false)),
            Param::constant("transpose_y", BOOL).or(Bool(false)),
        ],
        matmul,
    )
    .changes(&[(IOS17, "`y` may be of another type than `x`")]),
    OpDef::new(
        "einsum",
        "Einstein summation of two tensors by `equation`, such as `abcd,adce->abce`.",
        &[
            Param::value("values", &[]).variadic(),
            Param::constant("equation", STRING),
        ],
        einsum,
    ),
];

fn linear(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn matmul(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn einsum(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
