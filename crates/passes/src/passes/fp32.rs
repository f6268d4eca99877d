//! Single precision.

use milwright_ir::DataType;

use super::fp16::selected;
use crate::error::Error;
use crate::pass::{Exactness, OptionDef, Options, Pass, Takes};
use crate::report::PassReport;
use crate::retype::{self, Retype};
use crate::rewriter::Rewriter;

pub(super) static PASS: Pass = Pass {
    name: "fp32",
    summary: "Makes half precision single precision.",
    details: "\
The inverse of `fp16`, by the same rules: inputs, outputs and states keep their types, with casts; \
`convert --io fp32` changes inputs and outputs as well. To see what a model \
computes without its rounding, or to run on the CPU a part that fp16 breaks.

Numbers: weights have the values that they had; what was rounded between operations is not any more, so results are \
closer to what the network is, and not those that it gave.",
    options: &[
        OptionDef {
            name: "weights",
            summary: "How fp16 weights are stored.",
            takes: Takes::Words(&[
                ("widen", "as fp32, in twice the space"),
                ("cast", "as fp16, with a `cast` behind each"),
            ]),
        },
        OptionDef {
            name: "ops",
            summary: "The only operations to change; all, if not given.",
            takes: Takes::Names,
        },
        OptionDef {
            name: "keep",
            summary: "Operations that stay as they are.",
            takes: Takes::Names,
        },
    ],
    exactness: Exactness::Approximate,
    run,
};

fn run(rewriter: &mut Rewriter<'_>, options: &Options) -> Result<PassReport, Error> {
    let only = selected(rewriter, &options.names("ops"))?;
    let keep = selected(rewriter, &options.names("keep"))?;
    retype::run(
        rewriter,
        &Retype {
            from: DataType::Float16,
            to: DataType::Float32,
            only,
            keep: keep.unwrap_or_default(),
            fragile: Default::default(),
            fixed: Default::default(),
            cast_weights: options.get("weights") == "cast",
        },
    )
}
