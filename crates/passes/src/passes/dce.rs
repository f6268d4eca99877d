//! Removes what nothing uses.

use milwright_ir::{OpId, Program};

use crate::error::Error;
use crate::pass::{Exactness, Options, Pass};
use crate::report::PassReport;
use crate::rewriter::Rewriter;

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

/// Operations that are there for their effect, whether or not their result is used.
const EFFECTS: [&str; 2] = ["coreml_update_state", "write_state"];

fn run(rewriter: &mut Rewriter<'_>, _: &Options) -> Result<PassReport, Error> {
    Ok(PassReport {
        removed: rewriter.remove_unused(|program, op| !has_effect(program, op))?,
        ..PassReport::default()
    })
}

fn has_effect(program: &Program, op: OpId) -> bool {
    let mut ops = vec![op];
    while let Some(id) = ops.pop() {
        let op = &program.ops[id];
        if op.def.is_none() || EFFECTS.contains(&op.op_type.as_str()) {
            return true;
        }
        let blocks = op.blocks.iter();
        ops.extend(blocks.flat_map(|&b| &program.blocks[b].ops));
    }
    false
}
