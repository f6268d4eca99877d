//! Reading and writing at indices.

use super::Default::{Bool, Int, Str};
use super::Opset::{IOS16, IOS17};
use super::domain::{BOOL, NUMBER_NARROW, INDEX, INT32, NUMBER, STRING};
use super::{OpDef, Opset, Param};
use super::infer::{Types, choice, int, ranked, shaped, tensor};
use crate::shape::{self, mismatch};
use crate::types::{Dim, TensorType};
use crate::view::{OpView, ParamError};

const X: Param = Param::value("x", NUMBER_NARROW);
const INDICES: Param = Param::value("indices", INDEX);
const AXIS: Param = Param::scalar("axis", INT32).or(Int(0));
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

/// `before` dimensions of one shape, a middle, and what is left from `after` on.
fn spliced(outer: &[Dim], before: usize, middle: &[Dim], after: usize) -> Vec<Dim> {
    [&outer[..before], middle, &outer[after..]].concat()
}

fn gather(op: &OpView<'_>) -> Types {
    let x = op.tensor("x")?;
    let indices = &op.tensor("indices")?.shape;
    let axis = shape::axis("axis", int(op, "axis")?, x.shape.len())?;
    let batch = batch_dims(op)?;
    if batch > axis || batch > indices.len() {
        return Err(ParamError::value(
            "batch_dims",
            format!(
                "{batch}, but must not be beyond axis {axis} or the {} dimensions of `indices`",
                indices.len()
            ),
        ));
    }
    if shape::merge_shapes(&x.shape[..batch], &indices[..batch]).is_none() {
        return Err(mismatch(format!(
            "the first {batch} dimensions of `x` and `indices` must be the same"
        )));
    }
    tensor(x.dtype, spliced(&x.shape, axis, &indices[batch..], axis + 1))
}

fn batch_dims(op: &OpView<'_>) -> Result<usize, ParamError> {
    let n = shape::size("batch_dims", int(op, "batch_dims")?)?;
    Ok(usize::try_from(n).unwrap_or(usize::MAX))
}

fn gather_along_axis(op: &OpView<'_>) -> Types {
    let x = op.tensor("x")?;
    let indices = ranked(op, "indices", x.shape.len()..=x.shape.len())?;
    let axis = shape::axis("axis", int(op, "axis")?, x.shape.len())?;
    same_beside("x", x, indices, axis)?;
    tensor(x.dtype, indices.shape.clone())
}

/// Demands that the sizes other than `axis` are the same.
fn same_beside(
    name: &str,
    data: &TensorType,
    indices: &TensorType,
    axis: usize,
) -> Result<(), ParamError> {
    let mut pairs = data.shape.iter().zip(&indices.shape).enumerate();
    match pairs.find(|&(i, (&a, &b))| i != axis && shape::merge(a, b).is_none()) {
        None => Ok(()),
        Some((i, _)) => Err(mismatch(format!(
            "`{name}` {data} and `indices` {indices} may differ along axis {axis} only, but differ \
             along {i}"
        ))),
    }
}

/// The number of dimensions that one index tuple indexes, after `batch`.
fn tuple_len(indices: &TensorType, data: &TensorType, batch: usize) -> Result<Option<usize>, ParamError> {
    let Some(&last) = indices.shape.last() else {
        return Err(mismatch("`indices` must have a dimension of index tuples"));
    };
    let room = data.shape.len().checked_sub(batch);
    let (Some(room), Dim::Known(len)) = (room, last) else {
        return match room {
            None => Err(ParamError::value("batch_dims", format!("{batch} is more than {data} has"))),
            Some(_) => Ok(None),
        };
    };
    match usize::try_from(len) {
        Ok(len) if len <= room => Ok(Some(len)),
        _ => Err(mismatch(format!(
            "index tuples of {len} elements are too long for {data}"
        ))),
    }
}

fn gather_nd(op: &OpView<'_>) -> Types {
    let x = op.tensor("x")?;
    let indices = op.tensor("indices")?;
    let batch = batch_dims(op)?;
    let Some(len) = tuple_len(indices, x, batch)? else {
        return tensor(x.dtype, [Dim::Variadic]);
    };
    let outer = indices.shape.len() - 1;
    if batch > outer || shape::merge_shapes(&x.shape[..batch], &indices.shape[..batch]).is_none() {
        return Err(mismatch(format!(
            "the first {batch} dimensions of `x` {x} and `indices` {indices} must be the same"
        )));
    }
    tensor(x.dtype, spliced(&indices.shape, outer, &x.shape[batch + len..], outer + 1))
}

const MODES: &[&str] = &["add", "div", "max", "min", "mul", "sub", "update"];

fn like_data(op: &OpView<'_>) -> Types {
    choice(op, "mode", MODES)?;
    Ok(vec![op.tensor("data")?.clone().into()])
}

fn scatter(op: &OpView<'_>) -> Types {
    let data = op.tensor("data")?;
    let axis = shape::axis("axis", int(op, "axis")?, data.shape.len())?;
    let indices = &op.tensor("indices")?.shape;
    shaped(op, "updates", &spliced(&data.shape, axis, indices, axis + 1))?;
    like_data(op)
}

fn scatter_along_axis(op: &OpView<'_>) -> Types {
    let data = op.tensor("data")?;
    let rank = data.shape.len();
    let indices = ranked(op, "indices", rank..=rank)?;
    let axis = shape::axis("axis", int(op, "axis")?, rank)?;
    same_beside("data", data, indices, axis)?;
    shaped(op, "updates", &indices.shape)?;
    like_data(op)
}

fn scatter_nd(op: &OpView<'_>) -> Types {
    let data = op.tensor("data")?;
    let indices = op.tensor("indices")?;
    if let Some(len) = tuple_len(indices, data, 0)? {
        let outer = indices.shape.len() - 1;
        let wanted = spliced(&indices.shape, outer, &data.shape[len..], outer + 1);
        shaped(op, "updates", &wanted)?;
    }
    like_data(op)
}
