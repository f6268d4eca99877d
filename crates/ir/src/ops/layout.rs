//! The same elements in another shape or order.

use super::Default::Int;
use super::Opset::{IOS16, IOS17};
use super::domain::{ANY, ANY_WIDE, EXTENT, INT32};
use super::{OpDef, Opset, Param};
use super::infer::{Types, fixed, int, ints, like_x, shaped, tensor, unknown_sizes};
use crate::shape::{self, mismatch};
use crate::types::{Dim, ShapeDisplay};
use crate::view::{Given, OpView, ParamError};

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
            Param::scalar("axis", INT32).or(Int(1)),
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

fn reshape(op: &OpView<'_>) -> Types {
    let x = op.tensor("x")?;
    let shape = match op.ints("shape")? {
        Given::Known(shape) => shape::reshape(&x.shape, &shape)?,
        _ => unknown_sizes(op, "shape")?,
    };
    tensor(x.dtype, shape)
}

fn reshape_like(op: &OpView<'_>) -> Types {
    let x = op.tensor("x")?;
    let refs = op.tensors("ref_tensors")?;
    let begins = op.each_int("begins")?;
    let ends = op.each_int("ends")?;
    let masks = op.each_int("end_masks")?;
    if [begins.len(), ends.len(), masks.len()] != [refs.len(); 3] {
        return Err(mismatch(format!(
            "each of the {} reference tensors needs one of `begins` ({}), `ends` ({}) and \
             `end_masks` ({})",
            refs.len(),
            begins.len(),
            ends.len(),
            masks.len()
        )));
    }
    let mut result = Vec::new();
    for (i, reference) in refs.iter().enumerate() {
        let rank = reference.shape.len() as u64;
        let end = (masks[i] == 0).then_some(ends[i]);
        let range = shape::slice_of(rank, Some(begins[i]), end, 1)?;
        result.extend(range.positions().map(|p| reference.shape[p as usize]));
    }
    match (shape::product(&x.shape)?, shape::product(&result)?) {
        (Dim::Known(a), Dim::Known(b)) if a != b => Err(mismatch(format!(
            "the {a} elements of {x} cannot be {}",
            ShapeDisplay(&result)
        ))),
        _ => tensor(x.dtype, result),
    }
}

fn transpose(op: &OpView<'_>) -> Types {
    let x = op.tensor("x")?;
    let perm = ints(op, "perm")?;
    let order = shape::axes("perm", &perm, x.shape.len())?;
    if order.len() != x.shape.len() {
        return Err(ParamError::value(
            "perm",
            format!("has {} elements, but {x} has {} dimensions", perm.len(), x.shape.len()),
        ));
    }
    let shape: Vec<Dim> = order.into_iter().map(|i| x.shape[i]).collect();
    tensor(x.dtype, shape)
}

fn expand_dims(op: &OpView<'_>) -> Types {
    let x = op.tensor("x")?;
    let axes = ints(op, "axes")?;
    let mut places = shape::axes("axes", &axes, x.shape.len() + axes.len())?;
    places.sort_unstable();
    let mut result = x.shape.clone();
    for place in places {
        result.insert(place, Dim::Known(1));
    }
    tensor(x.dtype, result)
}

fn squeeze(op: &OpView<'_>) -> Types {
    let x = op.tensor("x")?;
    let one = Dim::Known(1);
    let axes = match op.ints("axes")? {
        Given::Absent => (0..x.shape.len()).filter(|&i| x.shape[i] == one).collect(),
        given => shape::axes("axes", &fixed("axes", given)?, x.shape.len())?,
    };
    if let Some(&i) = axes.iter().find(|&&i| shape::merge(x.shape[i], one).is_none()) {
        return Err(ParamError::value(
            "axes",
            format!("dimension {i} of {x} is not 1 and cannot be removed"),
        ));
    }
    let kept = x.shape.iter().enumerate();
    let shape: Vec<Dim> = kept.filter(|(i, _)| !axes.contains(i)).map(|(_, &d)| d).collect();
    tensor(x.dtype, shape)
}

fn flatten2d(op: &OpView<'_>) -> Types {
    let x = op.tensor("x")?;
    let rank = x.shape.len();
    let axis = match int(op, "axis")? {
        axis if axis == rank as i64 => rank,
        axis => shape::axis("axis", axis, rank)?,
    };
    let (before, after) = x.shape.split_at(axis);
    tensor(x.dtype, [shape::product(before)?, shape::product(after)?])
}

fn reverse(op: &OpView<'_>) -> Types {
    if let Given::Known(axes) = op.ints("axes")? {
        shape::axes("axes", &axes, op.tensor("x")?.shape.len())?;
    }
    like_x(op)
}

fn reverse_sequence(op: &OpView<'_>) -> Types {
    let x = op.tensor("x")?;
    let rank = x.shape.len();
    let seq = shape::axis("seq_axis", int(op, "seq_axis")?, rank)?;
    let batch = shape::axis("batch_axis", int(op, "batch_axis")?, rank)?;
    if seq == batch {
        return Err(ParamError::value("batch_axis", "is the same as `seq_axis`"));
    }
    shaped(op, "lengths", &[x.shape[batch]])?;
    like_x(op)
}
