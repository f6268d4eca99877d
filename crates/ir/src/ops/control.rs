//! Branches, loops and choices.

use super::domain::{ANY, BOOL};
use super::{Kind, OpDef, Param};
use super::infer::{Types, tensor};
use crate::shape::{self, mismatch};
use crate::types::{Dim, ShapeDisplay, TensorType, ValueType};
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
        "`a` where `cond` is true, else `b`, broadcast to each other; `cond` is broadcast to them.",
        &[
            Param::value("cond", BOOL),
            Param::value("a", ANY),
            Param::value("b", ANY),
        ],
        select,
    ),
];

/// The types of a block's outputs; no types when there is no such block.
fn yields<'p>(op: &OpView<'p>, block: usize) -> Result<Vec<&'p ValueType>, ParamError> {
    let id = op.op.blocks.get(block).ok_or_else(|| {
        mismatch(format!("block {block} is missing: there must be two"))
    })?;
    let outputs = &op.program.blocks[*id].outputs;
    Ok(outputs.iter().map(|&v| op.value_type(v)).collect())
}

/// A type that both fit: sizes that differ are unknown.
fn join(a: &ValueType, b: &ValueType, what: &str) -> Result<ValueType, ParamError> {
    match (a, b) {
        (ValueType::Tensor(x), ValueType::Tensor(y)) if x.dtype == y.dtype => {
            if x.shape.len() != y.shape.len() {
                return Ok(TensorType::new(x.dtype, [Dim::Variadic]).into());
            }
            let pairs = x.shape.iter().zip(&y.shape);
            let shape: Vec<Dim> = pairs
                .map(|(&p, &q)| if p == q { p } else { Dim::Unknown })
                .collect();
            Ok(TensorType::new(x.dtype, shape).into())
        }
        (ValueType::Missing, other) | (other, ValueType::Missing) => Ok(other.clone()),
        (ValueType::List { .. }, ValueType::List { .. }) => Ok(a.clone()),
        _ if a == b => Ok(a.clone()),
        _ => Err(mismatch(format!("{what}: {a} against {b}"))),
    }
}

fn join_all(a: &[&ValueType], b: &[&ValueType], what: &str) -> Types {
    if a.len() != b.len() {
        return Err(mismatch(format!("{what}: {} against {}", a.len(), b.len())));
    }
    a.iter().zip(b).map(|(a, b)| join(a, b, what)).collect()
}

fn cond(op: &OpView<'_>) -> Types {
    join_all(
        &yields(op, 0)?,
        &yields(op, 1)?,
        "the outputs of both blocks must be the same",
    )
}

fn while_loop(op: &OpView<'_>) -> Types {
    join_all(
        &op.types("loop_vars"),
        &yields(op, 1)?,
        "the body must give the loop variables again",
    )
}

/// The result has the shape of `a` and `b`. The documentation has `cond` take
/// part in the broadcast, but the converter derives the result from `a` and `b`
/// alone: a `cond` that would make more of it gets a type that is wrong from
/// the one, and is refused when read by the other.
fn select(op: &OpView<'_>) -> Types {
    let a = op.tensor("a")?;
    let cond = &op.tensor("cond")?.shape;
    let given = shape::broadcast(&a.shape, &op.tensor("b")?.shape)?;
    let all = shape::broadcast(&given, cond)?;
    let grows = |(given, all): (&Dim, &Dim)| {
        matches!((given, all), (Dim::Known(given), Dim::Known(all)) if given != all)
    };
    if all.len() != given.len() || given.iter().zip(&all).any(grows) {
        return Err(ParamError::value(
            "cond",
            format!(
                "its shape {} is not broadcast to {}, that of `a` and `b`, which is the shape of \
                 the result; give `a` or `b` its shape, by `fill_like` or `tile`",
                ShapeDisplay(cond),
                ShapeDisplay(&given)
            ),
        ));
    }
    // Where only `cond` has a size that is known, the others must have it too,
    // unless it is 1.
    let dims = given.iter().zip(&all);
    let shape = dims.map(|(&given, &all)| match given {
        Dim::Known(_) => given,
        _ => all,
    });
    tensor(a.dtype, shape.collect::<Vec<_>>())
}
