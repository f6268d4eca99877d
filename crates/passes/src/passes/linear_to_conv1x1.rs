//! Makes convolutions of matrix products.

use milwright_ir::{Arg, Constant, OpView, TensorType, ValueId};

use crate::error::Error;
use crate::pass::{Exactness, Options, Pass};
use crate::replacement::Replacement;
use crate::report::PassReport;
use crate::rewriter::{Rewriter, Site};

pub(super) static PASS: Pass = Pass {
    name: "linear-to-conv1x1",
    summary: "Replaces `linear` by a `conv` with a kernel of 1.",
    details: "\
The Neural Engine was made for tensors [N, C, 1, S]. An `x` [.., S, D] of 2 to 4 dimensions becomes [N, D, .., S] by \
`transpose` and `expand_dims`, and its result goes back the same way; the transposes of neighbours cancel where \
nothing but element-wise operations stands between them, which this pass leaves to others. Weights keep their bytes.

What stays: an `x` of another rank, and weights that are not constant or are compressed. `conv1x1-to-linear` is the way \
back.

Numbers: the same products; an implementation may add them up in another order.",
    options: &[],
    exactness: Exactness::Rounding,
    run,
};

fn run(rewriter: &mut Rewriter<'_>, _: &Options) -> Result<PassReport, Error> {
    let plan = |rewriter: &Rewriter<'_>, site: Site| {
        let view = OpView::new(rewriter.program(), site.op, rewriter.blobs());
        (view.op.op_type == "linear").then(|| parts(&view))
    };
    rewriter.replace_each("replaced by a `conv`", plan, build)
}

fn parts(view: &OpView<'_>) -> Result<Product, String> {
    let product = Product::of(view, |shape| [shape, &[1, 1]].concat())?;
    match product.rank {
        2..=4 => Ok(product),
        rank => Err(format!("its input has {rank} dimensions, and not 2 to 4")),
    }
}

/// What `linear`, or a `conv` with a kernel of 1, multiplies and adds.
pub(super) struct Product {
    pub(super) x: ValueId,
    /// Number of dimensions of `x`.
    pub(super) rank: usize,
    weight: Constant,
    bias: Option<Vec<Arg>>,
}

impl Product {
    /// Reads an operation, with the bytes of its weights in another shape.
    pub(super) fn of(view: &OpView<'_>, shape: impl Fn(&[u64]) -> Vec<u64>) -> Result<Self, String> {
        let Some(Arg::Value(x)) = view.arg("x") else {
            return Err("its input is a constant".into());
        };
        let ty = view.tensor("x").map_err(|e| e.to_string())?;
        let rank = ty.rank().ok_or("the rank of its input is not known")?;
        let weight = view.constant("weight").ok_or("its weights are compressed or not constant")?;
        let own = weight.tensor_type().ok_or("its weights are no tensor")?;
        let old = own.known_shape().ok_or("its weights have no fixed shape")?;
        if let Some(ty) = [ty, own].into_iter().find(|ty| !ty.dtype.is_float()) {
            return Err(format!("it multiplies {}", ty.dtype));
        }
        let ty = TensorType::fixed(own.dtype, &shape(&old));
        Ok(Product {
            x: *x,
            rank,
            weight: Constant::new(ty, weight.data.clone()),
            bias: view.is_given("bias").then(|| view.op.args("bias").to_vec()),
        })
    }

    /// The operands of an operation that does the same with `x`.
    pub(super) fn operands(
        self,
        r: &mut Replacement<'_, '_>,
        x: ValueId,
    ) -> Result<Vec<(&'static str, Vec<Arg>)>, Error> {
        let weight = r.constant("weight", self.weight)?;
        let mut operands = vec![("x", vec![Arg::Value(x)]), ("weight", vec![Arg::Value(weight)])];
        operands.extend(self.bias.map(|bias| ("bias", bias)));
        Ok(operands)
    }
}

fn build(r: &mut Replacement<'_, '_>, product: Product) -> Result<ValueId, Error> {
    // [.., S, D] as [N, D, A, S].
    let (order, back, axes): (&[usize], &[usize], &[i32]) = match product.rank {
        2 => (&[0, 1], &[0, 1], &[2, 3]),
        3 => (&[0, 2, 1], &[0, 2, 1], &[2]),
        _ => (&[0, 3, 1, 2], &[0, 2, 3, 1], &[]),
    };
    let mut x = r.transpose(product.x, order)?;
    if !axes.is_empty() {
        let axes = r.constant("axes", Constant::ints(axes))?;
        let inputs = vec![("x", vec![Arg::Value(x)]), ("axes", vec![Arg::Value(axes)])];
        x = r.op("expand_dims", "expanded", inputs)?;
    }
    let mut inputs = product.operands(r, x)?;
    let given = [
        ("strides", Constant::ints(&[1, 1])),
        ("pad_type", Constant::string("valid")),
        ("pad", Constant::ints(&[0, 0, 0, 0])),
        ("dilations", Constant::ints(&[1, 1])),
        ("groups", Constant::int(1)),
    ];
    for (param, constant) in given {
        inputs.push((param, vec![Arg::Value(r.constant(param, constant)?)]));
    }
    let mut y = r.op("conv", "conv", inputs)?;
    if !axes.is_empty() {
        let axes = r.constant("axes", Constant::ints(axes))?;
        let inputs = vec![("x", vec![Arg::Value(y)]), ("axes", vec![Arg::Value(axes)])];
        y = r.op("squeeze", "squeezed", inputs)?;
    }
    r.transpose(y, back)
}
