//! Matrix products.

use std::collections::BTreeMap;

use super::Default::Bool;
use super::Opset::IOS17;
use super::domain::{BOOL, NUMBER, NUMBER_U, STRING};
use super::{OpDef, Param};
use super::infer::{Types, bool, fixed, ranked, shaped, tensor};
use crate::shape::{self, mismatch};
use crate::types::{Dim, TensorType};
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
            Param::scalar("equation", STRING),
        ],
        einsum,
    ),
];

fn linear(op: &OpView<'_>) -> Types {
    let x = ranked(op, "x", 1..=usize::MAX)?;
    let weight = ranked(op, "weight", 2..=2)?;
    let mut result = x.shape.clone();
    let last = result.last_mut();
    if let Some(last) = last {
        if shape::merge(*last, weight.shape[1]).is_none() {
            return Err(mismatch(format!(
                "the last dimension of `x` {x} must be {}, as `weight` {weight} takes",
                weight.shape[1]
            )));
        }
        *last = weight.shape[0];
    }
    shaped(op, "bias", &weight.shape[..1])?;
    tensor(x.dtype, result)
}

fn matmul(op: &OpView<'_>) -> Types {
    let x = ranked(op, "x", 1..=usize::MAX)?;
    let y = ranked(op, "y", 1..=usize::MAX)?;
    let (x_batch, [m, k]) = matrix(op, x, "transpose_x", true)?;
    let (y_batch, [k_y, n]) = matrix(op, y, "transpose_y", false)?;
    if shape::merge(k, k_y).is_none() {
        return Err(mismatch(format!(
            "a matrix of {k} columns (`x` {x}) cannot be multiplied by one of {k_y} rows (`y` {y})"
        )));
    }
    let mut result = shape::broadcast(x_batch, y_batch)?;
    if x.shape.len() > 1 {
        result.push(m);
    }
    if y.shape.len() > 1 {
        result.push(n);
    }
    // A constant operand may be of another type than the other one, which decides.
    let constant = |param| op.constant(param).is_some();
    let dtype = if constant("x") && !constant("y") { y.dtype } else { x.dtype };
    tensor(dtype, result)
}

/// Batch dimensions, rows and columns of an operand of `matmul`.
fn matrix<'p>(
    op: &OpView<'_>,
    ty: &'p TensorType,
    transpose: &str,
    row: bool,
) -> Result<(&'p [Dim], [Dim; 2]), ParamError> {
    let transposed = bool(op, transpose)?;
    match ty.shape.as_slice() {
        [_] if transposed => Err(ParamError::value(
            transpose,
            "a vector cannot be transposed",
        )),
        [len] if row => Ok((&[], [Dim::Known(1), *len])),
        [batch @ .., rows, columns] if transposed => Ok((batch, [*columns, *rows])),
        [batch @ .., rows, columns] => Ok((batch, [*rows, *columns])),
        [len] => Ok((&[], [*len, Dim::Known(1)])),
        [] => Err(mismatch("a scalar is no matrix")),
    }
}

fn einsum(op: &OpView<'_>) -> Types {
    let values = op.tensors("values")?;
    let equation = fixed("equation", op.string("equation")?)?;
    let bad = |problem: String| ParamError::value("equation", format!("{equation:?} {problem}"));
    let (inputs, output) = equation
        .split_once("->")
        .ok_or_else(|| bad("has no `->`".into()))?;
    let inputs: Vec<&str> = inputs.split(',').map(str::trim).collect();
    if inputs.len() != values.len() {
        return Err(bad(format!("is not for {} tensors", values.len())));
    }
    let mut sizes: BTreeMap<char, Dim> = BTreeMap::new();
    for (term, value) in inputs.iter().zip(&values) {
        if term.chars().count() != value.shape.len() {
            return Err(bad(format!("names other dimensions than {value} has")));
        }
        for (letter, &dim) in term.chars().zip(&value.shape) {
            let size = sizes.entry(letter).or_insert(dim);
            *size = shape::broadcast(&[*size], &[dim])?[0];
        }
    }
    let result = output
        .trim()
        .chars()
        .map(|letter| sizes.get(&letter).copied())
        .collect::<Option<Vec<Dim>>>()
        .ok_or_else(|| bad("has a letter in its result that no tensor has".into()))?;
    tensor(values[0].dtype, result)
}
