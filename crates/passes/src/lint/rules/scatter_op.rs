//! Scatters.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "scatter-op",
    ids: &["OP06"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Documented,
    summary: "`scatter`, `scatter_nd` and `scatter_along_axis` leave the Neural Engine.",
    details: "\
Counts scatters that run. coremltools' own source says that they fall off the Neural Engine, and a \
key-value cache that was written by scatter was refused in any precision.

Write with `slice_update` or `concat`, or blend by a one-hot mask: `x * (1 - m) + v * m`.",
    sources: &[
        "apple/coremltools coremltools/converters/mil/frontend/torch/ops.py",
        "FluidInference/mobius#67",
        "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/coreml_dispatch.md",
    ],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let ops = scope.of_type(&["scatter", "scatter_along_axis", "scatter_nd"]);
    let found = Found::each(scope.at_all(ops), |n| {
        format!("{}, which the Neural Engine does not run", counted(n, "scatter"))
    });
    found
        .map(|f| f.help("use slice_update, concat, or a blend by a one-hot mask"))
        .into_iter()
        .collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(op: &str) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[16, 8]);
        let y = s.typed_op(op, &[("data", x)], &[(Float16, &[16, 8])]);
        s.output(y[0]);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program("scatter_nd")
    }

    pub(crate) fn near_miss() -> Sketch {
        program("slice_update")
    }
}
