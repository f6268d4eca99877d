//! Takes out casts that change nothing.

use milwright_ir::{Arg, DataType, OpId, Program, ValueId};

use crate::error::Error;
use crate::forward::Forwarding;
use crate::pass::{Exactness, Options, Pass};
use crate::report::PassReport;
use crate::rewriter::Rewriter;

pub(super) static PASS: Pass = Pass {
    name: "remove-redundant-casts",
    summary: "Removes casts that change no value.",
    details: "\
A `cast` to the type that a value has goes. Of two casts in a row the first is skipped when it loses nothing, such as \
fp16 to fp32 and back, and when that leaves a cast to the own type, both go.

A way through a narrower type stays, because it rounds: fp32 to fp16 and back is not what it was. So does one through \
another kind that ends in a narrower type: an integer that is cast to a float and then to a smaller integer stops at the \
end of its range, and wraps without the float.",
    options: &[],
    exactness: Exactness::Exact,
    run,
};

fn run(rewriter: &mut Rewriter<'_>, _: &Options) -> Result<PassReport, Error> {
    let mut report = PassReport::default();
    let mut forwarding = Forwarding::default();
    let mut read = Vec::new();
    for site in rewriter.sites() {
        if rewriter.is_out_of_fuel() {
            break;
        }
        let program = rewriter.program();
        let Some((to, x)) = cast(program, site.op) else {
            continue;
        };
        let operands: Vec<ValueId> = program.ops[site.op].operands().collect();
        let x = forwarding.resolve(x);
        // Behind how many casts that lose nothing the value is.
        let mut source = x;
        while let Some(through) = dtype(program, source)
            && let Some((_, before)) = program.def_op(source).and_then(|op| cast(program, op))
            && let Some(from) = dtype(program, forwarding.resolve(before))
            && may_skip(from, through, to)
        {
            source = forwarding.resolve(before);
        }
        if dtype(program, source) == Some(to)
            && forwarding.forward(rewriter, site, source, "removed: it changes no value")?
        {
            *report.done.entry("cast removed".into()).or_default() += 1;
            read.extend(operands);
            continue;
        }
        let program = rewriter.program();
        if source != x && dtype(program, source) != Some(to) {
            let from = &program.values[source].name;
            if !rewriter.log(site, format!("reads `{from}`, which was cast without loss")) {
                break;
            }
            let op = rewriter.program_mut().op_mut(site.op)?;
            for (param, args) in &mut op.inputs {
                if param == "x" {
                    *args = vec![Arg::Value(source)];
                }
            }
            *report.done.entry("cast skipped".into()).or_default() += 1;
            read.extend(operands);
        }
    }
    forwarding.apply(rewriter)?;
    // Casts that were skipped, and what they read.
    let casts: Vec<OpId> = read.iter().filter_map(|&v| rewriter.program().def_op(v)).collect();
    report.removed = rewriter.remove_orphans(&read, |program, op| {
        program.ops[op].op_type == "cast" && casts.contains(&op)
    })?;
    Ok(report)
}

/// The type that a cast gives, and what it takes.
fn cast(program: &Program, op: OpId) -> Option<(DataType, ValueId)> {
    let op = &program.ops[op];
    match (op.op_type.as_str(), op.args("x")) {
        ("cast", [Arg::Value(x)]) => Some((dtype(program, *op.outputs.first()?)?, *x)),
        _ => None,
    }
}

fn dtype(program: &Program, value: ValueId) -> Option<DataType> {
    program.values[value].ty.as_tensor().map(|t| t.dtype)
}

/// Whether a cast from one type through another gives what the direct one does.
fn may_skip(from: DataType, through: DataType, to: DataType) -> bool {
    let kind = |d: DataType| (d.is_float(), d.is_int());
    holds(through, from)
        && (to == from || kind(from) == kind(through) && from != DataType::Bool || holds(to, from))
}

/// Whether the first type has every value of the second.
fn holds(wide: DataType, narrow: DataType) -> bool {
    use DataType as D;
    if wide == narrow {
        return true;
    }
    // Largest magnitude as a power of two, whether negative, digits.
    let int = |d: DataType| -> Option<(u64, bool)> {
        Some(match d {
            D::Bool => (1, false),
            D::Int8 => (7, true),
            D::Int16 => (15, true),
            D::Int32 => (31, true),
            D::Int64 => (63, true),
            D::UInt8 => (8, false),
            D::UInt16 => (16, false),
            D::UInt32 => (32, false),
            D::UInt64 => (64, false),
            _ => return None,
        })
    };
    let digits = |d: DataType| match d {
        D::Float16 => Some(11),
        D::Float32 => Some(24),
        D::Float64 => Some(53),
        _ => None,
    };
    match (int(wide), int(narrow)) {
        (Some(_), Some(_)) if wide == D::Bool => false,
        (Some((w, signed)), Some((n, negative))) => w >= n && (signed || !negative),
        (None, Some((n, _))) => digits(wide).is_some_and(|d| d >= n),
        (None, None) => match (wide, narrow) {
            (D::Float32 | D::Float64, D::BFloat16) => true,
            _ => digits(wide).zip(digits(narrow)).is_some_and(|(w, n)| w >= n),
        },
        (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DataType::*;

    #[test]
    fn only_what_loses_nothing_is_skipped() {
        assert!(may_skip(Float16, Float32, Float16));
        assert!(!may_skip(Float32, Float16, Float32));
        assert!(may_skip(Float16, Float32, Int8));
        assert!(may_skip(Int8, Int32, UInt8));
        assert!(may_skip(Int8, Float16, Int32));
        // -1 stops at 0 behind a float, and wraps to 255 without one.
        assert!(!may_skip(Int8, Float16, UInt8));
        assert!(!may_skip(Int32, Float32, Int32));
        assert!(!may_skip(Int32, Bool, Int32));
        assert!(may_skip(Bool, Int32, Bool) && may_skip(Bool, Float16, Float32));
        assert!(!may_skip(Float32, Int32, Float32));
        assert!(!holds(Float16, Int16) && holds(Float32, UInt16) && !holds(UInt8, Int8));
    }
}
