//! What operations cost: multiply-adds, and bytes of values.
//!
//! A multiply-add is one product that is added to a sum. Counted are the
//! operations whose work is such sums; biases, activations and element-wise
//! operations are not:
//!
//! | operation | multiply-adds |
//! |---|---|
//! | `conv`, `conv_quantized` | elements of the result x (input channels / groups) x kernel |
//! | `conv_transpose` | elements of `x` x (output channels / groups) x kernel, what is cut off included |
//! | `linear` | elements of the result x D_in |
//! | `matmul` | elements of the result x columns of `x` |
//! | `einsum` | the product of the sizes of all letters |
//! | `scaled_dot_product_attention` | batch x L x S x (E + EV) |
//! | `lstm`, `gru`, `rnn` | steps x batch x 4, 3 or 1 x H x (I + H), for each direction |
//!
//! Padding counts like other elements.

use std::collections::BTreeMap;

use crate::arena::OpId;
use crate::constant::BlobSource;
use crate::program::{Function, Program};
use crate::shape;
use crate::sizes::Sizes;
use crate::types::{Dim, TensorType, ValueType};
use crate::view::OpView;

/// The multiply-adds of one execution of an operation, without what its blocks
/// do: 0 for operations that have none. `None` when a size is not known, the
/// operation is not one that this version knows, or the number overflows.
///
/// Sizes are those that the view has: of the file, or of
/// [`OpView::with_sizes`].
pub fn multiply_adds(op: &OpView<'_>) -> Option<u64> {
    op.op.def?;
    match op.op.op_type.as_str() {
        "conv" | "conv_quantized" => {
            let weight = tensor(op, "weight")?.shape.get(1..)?;
            times(count(&result(op)?.shape)?, weight)
        }
        "conv_transpose" => {
            let weight = tensor(op, "weight")?.shape.get(1..)?;
            times(count(&tensor(op, "x")?.shape)?, weight)
        }
        "linear" => {
            let x = tensor(op, "x")?;
            let weight = tensor(op, "weight")?.shape.last()?;
            let length = shape::merge(*x.shape.last()?, *weight)?;
            times(count(&result(op)?.shape)?, &[length])
        }
        "matmul" => {
            let inner = |param, transpose, from_end, vector| -> Option<Dim> {
                let shape = &tensor(op, param)?.shape;
                let transposed = op.bool(transpose).ok()?.known_or(false)?;
                let rank = shape.len();
                let back = match (rank, transposed) {
                    (1, _) => vector,
                    (_, false) => from_end,
                    (_, true) => 3 - from_end,
                };
                shape.get(rank.checked_sub(back)?).copied()
            };
            let columns = inner("x", "transpose_x", 1, 1)?;
            let rows = inner("y", "transpose_y", 2, 1)?;
            times(count(&result(op)?.shape)?, &[shape::merge(columns, rows)?])
        }
        "einsum" => einsum(op),
        "scaled_dot_product_attention" => {
            let query = tensor(op, "query")?;
            let key = tensor(op, "key")?;
            let value = tensor(op, "value")?;
            let keys = *key.shape.get(key.shape.len().checked_sub(2)?)?;
            let weights = times(count(query.shape.split_last()?.1)?, &[keys])?;
            let scores = times(weights, &[*query.shape.last()?])?;
            scores.checked_add(times(weights, &[*value.shape.last()?])?)
        }
        "lstm" | "gru" | "rnn" => recurrent(op),
        _ => Some(0),
    }
}

/// The sum of a function's multiply-adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// The sum over all operations of which the number is known.
    pub multiply_adds: u64,
    /// The operations of which it is not known.
    pub unknown: Vec<OpId>,
}

/// The multiply-adds of a function's body. Each operation counts once, also in
/// the body of a loop and in a branch. A sum beyond 64 bits stays at their
/// largest number.
pub fn total(
    program: &Program,
    function: &Function,
    blobs: &dyn BlobSource,
    sizes: &Sizes,
) -> Total {
    let mut total = Total::default();
    let body = function.body().map(|body| program.walk(body));
    for id in body.unwrap_or_default() {
        match multiply_adds(&OpView::new(program, id, blobs).with_sizes(sizes)) {
            Some(n) => total.multiply_adds = total.multiply_adds.saturating_add(n),
            None => total.unknown.push(id),
        }
    }
    total
}

/// The bytes that the elements of a value take, packed as in a weight file: of
/// a tensor, or of the one that a state holds. `None` when a size is not known,
/// for other types, and when the number overflows.
pub fn byte_len(ty: &ValueType) -> Option<u64> {
    match ty {
        ValueType::Tensor(tensor) => tensor.dtype.byte_len(count(&tensor.shape)?),
        ValueType::State(inner) => byte_len(inner),
        _ => None,
    }
}

fn tensor<'p>(op: &OpView<'p>, param: &str) -> Option<&'p TensorType> {
    op.opt_tensor(param).ok()?
}

/// The type of the first output.
fn result<'p>(op: &OpView<'p>) -> Option<&'p TensorType> {
    op.value_type(*op.op.outputs.first()?).as_tensor()
}

fn count(shape: &[Dim]) -> Option<u64> {
    times(1, shape)
}

/// `n` times the number of elements of a shape; 0 when one size is, whatever
/// the others are.
fn times(n: u64, shape: &[Dim]) -> Option<u64> {
    if n == 0 || shape.contains(&Dim::Known(0)) {
        return Some(0);
    }
    shape.iter().try_fold(n, |n, d| n.checked_mul(d.known()?))
}

fn einsum(op: &OpView<'_>) -> Option<u64> {
    let values = op.tensors("values").ok()?;
    let equation = op.string("equation").ok()?.known()?;
    let (inputs, _) = equation.split_once("->")?;
    let mut sizes: BTreeMap<char, Dim> = BTreeMap::new();
    for (term, value) in inputs.split(',').zip(values) {
        for (letter, &dim) in term.trim().chars().zip(&value.shape) {
            let size = sizes.entry(letter).or_insert(dim);
            *size = *shape::broadcast(&[*size], &[dim]).ok()?.first()?;
        }
    }
    count(&sizes.into_values().collect::<Vec<Dim>>())
}

/// One product by each weight of each direction, at every step of the sequence.
fn recurrent(op: &OpView<'_>) -> Option<u64> {
    let x = tensor(op, "x")?;
    let steps = count(x.shape.get(..2)?)?;
    let mut weights = 0u64;
    let both = op.op.op_type == "lstm"
        && op
            .string("direction")
            .ok()?
            .known()?
            .eq_ignore_ascii_case("bidirectional");
    let back = ["weight_ih_back", "weight_hh_back"];
    for param in ["weight_ih", "weight_hh"]
        .into_iter()
        .chain(back.into_iter().filter(|_| both))
    {
        weights = weights.checked_add(count(&tensor(op, param)?.shape)?)?;
    }
    steps.checked_mul(weights)
}
