//! Takes attention apart.

use milwright_ir::{Arg, Constant, DataType, OpView, ValueId};

use crate::error::Error;
use crate::pass::{Exactness, Options, Pass};
use crate::replacement::Replacement;
use crate::report::PassReport;
use crate::rewriter::{Rewriter, Site};

pub(super) static PASS: Pass = Pass {
    name: "decompose-sdpa",
    summary: "Replaces `scaled_dot_product_attention` by matrix products and a softmax.",
    details: "\
The operation is of iOS 18; before, and on devices that run it badly, attention is a `matmul` of queries and transposed \
keys, a `mul` by one over the root of their width, an `add` of the mask, a `softmax` and a `matmul` with the values. A \
mask of truth values becomes, by `fill_like` and `select`, 0 where it is true and negative infinity elsewhere, as the operation defines; \
where no key may be looked at, the result is NaN in both.

What stays: attention whose width is not fixed.

Numbers: the same sums; results between the operations are rounded to their type, which the one operation need not do.",
    options: &[],
    exactness: Exactness::Rounding,
    run,
};

fn run(rewriter: &mut Rewriter<'_>, _: &Options) -> Result<PassReport, Error> {
    let plan = |rewriter: &Rewriter<'_>, site: Site| {
        let view = OpView::new(rewriter.program(), site.op, rewriter.blobs());
        (view.op.op_type == "scaled_dot_product_attention").then(|| parts(&view))
    };
    rewriter.replace_each("taken apart", plan, build)
}

struct Parts {
    query: ValueId,
    key: ValueId,
    value: ValueId,
    mask: Option<(Arg, DataType)>,
    dtype: DataType,
    scale: f64,
}

fn parts(view: &OpView<'_>) -> Result<Parts, String> {
    let operand = |param: &str| match view.op.args(param) {
        [Arg::Value(v)] => Ok(*v),
        _ => Err(format!("its `{param}` is written in place")),
    };
    let text = |e: milwright_ir::ParamError| e.to_string();
    let query = view.tensor("query").map_err(text)?;
    let width = query.shape.last().and_then(|d| d.known());
    let width = width.filter(|&n| n > 0).ok_or("its width is not fixed")?;
    let mask = view.opt_tensor("attn_mask").map_err(text)?;
    Ok(Parts {
        query: operand("query")?,
        key: operand("key")?,
        value: operand("value")?,
        mask: view.arg("attn_mask").cloned().zip(mask.map(|m| m.dtype)),
        dtype: query.dtype,
        scale: 1.0 / (width as f64).sqrt(),
    })
}

fn build(r: &mut Replacement<'_, '_>, parts: Parts) -> Result<ValueId, Error> {
    let float = |r: &Replacement<'_, '_>, value: f64| {
        Constant::float(parts.dtype, value)
            .ok_or_else(|| r.fail(format!("attention of {}", parts.dtype)))
    };
    let scores = r.matmul(parts.query, parts.key, (false, true))?;
    let scale = float(r, parts.scale)?;
    let scale = r.constant("scale", scale)?;
    let mut scores = r.mul(scores, scale)?;
    if let Some((mask, dtype)) = &parts.mask {
        let summand = if *dtype == DataType::Bool {
            let (kept, hidden) = (float(r, 0.0)?, float(r, f64::NEG_INFINITY)?);
            let kept = r.constant("kept_value", kept)?;
            let hidden = r.constant("hidden", hidden)?;
            // The shape of a `select` is that of the values, not of the mask.
            let inputs = vec![
                ("ref_tensor", vec![mask.clone()]),
                ("value", vec![Arg::Value(kept)]),
            ];
            let kept = r.op("fill_like", "kept", inputs)?;
            let inputs = vec![
                ("cond", vec![mask.clone()]),
                ("a", vec![Arg::Value(kept)]),
                ("b", vec![Arg::Value(hidden)]),
            ];
            Arg::Value(r.op("select", "mask", inputs)?)
        } else if *dtype != parts.dtype {
            let to = r.constant("dtype", Constant::string(parts.dtype.name()))?;
            let inputs = vec![("x", vec![mask.clone()]), ("dtype", vec![Arg::Value(to)])];
            Arg::Value(r.op("cast", "mask", inputs)?)
        } else {
            mask.clone()
        };
        let inputs = vec![("x", vec![Arg::Value(scores)]), ("y", vec![summand])];
        scores = r.op("add", "masked", inputs)?;
    }
    let axis = r.constant("axis", Constant::int(-1))?;
    let inputs = vec![("x", vec![Arg::Value(scores)]), ("axis", vec![Arg::Value(axis)])];
    let weights = r.op("softmax", "weights", inputs)?;
    r.matmul(weights, parts.value, (false, false))
}
