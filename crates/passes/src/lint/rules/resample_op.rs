//! Sampling by a grid.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;
use crate::lint::target::Family;

pub(super) static RULE: Rule = Rule {
    name: "resample-op",
    ids: &["OP11"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "`resample` (grid sampling) leaves the Neural Engine on most systems.",
    details: "\
Counts `resample`. On an M2 with macOS 15 it ran on the CPU. For M4 and M5 it is a note.

Interpolate with constant gathers or matrix products where the grid is fixed.",
    sources: &[
        "apple/coremltools#1875",
        "apple/coremltools#2299",
        "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/coreml_dispatch.md",
    ],
    disputed: Some("on an M4 with macOS 27 it runs on the Neural Engine."),
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let severity = match scope.target.family() >= Family::H16 {
        true => Severity::Note,
        false => Severity::Warning,
    };
    let found = Found::each(scope.at_all(scope.of_type(&["resample"])), |n| {
        format!("{n} x `resample` ran on the CPU up to macOS 15")
    });
    found.map(|f| f.severity(severity)).into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(op: &str) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 3, 8, 8]);
        let y = s.typed_op(op, &[("x", x)], &[(Float16, &[1, 3, 16, 16])]);
        s.output(y[0]);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program("resample")
    }

    pub(crate) fn near_miss() -> Sketch {
        program("upsample_bilinear")
    }
}
