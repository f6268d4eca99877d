//! Replaces convolutions by matrix products.
//!
//! A form is chosen for each convolution ([`forms::Form`]); what a form builds
//! keeps the layout `[batch, channels, ..]`, so that the weights of a
//! convolution, seen as a matrix `[c_out, c_in * taps]`, are the very bytes
//! that the file already has.

mod depthwise;
mod flexible;
mod forms;
mod geometry;
mod product;
mod transposed;
mod unfold;
mod weight;

use milwright_ir::OpView;

use crate::error::Error;
use crate::pass::{Exactness, OptionDef, Options, Pass, Takes};
use crate::report::{PassReport, Rewritten};
use crate::rewriter::{Rewriter, Site};

pub(super) static PASS: Pass = Pass {
    name: "decompose-conv",
    summary: "Replaces convolutions by slices and matrix products.",
    details: DETAILS,
    options: &[
        OptionDef {
            name: "stride",
            summary: "How a stride above 1 is taken apart.",
            takes: Takes::Words(&[
                (
                    "space-to-depth",
                    "`reshape` and `transpose`, then slices of stride 1",
                ),
                (
                    "strided-slice",
                    "`slice_by_index` with strides: fewer operations, also over dimensions of unknown size, but \
                     some GPU compilers fail on it",
                ),
            ]),
        },
        OptionDef {
            name: "taps",
            summary: "How the elements of a kernel are brought together.",
            takes: Takes::Words(&[
                (
                    "concat",
                    "one matrix product over all of them; the weights keep their bytes",
                ),
                (
                    "sum",
                    "a sum of one matrix product for each; needs less memory for values",
                ),
            ]),
        },
    ],
    exactness: Exactness::Rounding,
    run,
};

const DETAILS: &str = "\
For devices and runtimes on which convolutions leak, crash or run where they should not. Takes every `conv` and \
`conv_transpose` over one or two dimensions with constant weights. It adds `pad`, `slice_by_index`, `concat`, \
`reshape`, `transpose`, `matmul`, `mul` and `add`, no tensor of more than 4 dimensions, no `gather` and, unless \
asked, no slice with a stride.

| form | for | what it becomes |
|---|---|---|
| `pointwise` | kernel 1, stride 1 | one `matmul`, weights on the left, so nothing is transposed |
| `frames` | one input channel, one dimension, stride above 1, such as a short-time transform | rows of `stride` \
samples, a slice for each row that the kernel spans, one `matmul` |
| `unfold` | any other | slices along each dimension, joined; one `matmul` over all elements of the kernel, batched \
over groups |
| `tap-sum` | the same with `taps=sum` | one `matmul` for each element of the kernel, or for each row of `stride` elements, \
added up |
| `depthwise` | one input channel a group | a `mul` and an `add` for each element of the kernel |
| `transposed` | `conv_transpose` | slices in reverse order, one `matmul` that gives `stride` results a position, \
interleaved by `reshape` and `transpose` |
| `channels-last` | spatial dimensions of unknown size | slices by distance from the end, one `matmul` |

More than 16 slices in a row are made by doubling: windows of 2 elements from the input, of 4 from those, and so on.

Weights: in the forms with one `matmul` they keep their bytes and get another declared shape. Where the order must \
change, a rearranged copy replaces them. Compressed weights (`constexpr_*`) stay compressed in the file and are rearranged \
by `reshape`, `transpose` and slices when the program runs.

What stays is listed with the reason: weights that are not constant, more than two spatial dimensions, a stride over a \
dimension of unknown size (unless `stride=strided-slice`), and a few other uses of unknown sizes.

Numbers: the sums of a convolution are the same, their order may differ. A matrix product over all elements of the \
kernel has the order that a convolution has when it is computed as one. Constants are not rounded.";

/// The words of the options.
#[derive(Clone, Copy, Debug)]
struct Choice {
    strided: bool,
    sum: bool,
}

fn run(rewriter: &mut Rewriter<'_>, options: &Options) -> Result<PassReport, Error> {
    let choice = Choice {
        strided: options.get("stride") == "strided-slice",
        sum: options.get("taps") == "sum",
    };
    let mut report = PassReport::default();
    let mut read = Vec::new();
    for site in rewriter.sites() {
        if rewriter.is_out_of_fuel() {
            break;
        }
        let program = rewriter.program();
        let op = &program.ops[site.op];
        if !matches!(op.op_type.as_str(), "conv" | "conv_transpose" | "conv_quantized") {
            continue;
        }
        let name = rewriter.named(site);
        let operands: Vec<_> = op.operands().collect();
        match rewrite(rewriter, site, choice)? {
            Outcome::Left(reason) => report.left.push(rewriter.left(site, reason)),
            Outcome::OutOfFuel => break,
            Outcome::Done(mut rewritten) => {
                read.extend(operands);
                rewritten.function = name.function;
                rewritten.op = name.op;
                rewritten.op_type = name.op_type;
                report.rewritten.push(*rewritten);
            }
        }
    }
    report.removed = rewriter.remove_orphaned_constants(&read)?;
    Ok(report)
}

enum Outcome {
    Done(Box<Rewritten>),
    Left(String),
    OutOfFuel,
}

fn rewrite(rewriter: &mut Rewriter<'_>, site: Site, choice: Choice) -> Result<Outcome, Error> {
    let view = OpView::new(rewriter.program(), site.op, rewriter.blobs());
    let geometry = match geometry::read(&view, rewriter.blobs()) {
        Ok(geometry) => geometry,
        Err(reason) => return Ok(Outcome::Left(reason)),
    };
    let form = match forms::choose(&geometry, choice) {
        Ok(form) => form,
        Err(reason) => return Ok(Outcome::Left(reason)),
    };
    let mut replacement = rewriter.replace(site);
    let mut builder = forms::Builder::new(&mut replacement, &geometry, choice);
    let last = builder.build(form)?;
    let weights = builder.weights();
    let what = format!("replaced by form `{}`", form.name());
    let Some(additions) = replacement.finish(last, what)? else {
        return Ok(Outcome::OutOfFuel);
    };
    let countable = geometry.is_static();
    Ok(Outcome::Done(Box::new(Rewritten {
        function: String::new(),
        op: String::new(),
        op_type: String::new(),
        summary: geometry.summary.clone(),
        form: form.name(),
        weights,
        added: additions.ops,
        macs_before: geometry.macs(),
        macs_after: additions.macs.filter(|_| countable),
        largest: additions.largest,
    })))
}
