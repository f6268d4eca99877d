//! Readers of an operation read its operand instead.

use milwright_ir::{Arg, Model, Program, ValueId};

use super::candidate::Base;
use super::{Candidate, Work};
use crate::cut;

/// Leaves out single operations whose result has the type of an operand.
pub(super) fn bypass<E: From<cut::Error>>(work: &mut Work<'_, '_, E>) -> Result<bool, E> {
    let mut smaller = false;
    let mut at = 0;
    loop {
        let (model, function) = work.now();
        let base = Base::new(model, function)?;
        let ways = ways(&base);
        let Some(&(from, to)) = ways.get(at) else {
            return Ok(smaller);
        };
        let candidate = around(model, function, &base, from, to);
        if work.try_one(candidate)? {
            smaller = true;
        } else {
            at += 1;
        }
        if work.stopped {
            return Ok(smaller);
        }
    }
}

/// Results, and what may be read in their place.
fn ways(base: &Base<'_>) -> Vec<(ValueId, ValueId)> {
    let graph = &base.graph;
    let program = graph.program;
    let outputs = &program.blocks[graph.body].outputs;
    let mut ways = Vec::new();
    for (node, &op) in graph.nodes.iter().enumerate() {
        let results = program.ops[op].outputs.iter();
        for &result in results.filter(|v| !outputs.contains(v)) {
            for &operand in graph.reads(node) {
                let computed = !graph.is_fixed_value(operand);
                let same = program.values[operand].ty == program.values[result].ty;
                if computed && same && !ways.contains(&(result, operand)) {
                    ways.push((result, operand));
                }
            }
        }
    }
    ways
}

fn around(
    model: &Model,
    function: &str,
    base: &Base<'_>,
    from: ValueId,
    to: ValueId,
) -> Option<Candidate> {
    let program = replace_uses(base.graph.program, from, to)?;
    let base = Base::with(model, &program, function).ok()?;
    let needed = base.needed_for(&base.outputs());
    let count = base.graph.nodes.len();
    base.candidate(&needed, None, count.saturating_sub(1), || {
        let name = |v: ValueId| &program.values[v].name;
        format!("`{}` in the place of `{}`", name(to), name(from))
    })
}

/// The program with `to` wherever `from` was read; `None` when nothing read it,
/// or an operation cannot be changed.
fn replace_uses(program: &Program, from: ValueId, to: ValueId) -> Option<Program> {
    let mut program = program.clone();
    let mut changed = false;
    for op in program.live_ops() {
        if program.ops[op].operands().any(|v| v == from) {
            let inputs = &mut program.op_mut(op).ok()?.inputs;
            for arg in inputs.iter_mut().flat_map(|(_, args)| args) {
                if *arg == Arg::Value(from) {
                    *arg = Arg::Value(to);
                }
            }
            changed = true;
        }
    }
    for block in program.live_blocks() {
        if program.blocks[block].outputs.contains(&from) {
            for output in &mut program.block_mut(block).ok()?.outputs {
                if *output == from {
                    *output = to;
                }
            }
            changed = true;
        }
    }
    changed.then_some(program)
}
