//! Makes matrix products of convolutions with a kernel of 1.

use milwright_ir::{Arg, Constant, OpView, TensorType, ValueId};

use crate::error::Error;
use crate::pass::{Exactness, Options, Pass};
use crate::replacement::Replacement;
use crate::report::PassReport;
use crate::rewriter::{Rewriter, Site};

pub(super) static PASS: Pass = Pass {
    name: "conv1x1-to-linear",
    summary: "Replaces a `conv` with a kernel of 1 by `linear`.",
    details: "\
An `x` [N, C, *D] becomes [N, *D, C] by `transpose`, and the result of the `linear` goes back the same way. Taken are \
convolutions with one group, stride 1, no padding and constant weights, which keep their bytes. `decompose-conv` takes \
all others, and needs no transposes for these; this pass is the inverse of `linear-to-conv1x1`.

Numbers: the same products; an implementation may add them up in another order.",
    options: &[],
    exactness: Exactness::Rounding,
    run,
};

fn run(rewriter: &mut Rewriter<'_>, _: &Options) -> Result<PassReport, Error> {
    let plan = |rewriter: &Rewriter<'_>, site: Site| {
        let view = OpView::new(rewriter.program(), site.op, rewriter.blobs());
        is_pointwise(&view).then(|| parts(&view))
    };
    rewriter.replace_each("replaced by a `linear`", plan, build)
}

/// Whether every element of the kernel, of stride and dilation is 1, and
/// nothing is padded.
fn is_pointwise(view: &OpView<'_>) -> bool {
    let all = |param: &str, wanted: i64| match view.ints(param) {
        Ok(given) => given.known_or(Vec::new()).is_some_and(|g| g.iter().all(|&n| n == wanted)),
        Err(_) => false,
    };
    let weight = view.ty("weight").and_then(|ty| ty.as_tensor()?.known_shape());
    let kernel = weight.and_then(|shape| Some(shape.get(2..)?.iter().all(|&k| k == 1)));
    // Every type but `custom` pads a kernel of 1 by nothing.
    let custom = view.string("pad_type").ok().and_then(|t| t.known()).is_some_and(|t| t == "custom");
    view.op.op_type == "conv"
        && kernel == Some(true)
        && all("strides", 1)
        && all("groups", 1)
        && (!custom || all("pad", 0))
}

struct Parts {
    x: ValueId,
    rank: usize,
    weight: Constant,
    bias: Option<Vec<Arg>>,
}

fn parts(view: &OpView<'_>) -> Result<Parts, String> {
    let Some(Arg::Value(x)) = view.arg("x") else {
        return Err("its input is a constant".into());
    };
    let ty = view.tensor("x").map_err(|e| e.to_string())?;
    let rank = ty.rank().ok_or("the rank of its input is not known")?;
    let weight = view.constant("weight").ok_or("its weights are compressed or not constant")?;
    let own = weight.tensor_type().ok_or("its weights are no tensor")?;
    let shape = own.known_shape().ok_or("its weights have no fixed shape")?;
    if view.is_given("bias") && view.constant("bias").is_none() {
        return Err("its bias is not constant".into());
    }
    let ty = TensorType::fixed(own.dtype, &shape[..2]);
    Ok(Parts {
        x: *x,
        rank,
        weight: Constant::new(ty, weight.data.clone()),
        bias: view.is_given("bias").then(|| view.op.args("bias").to_vec()),
    })
}

fn build(r: &mut Replacement<'_, '_>, parts: Parts) -> Result<ValueId, Error> {
    let rank = parts.rank;
    let order: Vec<usize> = [0].into_iter().chain(2..rank).chain([1]).collect();
    let back: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
    let rows = r.transpose(parts.x, &order)?;
    let weight = r.constant("weight", parts.weight)?;
    let mut inputs = vec![("x", vec![Arg::Value(rows)]), ("weight", vec![Arg::Value(weight)])];
    if let Some(bias) = parts.bias {
        inputs.push(("bias", bias));
    }
    let y = r.op("linear", "linear", inputs)?;
    r.transpose(y, &back)
}
