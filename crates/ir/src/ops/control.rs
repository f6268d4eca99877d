//! Branches, loops and choices.

use super::domain::{ANY, BOOL};
use super::{Kind, OpDef, Param};
use crate::types::ValueType;
use crate::view::{OpView, ParamError};

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new(
        "cond",
        "Runs its first block when `pred` is true, else its second; gives that block's outputs.",
        &[Param::value("pred", BOOL)],
        cond,
    )
    .blocks(2),
    OpDef::new(
        "while_loop",
        "Runs its second block on the loop variables while its first gives true.",
        &[Param::of_kind("loop_vars", Kind::Any).variadic()],
        while_loop,
    )
    .blocks(2),
    OpDef::new(
        "select",
        "`a` where `cond` is true, else `b`; broadcast.",
        &[
            Param::value("cond", BOOL),
            Param::value("a", ANY),
            Param::value("b", ANY),
        ],
        select,
    ),
];

fn cond(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn while_loop(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn select(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
