//! Removes what nothing uses.

use crate::error::Error;
use crate::pass::{Exactness, Options, Pass};
use crate::report::PassReport;
use crate::rewriter::{Rewriter, has_effect};

pub(super) static PASS: Pass = Pass {
    name: "dce",
    summary: "Removes operations whose results nothing uses.",
    details: "\
Takes every function, every specialization and every nested block. What only a removed operation \
read goes too, constants included; saving then drops their weights from the weight file.

Operations that write a state stay, and so do those that this version does not know, because they \
may have an effect. Inputs and outputs of functions and blocks never change.",
    options: &[],
    exactness: Exactness::Exact,
    run,
};

fn run(rewriter: &mut Rewriter<'_>, _: &Options) -> Result<PassReport, Error> {
    Ok(PassReport {
        removed: rewriter.remove_unused(|program, op| !has_effect(program, op))?,
        ..PassReport::default()
    })
}
