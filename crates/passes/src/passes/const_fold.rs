//! Computes what can be computed before the program runs.

use milwright_ir::{Arg, ConstData, Constant, DataType, OpId, OpView, Program, TensorType};

use crate::error::Error;
use crate::forward::mixed_operands;
use crate::evaluate::Evaluated;
use crate::pass::{Exactness, OptionDef, Options, Pass, Takes};
use crate::report::PassReport;
use crate::rewriter::{Rewriter, has_effect, is_constant};

pub(super) static PASS: Pass = Pass {
    name: "const-fold",
    summary: "Computes operations over constants, and the shapes of fixed sizes.",
    details: "\
An operation all of whose operands are constants is executed, by the interpreter that `run` and `verify` use, and a \
constant takes its place; what reads it may then be one, too. `shape` of a tensor of fixed sizes is a constant as well.

What stays: results larger than `limit`, random numbers, operations with several results, with nested blocks or with an \
effect, compressed weights (`decompress` takes those), and results that are outputs of the model. A result that is \
rounded to fp16 stays too, with the reason: devices differ in whether they round there, so a constant would be a decision.",
    options: &[OptionDef {
        name: "limit",
        summary: "The largest result, in bytes.",
        takes: Takes::Number {
            default: 1 << 20,
            least: 1,
        },
    }],
    exactness: Exactness::Exact,
    run,
};

/// Operands of an operation that is computed have at most so many bytes.
const MAX_OPERANDS: u64 = 1 << 28;

fn run(rewriter: &mut Rewriter<'_>, options: &Options) -> Result<PassReport, Error> {
    let limit = options.number("limit");
    let evaluator = rewriter.evaluator()?;
    let mut report = PassReport::default();
    let mut read = Vec::new();
    let mixed = mixed_operands(rewriter.program());
    for site in rewriter.sites() {
        if rewriter.is_out_of_fuel() {
            break;
        }
        let (program, blobs) = (rewriter.program(), rewriter.blobs());
        if program.ops[site.op].outputs.iter().any(|v| mixed.contains(v)) {
            continue;
        }
        let result = match fixed_shape(program, site.op, blobs) {
            Some(constant) => Evaluated {
                constant,
                is_exact: true,
            },
            None if !is_foldable(program, site.op, limit) => continue,
            None => match evaluator.evaluate(program, site.op, blobs) {
                Ok(mut results) => match results.pop() {
                    Some(result) => result,
                    None => continue,
                },
                Err(reason) => {
                    report.left.push(rewriter.left(site, reason));
                    continue;
                }
            },
        };
        if !result.is_exact {
            let reason = "its result is rounded to the narrow type that it has";
            report.left.push(rewriter.left(site, reason.to_owned()));
            continue;
        }
        let op = &program.ops[site.op];
        let (out, op_type) = (op.outputs[0], op.op_type.clone());
        read.extend(op.operands());
        let ty = result.constant.ty.clone();
        let mut replacement = rewriter.replace(site);
        let value = replacement.constant("value", result.constant)?;
        if replacement.finish(value, "computed".to_owned())?.is_none() {
            break;
        }
        // Now every size is known.
        rewriter.program_mut().values[out].ty = ty;
        *report.done.entry(op_type).or_default() += 1;
    }
    report.removed = rewriter.remove_orphaned_constants(&read)?;
    Ok(report)
}

fn is_result(program: &Program, op: OpId) -> bool {
    let outputs = &program.ops[op].outputs;
    let bodies = program.functions.iter().flat_map(|f| &f.specializations);
    let mut results = bodies.flat_map(|&(_, b)| &program.blocks[b].outputs);
    results.any(|v| outputs.contains(v))
}

/// Whether an operation can be computed now.
fn is_foldable(program: &Program, id: OpId, limit: u64) -> bool {
    let op = &program.ops[id];
    let special = is_constant(&op.op_type)
        || op.op_type.starts_with("random_")
        || !op.blocks.is_empty()
        || op.outputs.len() != 1
        || op.inputs.is_empty();
    if special || has_effect(program, id) {
        return false;
    }
    let args = || op.inputs.iter().flat_map(|(_, args)| args);
    if !args().all(|arg| program.const_arg(arg).is_some()) {
        return false;
    }
    let bytes = |ty: &TensorType| ty.dtype.byte_len(ty.elements()?);
    let operands = args().filter_map(|arg| program.arg_type(arg).as_tensor());
    let operands = operands.map(|ty| bytes(ty).unwrap_or(0));
    let result = program.values[op.outputs[0]].ty.as_tensor();
    // A size that only the operands know is at least theirs to bound.
    let result = result.filter(|ty| ty.dtype != DataType::String).map(|ty| bytes(ty).unwrap_or(0));
    result.is_some_and(|n| n <= limit)
        && operands.fold(0, u64::saturating_add) <= MAX_OPERANDS
        && !is_result(program, id)
}

/// The shape of a tensor whose sizes are all fixed.
fn fixed_shape(
    program: &Program,
    id: OpId,
    blobs: &dyn milwright_ir::BlobSource,
) -> Option<Constant> {
    let view = OpView::new(program, id, blobs);
    if view.op.op_type != "shape" || is_result(program, id) {
        return None;
    }
    let Arg::Value(_) = view.arg("x")? else {
        return None;
    };
    let sizes = view.tensor("x").ok()?.known_shape()?;
    let ty = view.value_type(*view.op.outputs.first()?).as_tensor()?;
    let sizes: Vec<i32> = sizes.iter().map(|&d| i32::try_from(d)).collect::<Result<_, _>>().ok()?;
    let ty = TensorType::fixed(ty.dtype, &[sizes.len() as u64]);
    (ty.dtype == DataType::Int32).then(|| {
        let bytes: Vec<u8> = sizes.iter().flat_map(|d| d.to_le_bytes()).collect();
        Constant::new(ty, ConstData::New(bytes.into()))
    })
}
