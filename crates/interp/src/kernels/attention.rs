//! `scaled_dot_product_attention`.

use candle_core::{DType, Tensor};

use super::check::{Result, bad};
use super::linear::multiply;
use super::softmax;
use crate::call::{Call, Outputs};
use crate::error::KernelError;

/// `softmax(query * key^T / sqrt(E) + attn_mask) * value`. Where no key may be
/// looked at, the result is NaN.
pub(crate) fn scaled_dot_product_attention(call: &Call<'_>) -> Outputs {
    let [query, key, value] = ["query", "key", "value"].map(|param| call.tensor(param));
    let (query, key, value) = (query?.data, key?.data, value?.data);
    let rank = query.rank();
    let (q, k, v) = (query.dims(), key.dims(), value.dims());
    let fits = rank >= 3
        && k.len() == rank
        && v.len() == rank
        && q[..rank - 2] == k[..rank - 2]
        && q[..rank - 2] == v[..rank - 2]
        && q[rank - 1] == k[rank - 1]
        && k[rank - 2] == v[rank - 2];
    if !fits {
        return Err(KernelError::mismatch(format!(
            "`query` {q:?}, `key` {k:?} and `value` {v:?}, but they must be [B, .., L, E], \
             [B, .., S, E] and [B, .., S, EV]"
        )));
    }
    let scale = 1.0 / (q[rank - 1] as f64).sqrt();
    let scores = multiply(&query, &key.transpose(rank - 2, rank - 1)?, None)?;
    let mut scores = (scores * scale)?;
    if let Some(mask) = call.opt_tensor("attn_mask")? {
        scores = (&scores + as_summand(&mask.data, &scores)?)?;
    }
    call.one(multiply(&softmax::over_last(&scores)?, &value, None)?)
}

/// A mask as what is added to the scores: a truth value keeps (0) or hides
/// (negative infinity).
fn as_summand(mask: &Tensor, scores: &Tensor) -> Result<Tensor> {
    let misfit = |_| {
        bad(
            "attn_mask",
            format_args!(
                "has shape {:?}, which does not broadcast to {:?}",
                mask.dims(),
                scores.dims()
            ),
        )
    };
    let mask = match mask.dtype() {
        DType::U8 => {
            let dtype = scores.dtype();
            let kept = Tensor::zeros(mask.dims(), dtype, mask.device())?;
            let hidden = Tensor::full(f32::NEG_INFINITY, mask.dims(), mask.device())?;
            mask.where_cond(&kept, &hidden.to_dtype(dtype)?)?
        }
        _ => mask.to_dtype(scores.dtype())?,
    };
    mask.broadcast_as(scores.dims()).map_err(misfit)
}
