//! Attention.

use super::Opset::IOS18;
use super::domain::FLOAT;
use super::{Domain, OpDef, Param};
use crate::types::DataType::{Bool, Float16, Float32};
use crate::types::ValueType;
use crate::view::{OpView, ParamError};

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

fn attention(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
