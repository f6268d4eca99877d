//! Makes plain weights of compressed ones.

use milwright_ir::OpId;

use crate::error::Error;
use crate::forward::mixed_operands;
use crate::pass::{Exactness, Options, Pass};
use crate::report::PassReport;
use crate::rewriter::{Rewriter, Site};

pub(super) static PASS: Pass = Pass {
    name: "decompress",
    summary: "Makes plain constants of compressed weights.",
    details: "\
Every `constexpr_*` operation that something else than another one reads becomes a `const` with the values that it \
stands for, as the interpreter computes them; what it was made from goes. For runtimes that do not take a form of \
compression, and for tools that look at weights. The file grows accordingly, and the plain weights are in memory until it \
is written.

Numbers: the values are rounded to the type that the compressed weight has. A palette or a sparse weight holds such values \
already; a quantised one is computed, and in fp16 the product of scale and integer loses its last bits, as it does on a \
device that decompresses to fp16. Evaluated in fp32, where nothing is rounded, the outputs of such a model therefore change \
by about as much as fp16 resolves; `--precision native` shows no difference.",
    options: &[],
    exactness: Exactness::Rounding,
    run,
};

fn run(rewriter: &mut Rewriter<'_>, _: &Options) -> Result<PassReport, Error> {
    let evaluator = rewriter.evaluator()?;
    let mixed = mixed_operands(rewriter.program());
    // What only feeds another compressed weight is part of that.
    let mut plainly: Vec<OpId> = Vec::new();
    for site in rewriter.sites() {
        let program = rewriter.program();
        let op = &program.ops[site.op];
        if !op.op_type.starts_with("constexpr_") {
            plainly.extend(op.operands().filter_map(|v| program.def_op(v)));
        }
    }
    for block in rewriter.program().live_blocks() {
        let program = rewriter.program();
        let outputs = program.blocks[block].outputs.iter();
        plainly.extend(outputs.filter_map(|&v| program.def_op(v)));
    }
    plainly.sort_unstable();
    let plan = |rewriter: &Rewriter<'_>, site: Site| {
        let program = rewriter.program();
        let op = &program.ops[site.op];
        let is_read = plainly.binary_search(&site.op).is_ok();
        if !op.op_type.starts_with("constexpr_") || !is_read {
            return None;
        }
        let is_mixed = op.outputs.iter().any(|v| mixed.contains(v));
        let evaluated = match op.outputs.len() {
            1 if is_mixed => Err("a `matmul` of two element types reads it".to_owned()),
            1 => evaluator.evaluate(program, site.op, rewriter.blobs()),
            n => Err(format!("it has {n} results")),
        };
        let constant = evaluated.map(|mut results| Some(results.pop()?.constant));
        constant.transpose()
    };
    rewriter.replace_each("decompressed", plan, |replacement, constant| {
        replacement.constant("dense", constant)
    })
}
