//! Which operations fp16 breaks, from what a preflight measured.
//!
//! Rounding is no break: it is what fp16 costs everywhere. Neither are values
//! that become 0 where a small number is as good as none, as behind a softmax.
//! What breaks is what turns into something else: an overflow, and a value that
//! vanishes and is then divided by, or of which a logarithm or a reciprocal root
//! is taken.

use std::collections::{BTreeMap, HashMap, HashSet};

use milwright_ir::{Arg, BlobSource, Function, OpId, OpView, Program, ValueDef, ValueId};
use milwright_passes::Fragile;

use super::report::{ConstantReport, OpReport, Preflight};

/// An operation that gives wrong results in fp16.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    /// The operation.
    pub op: OpId,
    /// What happens, in a sentence without the operation.
    pub why: String,
    /// Values that must not be rounded to fp16 for the operation to be right:
    /// its own results, or what vanishes, and all between that and the operation.
    pub values: Vec<ValueId>,
}

/// What the pass `fp16` is to leave in single precision.
pub fn fragile(breaks: &[Break]) -> Fragile {
    let reason = |b: &Break| (b.op, b.why.clone());
    Fragile {
        ops: breaks.iter().map(reason).collect(),
        values: breaks
            .iter()
            .flat_map(|b| b.values.iter().copied())
            .collect(),
    }
}

/// A result that loses more than this by itself, relative, is broken.
const MOST_LOSS: f64 = 1.0 / 16.0;

/// The operations of a function that fp16 breaks, in program order, each with
/// its first reason.
pub fn breaks(
    program: &Program,
    function: &Function,
    blobs: &dyn BlobSource,
    report: &Preflight,
) -> Vec<Break> {
    let rows: HashMap<ValueId, &OpReport> = report
        .ops
        .iter()
        .filter_map(|row| Some((row.value?, row)))
        .collect();
    let mut found: BTreeMap<OpId, (String, Vec<ValueId>)> = BTreeMap::new();
    for constant in report.constants.iter().filter(|c| c.overflow > 0) {
        for (op, _) in &constant.readers {
            let why = format!(
                "it reads the constant `{}`, which is beyond 65504 and becomes infinite in fp16",
                constant.name
            );
            found.entry(*op).or_insert((why, Vec::new()));
        }
    }
    // Constants of which nothing is left, by the addition that they are for.
    let vanished = report.constants.iter().filter(|c| c.to_zero == c.elements);
    let lost: HashMap<OpId, &ConstantReport> = vanished
        .flat_map(|c| c.readers.iter().map(move |(op, _)| (*op, c)))
        .filter(|(op, _)| ["add", "maximum"].contains(&program.ops[*op].op_type.as_str()))
        .collect();
    let ops = function.body().map(|b| program.walk(b)).unwrap_or_default();
    for &op in &ops {
        let mut results = program.ops[op].outputs.iter();
        if let Some((why, row)) = results.find_map(|v| Some((own(rows.get(v)?)?, rows.get(v)?))) {
            let entry = found.entry(op).or_insert((why, Vec::new()));
            entry.1.extend(&program.ops[op].outputs);
            if row.overflow + row.nonfinite == 0 {
                // What is wrong although it fits is so by what it is made from.
                let read = program.ops[op].operands();
                entry
                    .1
                    .extend(read.filter(|&v| program.const_of(v).is_none()));
            }
        }
        let Some(divisor) = divisor(program, op, blobs) else {
            continue;
        };
        if let Some((what, values)) = vanishing(program, divisor, &rows, &lost) {
            let divisor = &program.values[divisor].name;
            let does = match program.ops[op].op_type.as_str() {
                "log" => format!("it takes the logarithm of `{divisor}`"),
                "rsqrt" => format!("it divides by the root of `{divisor}`"),
                _ => format!("it divides by `{divisor}`"),
            };
            let why = format!("{does}, and {what}");
            let entry = found.entry(op).or_insert((why, Vec::new()));
            entry.1.extend(values);
        }
    }
    let place: HashMap<OpId, usize> = ops.iter().enumerate().map(|(i, &op)| (op, i)).collect();
    let mut found: Vec<Break> = found
        .into_iter()
        .map(|(op, (why, values))| Break { op, why, values })
        .collect();
    found.sort_by_key(|b| place.get(&b.op).copied());
    found
}

/// What the operation itself does to its result.
fn own(row: &OpReport) -> Option<String> {
    if let Some(failure) = &row.failure {
        return Some(format!("it fails in fp16: {failure}"));
    }
    if row.overflow > 0 {
        let largest = row.max.unwrap_or(0.0).max(-row.min.unwrap_or(0.0));
        return Some(format!(
            "{} of {} values of `{}` overflow in fp16 (up to {largest}, and 65504 is the largest)",
            row.overflow, row.elements, row.output
        ));
    }
    if row.nonfinite > 0 {
        return Some(format!(
            "{} of {} values of `{}` become NaN or infinite in fp16",
            row.nonfinite, row.elements, row.output
        ));
    }
    let lost = row.added.as_ref()?.relative?;
    (lost > MOST_LOSS)
        .then(|| format!("`{}` is wrong by {:.0} % in fp16", row.output, lost * 100.0))
}

/// The operand near whose zero the operation is steep.
fn divisor(program: &Program, op: OpId, blobs: &dyn BlobSource) -> Option<ValueId> {
    let o = &program.ops[op];
    let operand = |param: &str| match o.args(param) {
        [Arg::Value(value)] => Some(*value),
        _ => None,
    };
    match o.op_type.as_str() {
        "real_div" | "floor_div" | "mod" => operand("y"),
        "log" | "rsqrt" | "inverse" => operand("x"),
        "pow" => {
            let exponent = OpView::new(program, op, blobs).float("y").ok()?.known()?;
            operand("x").filter(|_| exponent < 0.0)
        }
        _ => None,
    }
}

/// What vanishes behind a value: itself, or what it is a root, a power, a
/// rearrangement or, but for a constant, a sum of; or that constant. With it,
/// the values between.
fn vanishing(
    program: &Program,
    value: ValueId,
    rows: &HashMap<ValueId, &OpReport>,
    lost: &HashMap<OpId, &ConstantReport>,
) -> Option<(String, Vec<ValueId>)> {
    let mut seen = HashSet::new();
    let mut passed = Vec::new();
    let mut next = vec![value];
    while let Some(value) = next.pop() {
        if !seen.insert(value) {
            continue;
        }
        let Some(row) = rows.get(&value) else {
            continue;
        };
        passed.push(value);
        if row.to_zero > 0 {
            let what = format!(
                "{} of {} values of `{}` become 0 in fp16 (the smallest is {:.1e})",
                row.to_zero,
                row.elements,
                row.output,
                row.smallest.unwrap_or_default(),
            );
            return Some((what, passed));
        }
        let ValueDef::Op(op, _) = program.values[value].def else {
            continue;
        };
        if let Some(constant) = lost.get(&op) {
            let what = format!(
                "the constant `{}` ({:.1e}), which keeps it from 0, becomes 0 in fp16",
                constant.name,
                constant.max.unwrap_or_default()
            );
            return Some((what, passed));
        }
        let op = &program.ops[op];
        let computed = |param: &str| match op.args(param) {
            [Arg::Value(v)] if program.const_of(*v).is_none() => Some(*v),
            _ => None,
        };
        match op.op_type.as_str() {
            "add" | "maximum" => {
                // An epsilon is added.
                if let (Some(one), None) | (None, Some(one)) = (computed("x"), computed("y")) {
                    next.push(one);
                }
            }
            "sqrt" | "square" | "pow" | "abs" | "cast" | "identity" | "reshape" | "transpose"
            | "expand_dims" | "squeeze" | "slice_by_index" | "slice_by_size" | "clip" | "tile" => {
                next.extend(computed("x"));
            }
            _ => {}
        }
    }
    None
}
