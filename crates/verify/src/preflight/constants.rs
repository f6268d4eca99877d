//! Constants that fp16 cannot hold.

use std::collections::HashMap;

use milwright_interp::{Precision, Tensor, Value};
use milwright_ir::{Arg, BlobSource, Constant, OpId, Program, ValueId};

use super::measure::{Elements, Span};
use super::report::ConstantReport;
use crate::error::Error;
use crate::stage::Stage;

/// Names at most so many users of a constant.
const USERS: usize = 4;

/// Who reads a constant.
#[derive(Clone, Default)]
struct Users {
    /// Operations and parameters, the first of them.
    shown: Vec<String>,
    /// All operations and parameters.
    ops: Vec<(OpId, String)>,
}

/// Looks at every float constant of the function that `precision` rounds to
/// fp16: those with an element that becomes infinite or 0, worst first, and how
/// many there are in all.
pub(super) fn check(
    stage: &mut Stage<'_>,
    precision: Precision,
) -> Result<(Vec<ConstantReport>, usize), Error> {
    let subject = stage.subject();
    let program = subject.program;
    let ops: Vec<OpId> = stage
        .function()
        .body()
        .map(|b| program.walk(b))
        .unwrap_or_default();
    let users = users(program, &ops);
    let mut found = Vec::new();
    let mut checked = 0;
    let mut look = |name: String, users: Users, values: &Elements| {
        let mut span = Span::default();
        span.add_all(values, true);
        checked += 1;
        if span.overflow + span.to_zero > 0 {
            found.push(ConstantReport {
                name,
                used_by: users.shown,
                readers: users.ops,
                elements: span.elements,
                min: span.min,
                max: span.max,
                overflow: span.overflow,
                to_zero: span.to_zero,
            });
        }
    };
    stage.visit_constants(&mut |op, values| {
        for (&id, value) in program.ops[op].outputs.iter().zip(values) {
            let Value::Tensor(t) = value else { continue };
            let Some(users) = users.get(&id).filter(|_| is_rounded(precision, t.dtype)) else {
                continue;
            };
            if let Some(values) = Elements::of(t) {
                look(program.values[id].name.clone(), users.clone(), &values);
            }
        }
    })?;
    for &op in &ops {
        for (param, constant) in written_in_place(program, op) {
            let rounded = constant
                .tensor_type()
                .is_some_and(|t| is_rounded(precision, t.dtype));
            if rounded && let Some(values) = read(constant, subject.blobs) {
                let user = format!("{} ({param})", program.describe_op(op));
                let users = Users {
                    shown: vec![user.clone()],
                    ops: vec![(op, param.to_owned())],
                };
                look(user, users, &values);
            }
        }
    }
    // Stable: among equals, program order.
    let share = |c: &ConstantReport| c.to_zero as f64 / c.elements.max(1) as f64;
    found.sort_by(|a, b| {
        let overflow = (b.overflow > 0).cmp(&(a.overflow > 0));
        overflow.then(share(b).total_cmp(&share(a)))
    });
    Ok((found, checked))
}

fn is_rounded(precision: Precision, dtype: milwright_ir::DataType) -> bool {
    precision.rounding(dtype) == Some(candle_core::DType::F16)
}

/// Operations and parameters that read each value. What only a decompression
/// reads is not looked at: its result is.
fn users(program: &Program, ops: &[OpId]) -> HashMap<ValueId, Users> {
    let mut users: HashMap<ValueId, Users> = HashMap::new();
    for &id in ops {
        let op = &program.ops[id];
        if op.op_type.starts_with("constexpr_") {
            continue;
        }
        for (param, args) in &op.inputs {
            for arg in args {
                let Arg::Value(value) = arg else { continue };
                let of = users.entry(*value).or_default();
                of.ops.push((id, param.clone()));
                if of.shown.len() < USERS {
                    of.shown
                        .push(format!("{} ({param})", program.describe_op(id)));
                }
            }
        }
    }
    users
}

/// The constants that an operation holds as arguments or attributes.
fn written_in_place(program: &Program, id: OpId) -> Vec<(&str, &Constant)> {
    let op = &program.ops[id];
    if op.op_type == "const" || op.op_type.starts_with("constexpr_") {
        return Vec::new();
    }
    let args = op.inputs.iter().flat_map(|(param, args)| {
        args.iter().filter_map(move |arg| match arg {
            Arg::Const(constant) => Some((param.as_str(), constant)),
            Arg::Value(_) => None,
        })
    });
    let attributes = op.attributes.iter().map(|(key, c)| (key.as_str(), c));
    args.chain(attributes).collect()
}

fn read(constant: &Constant, blobs: &dyn BlobSource) -> Option<Elements> {
    let values = constant.to_f64s(blobs).ok()?;
    let data = candle_core::Tensor::new(values, &candle_core::Device::Cpu).ok()?;
    let dtype = constant.tensor_type()?.dtype;
    Elements::of(&Tensor { dtype, data })
}
