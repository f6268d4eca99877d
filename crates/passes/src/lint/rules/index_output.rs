//! Indices that the program goes on to use.

use milwright_ir::{DataType, OpId, Severity, ValueId};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "index-output",
    ids: &["OP07"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "Indices of `topk`, `argsort` or `reduce_argmax` are used in the middle of the program.",
    details: "\
Counts `topk`, `argsort`, `reduce_argmax` and `reduce_argmin` whose int32 indices other operations \
read, casts and changes of layout before an output apart. Values of `topk` stay on the Neural \
Engine (M3 Pro, M4), indices do not.

Move them to the end of the model or to the host; local maxima can be found with `max_pool`.",
    sources: &[
        "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/coreml_dispatch.md",
        "roboflow/rf-detr#1495",
        "sbryngelson/ANEForge docs/op-catalog.md",
    ],
    disputed: None,
    check,
};

const LAYOUT: [&str; 5] = ["cast", "expand_dims", "identity", "reshape", "squeeze"];

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let used = |&id: &OpId| {
        let mut indices = scope.op(id).outputs.iter().filter(|&&v| {
            scope.tensor(v).is_some_and(|t| t.dtype == DataType::Int32)
        });
        indices.any(|&v| is_used(scope, v))
    };
    let ops = scope.of_type(&["argsort", "reduce_argmax", "reduce_argmin", "topk"]).filter(used);
    let found = Found::each(scope.at_all(ops), |n| {
        format!("{} whose indices are used in the middle of the program", counted(n, "operation"))
    });
    found
        .map(|f| f.help("move them to the end of the model, or to the host"))
        .into_iter()
        .collect()
}

/// Whether something computes with a value, other than changing its layout.
fn is_used(scope: &Scope<'_>, value: ValueId) -> bool {
    let mut values = vec![value];
    while let Some(value) = values.pop() {
        for &reader in scope.readers(value) {
            if !scope.is_type(reader, &LAYOUT) {
                return true;
            }
            values.extend(&scope.op(reader).outputs);
        }
    }
    false
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(used: bool) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 64]);
        let (axis, keep) = (s.int(-1), s.bool(true));
        let mut y = s.op("reduce_argmax", &[("x", x), ("axis", axis), ("keep_dims", keep)]);
        y = s.cast(y, Float16);
        if used {
            y = s.add(y, x);
        }
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(true)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(false)
    }
}
