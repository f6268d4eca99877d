//! Numbers that may be sizes.

use std::collections::BTreeSet;

use milwright_ir::{BlobSource, Model, Program, Sizes, ValueId};

use super::Fixed;

/// Sizes below this are too common as numbers.
const LEAST: u64 = 8;

/// Operations that compute with numbers, and where a number may be a size.
const ARITHMETIC: [&str; 18] = [
    "add",
    "sub",
    "mul",
    "real_div",
    "floor_div",
    "mod",
    "minimum",
    "maximum",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
    "equal",
    "not_equal",
    "clip",
    "range_1d",
    "fill",
    "one_hot",
];

/// Single numbers among the operands of a function's operations that are a size
/// that changed, or one part of it.
pub(super) fn numbers(
    model: &Model,
    program: &Program,
    function: usize,
    behind: &BTreeSet<ValueId>,
    old: &Sizes,
    new: &Sizes,
) -> Vec<Fixed> {
    let mut sizes: BTreeSet<u64> = BTreeSet::new();
    for &value in behind {
        let (Some(old), Some(new)) = (old.tensor(value), new.tensor(value)) else {
            continue;
        };
        let pairs = old.shape.iter().zip(&new.shape);
        let changed = pairs.filter(|(a, b)| a != b).filter_map(|(a, _)| a.known());
        sizes.extend(changed.filter(|&n| n >= LEAST));
    }
    let function = &program.functions[function];
    let mut found = Vec::new();
    for op in function.body().map_or_else(Vec::new, |b| program.walk(b)) {
        let own = &program.ops[op];
        if !ARITHMETIC.contains(&own.op_type.as_str()) {
            continue;
        }
        let single = own
            .inputs
            .iter()
            .filter_map(|(param, args)| match &args[..] {
                [arg] => Some((param, program.const_arg(arg)?)),
                _ => None,
            });
        for (param, constant) in single {
            let blobs: &dyn BlobSource = model;
            let one = constant.tensor_type().and_then(|t| t.elements()) == Some(1);
            let Some(&number) = one
                .then(|| constant.to_f64s(blobs).ok())
                .flatten()
                .as_deref()
                .and_then(<[f64]>::first)
            else {
                continue;
            };
            let is = |n: f64| (number - n).abs() < 1e-9 || (number * n - 1.0).abs() < 1e-3;
            let Some(size) = sizes.iter().find(|&&n| is(n as f64)) else {
                continue;
            };
            let output = own.outputs.first();
            found.push(Fixed {
                function: function.name.clone(),
                output: output.map_or_else(String::new, |&v| program.values[v].name.clone()),
                op_type: own.op_type.clone(),
                contains: format!("{param} = {number}"),
                why: match number > 1.0 {
                    true => format!("a size that changed was {size}"),
                    false => format!("a size that changed was {size}, of which this is one part"),
                },
                follow: None,
                contradicts: false,
            });
        }
    }
    found
}
