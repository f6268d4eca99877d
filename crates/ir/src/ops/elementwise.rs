//! Two operands, broadcast against each other: arithmetic, comparison, logic.

use super::domain::{BOOLS, NUMBER};
use super::{OpDef, Param};
use super::infer::{Types, tensor};
use crate::shape;
use crate::types::{DataType, Dim};
use crate::view::OpView;

const NUMBERS: &[Param] = &[Param::value("x", NUMBER), Param::value("y", NUMBER)];
const LOGICAL: &[Param] = &[Param::value("x", BOOLS), Param::value("y", BOOLS)];

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new("add", "`x + y`, broadcast.", NUMBERS, arithmetic),
    OpDef::new("sub", "`x - y`, broadcast.", NUMBERS, arithmetic),
    OpDef::new("mul", "`x * y`, broadcast.", NUMBERS, arithmetic),
    OpDef::new(
        "real_div",
        "`x / y`, broadcast; integers are divided as such and rounded towards zero.",
        NUMBERS,
        arithmetic,
    ),
    OpDef::new("floor_div", "`floor(x / y)`, broadcast.", NUMBERS, arithmetic),
    OpDef::new(
        "mod",
        "`x - floor(x / y) * y`, broadcast; takes the sign of `y`.",
        NUMBERS,
        arithmetic,
    ),
    OpDef::new("pow", "`x` to the power `y`, broadcast.", NUMBERS, arithmetic),
    OpDef::new("maximum", "The greater of both, broadcast.", NUMBERS, arithmetic),
    OpDef::new("minimum", "The smaller of both, broadcast.", NUMBERS, arithmetic),
    OpDef::new("equal", "`x == y`, broadcast.", NUMBERS, predicate),
    OpDef::new("not_equal", "`x != y`, broadcast.", NUMBERS, predicate),
    OpDef::new("less", "`x < y`, broadcast.", NUMBERS, predicate),
    OpDef::new("less_equal", "`x <= y`, broadcast.", NUMBERS, predicate),
    OpDef::new("greater", "`x > y`, broadcast.", NUMBERS, predicate),
    OpDef::new("greater_equal", "`x >= y`, broadcast.", NUMBERS, predicate),
    OpDef::new("logical_and", "`x` and `y`, broadcast.", LOGICAL, predicate),
    OpDef::new("logical_or", "`x` or `y`, broadcast.", LOGICAL, predicate),
    OpDef::new("logical_xor", "Exactly one of `x` and `y`, broadcast.", LOGICAL, predicate),
];

fn arithmetic(op: &OpView<'_>) -> Types {
    tensor(op.tensor("x")?.dtype, both(op)?)
}

fn predicate(op: &OpView<'_>) -> Types {
    tensor(DataType::Bool, both(op)?)
}

fn both(op: &OpView<'_>) -> shape::Result<Vec<Dim>> {
    shape::broadcast(&op.tensor("x")?.shape, &op.tensor("y")?.shape)
}
