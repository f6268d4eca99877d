//! Joining and splitting along an axis.

use super::Default::Bool;
use super::domain::{ANY, BOOL, INT32};
use super::{OpDef, Param};
use super::infer::{Types, bool, int, shaped, tensor};
use crate::shape::{self, mismatch};
use crate::types::{Dim, TensorType};
use crate::view::{Given, OpView, ParamError};

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new(
        "concat",
        "Joins tensors along `axis`; with `interleave`, of each the n-th slice in turn.",
        &[
            Param::value("values", &[]).variadic(),
            Param::scalar("axis", INT32),
            Param::constant("interleave", BOOL).or(Bool(false)),
        ],
        concat,
    ),
    OpDef::new(
        "stack",
        "Joins tensors of one shape along a new `axis`.",
        &[
            Param::value("values", &[]).variadic(),
            Param::scalar("axis", INT32),
        ],
        stack,
    ),
    OpDef::new(
        "split",
        "Cuts `x` along `axis` into `num_splits` equal parts, or parts of `split_sizes`.",
        &[
            Param::value("x", ANY),
            Param::scalar("num_splits", INT32).optional("the number of `split_sizes`"),
            Param::constant("split_sizes", INT32).optional("equal parts"),
            Param::scalar("axis", INT32),
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

/// Demands that all tensors have the element type and rank of the first.
fn alike<'p>(op: &OpView<'p>) -> Result<Vec<&'p TensorType>, ParamError> {
    let values = op.tensors("values")?;
    for other in &values[1..] {
        if other.dtype != values[0].dtype || other.shape.len() != values[0].shape.len() {
            return Err(mismatch(format!(
                "{} and {other} cannot be joined: element type and rank must be the same",
                values[0]
            )));
        }
    }
    Ok(values)
}

fn concat(op: &OpView<'_>) -> Types {
    let values = alike(op)?;
    let interleave = bool(op, "interleave")?;
    let mut result = values[0].shape.clone();
    // Scalars are joined as vectors of one element.
    if result.is_empty() {
        shape::axis("axis", int(op, "axis")?, 1)?;
        return tensor(values[0].dtype, [Dim::Known(values.len() as u64)]);
    }
    let axis = shape::axis("axis", int(op, "axis")?, result.len())?;
    for value in &values[1..] {
        for (i, (dim, &other)) in result.iter_mut().zip(&value.shape).enumerate() {
            let merged = shape::merge(*dim, other);
            if i != axis {
                *dim = merged.ok_or_else(|| {
                    mismatch(format!(
                        "{} and {value} cannot be joined along axis {axis}: dimension {i} differs",
                        values[0]
                    ))
                })?;
                continue;
            }
            if interleave && shape::merge(values[0].shape[i], other).is_none() {
                return Err(mismatch(format!(
                    "{} and {value} cannot be interleaved: their sizes differ",
                    values[0]
                )));
            }
            *dim = match (*dim, other) {
                (Dim::Known(a), Dim::Known(b)) => {
                    Dim::Known(a.checked_add(b).ok_or_else(shape::too_large)?)
                }
                _ => Dim::Unknown,
            };
        }
    }
    tensor(values[0].dtype, result)
}

fn stack(op: &OpView<'_>) -> Types {
    let values = alike(op)?;
    let mut result = values[0].shape.clone();
    for value in &values[1..] {
        result = shape::merge_shapes(&result, &value.shape).ok_or_else(|| {
            mismatch(format!(
                "{} and {value} cannot be stacked: their shapes differ",
                values[0]
            ))
        })?;
    }
    let axis = shape::axis("axis", int(op, "axis")?, result.len() + 1)?;
    result.insert(axis, Dim::Known(values.len() as u64));
    tensor(values[0].dtype, result)
}

fn split(op: &OpView<'_>) -> Types {
    let x = op.tensor("x")?;
    let axis = shape::axis("axis", int(op, "axis")?, x.shape.len())?;
    let parts = op.op.outputs.len() as u64;
    let counted = |param: &str, n: u64| match n == parts {
        true => Ok(()),
        false => Err(ParamError::value(
            param,
            format!("makes {n} parts, but there are {parts} outputs"),
        )),
    };
    if let Given::Known(n) = op.int("num_splits")? {
        counted("num_splits", shape::positive("num_splits", n)?)?;
    }
    let sizes = match op.ints("split_sizes")? {
        Given::Known(sizes) => {
            counted("split_sizes", sizes.len() as u64)?;
            let sizes = sizes
                .into_iter()
                .map(|n| shape::size("split_sizes", n))
                .collect::<Result<Vec<u64>, _>>()?;
            let total = sizes.iter().try_fold(0u64, |a, &b| a.checked_add(b));
            let total = total.ok_or_else(shape::too_large)?;
            if x.shape[axis].known().is_some_and(|n| n != total) {
                return Err(ParamError::value(
                    "split_sizes",
                    format!("adds up to {total}, but dimension {axis} of {x} is to be cut"),
                ));
            }
            sizes.into_iter().map(Dim::Known).collect()
        }
        Given::Runtime => vec![Dim::Unknown; op.op.outputs.len()],
        Given::Absent if !op.is_given("num_splits") => {
            return Err(ParamError::Missing {
                param: "num_splits".into(),
            });
        }
        Given::Absent => {
            let what = format!("dimension {axis} of `x`");
            let each = shape::divide(&what, x.shape[axis], parts)?;
            vec![each; op.op.outputs.len()]
        }
    };
    Ok(sizes
        .into_iter()
        .map(|size| {
            let mut part = x.clone();
            part.shape[axis] = size;
            part.into()
        })
        .collect())
}

fn tile(op: &OpView<'_>) -> Types {
    let x = op.tensor("x")?;
    let Given::Known(reps) = op.ints("reps")? else {
        shaped(op, "reps", &[Dim::Known(x.shape.len() as u64)])?;
        return tensor(x.dtype, vec![Dim::Unknown; x.shape.len()]);
    };
    if reps.len() != x.shape.len() {
        return Err(ParamError::value(
            "reps",
            format!("has {} elements, but {x} has {} dimensions", reps.len(), x.shape.len()),
        ));
    }
    let mut result = x.shape.clone();
    for (dim, &n) in result.iter_mut().zip(&reps) {
        let n = shape::positive("reps", n)?;
        *dim = shape::map(*dim, |size| size.checked_mul(n))?;
    }
    tensor(x.dtype, result)
}
