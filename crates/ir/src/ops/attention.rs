//! Attention.

use super::Opset::IOS18;
use super::domain::FLOAT;
use super::{Domain, OpDef, Param};
use crate::types::DataType::{Bool, Float16, Float32};
use super::infer::{Types, ranked, tensor};
use crate::shape::{self, mismatch};
use crate::types::Dim;
use crate::view::OpView;

const MASK: &[Domain] = &[Domain::new("M", &[Bool, Float16, Float32])];

pub(super) static DEFS: &[OpDef] = &[OpDef::new(
    "scaled_dot_product_attention",
    "`softmax(query * key^T / sqrt(E) + attn_mask) * value`: `query` [B, .., L, E], `key` \
     [B, .., S, E], `value` [B, .., S, EV]. A `bool` mask keeps where it is true.",
    &[
        Param::value("query", FLOAT),
        Param::value("key", FLOAT),
        Param::value("value", FLOAT),
        Param::value("attn_mask", MASK).optional("no mask"),
    ],
    attention,
)
.since(IOS18)];

fn attention(op: &OpView<'_>) -> Types {
    let query = ranked(op, "query", 3..=usize::MAX)?;
    let rank = query.shape.len();
    let key = ranked(op, "key", rank..=rank)?;
    let value = ranked(op, "value", rank..=rank)?;
    let batch = rank - 2;
    let same = |a: &[Dim], b: &[Dim], what: &str| match shape::merge_shapes(a, b) {
        Some(shape) => Ok(shape),
        None => Err(mismatch(format!(
            "{what} must be the same in `query` {query}, `key` {key} and `value` {value}"
        ))),
    };
    let outer = same(&query.shape[..batch], &key.shape[..batch], "batch dimensions")?;
    same(&outer, &value.shape[..batch], "batch dimensions")?;
    same(&query.shape[rank - 1..], &key.shape[rank - 1..], "the embedding of query and key")?;
    let keys = same(
        &key.shape[batch..=batch],
        &value.shape[batch..=batch],
        "the sequence of key and value",
    )?;
    if let Some(mask) = op.opt_tensor("attn_mask")? {
        let weights = [&query.shape[..rank - 1], &keys].concat();
        if shape::broadcast(&weights, &mask.shape)?.len() != rank {
            return Err(mismatch(format!("`attn_mask` {mask} has more dimensions than {query}")));
        }
    }
    let mut result = query.shape.clone();
    result[rank - 1] = value.shape[rank - 1];
    tensor(query.dtype, result)
}
