//! Shapes that are computed.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "dynamic-reshape",
    ids: &["OP39"],
    severity: Severity::Note,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Reported,
    summary: "A `reshape`, `tile` or `fill` takes a shape that is computed.",
    details: "\
Counts `reshape`, `tile` and `fill` whose shape or repetitions are known only when \
the program runs. Chains of them around attention left the Neural Engine (M3 Pro).

Fix the shapes, and fold them to four axes.",
    sources: &["roboflow/rf-detr#1495", "apple/ml-ane-transformers README.md"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let dynamic = |&id: &OpId| {
        let params = ["shape", "reps"];
        params.iter().any(|p| !scope.has_static(id, p))
    };
    let ops = scope.of_type(&["fill", "reshape", "tile"]).filter(dynamic);
    let found = Found::each(scope.at_all(ops), |n| {
        format!("{} with a shape that is known only when the program runs", counted(n, "operation"))
    });
    found.map(|f| f.help("fix the shapes")).into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::{Float16, Int32};

    use crate::lint::testing::Sketch;

    fn program(dynamic: bool) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 64]);
        let shape = if dynamic { s.input("shape", Int32, &[2]) } else { s.ints(&[8, 8]) };
        let y = s.typed_op("reshape", &[("x", x), ("shape", shape)], &[(Float16, &[8, 8])]);
        s.output(y[0]);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(true)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(false)
    }
}
