//! Half precision.

use std::collections::HashSet;

use milwright_ir::{DataType, OpId};

use crate::error::Error;
use crate::hint::Patterns;
use crate::pass::{Exactness, OptionDef, Options, Pass, Takes};
use crate::report::PassReport;
use crate::retype::{self, Retype};
use crate::rewriter::Rewriter;

pub(super) static PASS: Pass = Pass {
    name: "fp16",
    summary: "Makes single precision half precision.",
    details: "\
The Neural Engine computes in fp16. Every operation whose operands may be fp16 gets them so, its fp32 results are fp16, and \
casts stand where that meets what stays fp32: inputs and outputs of the model, which keep their types and names, states and \
lists, what nested blocks take and give, operations that the op table does not allow fp16 for, and what the options say. \
Casts between the two types that are there already serve where they can. Types are inferred again, operation by \
operation; an operation that does not fit stays, with the reason.

`convert --passes fp16 --io fp16` makes inputs and outputs fp16 as well, under their names, and takes the casts there away. \
Images, integers and states stay.

`ops` are the only operations to change, `keep` those that stay. `convert --from-preflight` runs the model in fp16 beside \
fp32 first, and keeps what fp16 breaks: operations whose results overflow, constants beyond 65504, what is divided by, or \
taken a logarithm or root of, and becomes 0, and results that lose a sixteenth; with each, what gives and what reads \
those numbers. With `--io fp16`, inputs and outputs that would have to hold such numbers stay fp32. Give it inputs that \
are like real ones. It belongs at the beginning of a pipeline, for it knows the operations as they are in the file.

Numbers: all are rounded to fp16, weights included. A finite constant beyond 65504 becomes 65504, so that masks of -1e9 \
do their work, and the report counts them; an `epsilon` that would vanish becomes the smallest number above 0. Weights in \
fp16 are in memory until the model is written.",
    options: &[
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
    let fragile = rewriter.fragile().cloned().unwrap_or_default();
    retype::run(
        rewriter,
        &Retype {
            from: DataType::Float32,
            to: DataType::Float16,
            only,
            keep: keep.unwrap_or_default(),
            fragile: fragile.ops,
            fixed: fragile.values.into_iter().collect(),
            cast_weights: false,
        },
    )
}

/// The operations that patterns mean; `None` without patterns.
pub(super) fn selected(
    rewriter: &Rewriter<'_>,
    patterns: &[&str],
) -> Result<Option<HashSet<OpId>>, Error> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let found = Patterns::new(patterns).select(rewriter.program())?;
    Ok(Some(found.into_iter().collect()))
}
