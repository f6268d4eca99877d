//! Computes once what is computed several times.

use std::collections::HashMap;
use std::fmt::Write;

use milwright_ir::{Arg, BlockId, ConstData, Constant, OpId, Program, ValueId};

use crate::error::Error;
use crate::forward::Forwarding;
use crate::pass::{Exactness, Options, Pass};
use crate::report::PassReport;
use crate::rewriter::{Rewriter, has_effect};

pub(super) static PASS: Pass = Pass {
    name: "cse",
    summary: "Computes once what is computed several times.",
    details: "\
Two operations of the same type, with the same operands, equal constants and the same attributes (but for the name) give \
the same; readers of the second read the first, when that is computed in the same block or around it. Constants count as \
equal when every bit is, so 0 and -0 are not.

Constants themselves are not merged: saving stores equal ones once. Operations with an effect, random numbers, reads of \
states, those with nested blocks, and those that this version does not know stay. So does an operation that gives an \
output of the model, because that keeps its name.",
    options: &[],
    exactness: Exactness::Exact,
    run,
};

/// Constants that are written in the spec are compared up to so many bytes.
const MAX_KEY: usize = 1 << 16;

fn run(rewriter: &mut Rewriter<'_>, _: &Options) -> Result<PassReport, Error> {
    let mut report = PassReport::default();
    let mut forwarding = Forwarding::default();
    let mut seen: HashMap<String, Vec<(BlockId, OpId)>> = HashMap::new();
    let mut read = Vec::new();
    let sites = rewriter.sites();
    let homes: HashMap<OpId, BlockId> = sites.iter().map(|s| (s.op, s.block)).collect();
    for site in sites {
        if rewriter.is_out_of_fuel() {
            break;
        }
        let program = rewriter.program();
        let Some(key) = key(program, site.op, &forwarding) else {
            continue;
        };
        let earlier = seen.entry(key).or_default();
        let around = earlier
            .iter()
            .find(|(block, _)| encloses(program, &homes, *block, site.block));
        let Some(&(_, first)) = around else {
            earlier.push((site.block, site.op));
            continue;
        };
        let op = &program.ops[site.op];
        let (op_type, operands) = (op.op_type.clone(), op.operands().collect::<Vec<_>>());
        let &[instead] = program.ops[first].outputs.as_slice() else {
            continue;
        };
        let what = format!("computed already as `{}`", program.values[instead].name);
        if is_result(program, op.outputs[0]) {
            continue;
        }
        if forwarding.forward(rewriter, site, instead, &what)? {
            *report.done.entry(op_type).or_default() += 1;
            read.extend(operands);
        }
    }
    forwarding.apply(rewriter)?;
    report.removed = rewriter.remove_orphaned_constants(&read)?;
    Ok(report)
}

fn is_result(program: &Program, value: ValueId) -> bool {
    let bodies = program.functions.iter().flat_map(|f| &f.specializations);
    let mut outputs = bodies.flat_map(|&(_, b)| &program.blocks[b].outputs);
    outputs.any(|&v| v == value)
}

/// Whether what is computed in `outer` is visible in `inner`.
fn encloses(
    program: &Program,
    homes: &HashMap<OpId, BlockId>,
    outer: BlockId,
    inner: BlockId,
) -> bool {
    let mut block = Some(inner);
    while let Some(b) = block {
        if b == outer {
            return true;
        }
        block = program.blocks[b].parent.and_then(|op| homes.get(&op).copied());
    }
    false
}

/// What makes two operations give the same; `None` when nothing does.
fn key(program: &Program, id: OpId, forwarding: &Forwarding) -> Option<String> {
    let op = &program.ops[id];
    let special = op.op_type == "const"
        || op.op_type == "read_state"
        || op.op_type.starts_with("random_")
        || !op.blocks.is_empty()
        || op.outputs.len() != 1;
    let mut values = op.operands().chain(op.outputs.iter().copied());
    let tensors = |v: ValueId| program.values[v].ty.as_tensor().is_some();
    if special || has_effect(program, id) || !values.all(tensors) {
        return None;
    }
    let mut key = format!("{} -> {}", op.op_type, program.values[op.outputs[0]].ty);
    // The order of parameters means nothing.
    let mut inputs: Vec<_> = op.inputs.iter().collect();
    inputs.sort_by_key(|(name, _)| name);
    for (name, args) in inputs {
        write!(key, "\n{name}:").ok()?;
        for arg in args {
            match (program.const_arg(arg), arg) {
                (Some(c), _) => constant(&mut key, c)?,
                (None, Arg::Value(v)) => write!(key, " %{:?}", forwarding.resolve(*v)).ok()?,
                (None, Arg::Const(_)) => return None,
            }
        }
    }
    for (name, value) in op.attributes.iter().filter(|(name, _)| name != "name") {
        write!(key, "\n@{name}:").ok()?;
        constant(&mut key, value)?;
    }
    Some(key)
}

fn constant(key: &mut String, constant: &Constant) -> Option<()> {
    if let ConstData::New(bytes) = &constant.data
        && bytes.len() > MAX_KEY
    {
        return None;
    }
    let before = key.len();
    // Debug text tells -0 from 0, and gives back every other number.
    write!(key, " {} {:?}", constant.ty, constant.data).ok()?;
    (key.len() - before <= 8 * MAX_KEY).then_some(())
}
