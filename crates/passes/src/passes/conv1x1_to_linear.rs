//! Makes matrix products of convolutions with a kernel of 1.

use milwright_ir::{OpView, ValueId};

use super::linear_to_conv1x1::Product;
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

fn parts(view: &OpView<'_>) -> Result<Product, String> {
    if view.is_given("bias") && view.constant("bias").is_none() {
        return Err("its bias is not constant".into());
    }
    Product::of(view, |shape| shape[..2].to_vec())
}

fn build(r: &mut Replacement<'_, '_>, product: Product) -> Result<ValueId, Error> {
    let rank = product.rank;
    let order: Vec<usize> = [0].into_iter().chain(2..rank).chain([1]).collect();
    let back: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
    let rows = r.transpose(product.x, &order)?;
    let inputs = product.operands(r, rows)?;
    let y = r.op("linear", "linear", inputs)?;
    r.transpose(y, &back)
}
