//! Operations that the first generation lacks.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;
use crate::lint::target::Family;

pub(super) static RULE: Rule = Rule {
    name: "first-generation-op",
    ids: &["OP10"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Reported,
    summary: "Operations that do not run on the Neural Engine of A14 and M1.",
    details: "\
Counts `topk`, `argsort`, `affine`, `crop_resize`, `resample` and `resize_*` that run, for A14, M1 \
and unknown devices (private interface).

Resize by whole factors with `upsample_nearest_neighbor` and a convolution.",
    sources: &["sbryngelson/ANEForge docs/op-catalog.md"],
    disputed: None,
    check,
};

const MISSING: [&str; 8] = [
    "affine",
    "argsort",
    "crop_resize",
    "resample",
    "resize",
    "resize_bilinear",
    "resize_nearest_neighbor",
    "topk",
];

fn check(scope: &Scope<'_>) -> Vec<Found> {
    if scope.target.family() > Family::H13 {
        return Vec::new();
    }
    let found = Found::each(scope.at_all(scope.of_type(&MISSING)), |n| {
        format!("{} that the Neural Engine of A14 and M1 lacks", counted(n, "operation"))
    });
    found.into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(target: &str) -> Sketch {
        let mut s = Sketch::for_target(target);
        let x = s.input("x", Float16, &[1, 3, 8, 8]);
        let y = s.typed_op("resize_bilinear", &[("x", x)], &[(Float16, &[1, 3, 16, 16])]);
        s.output(y[0]);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program("a14")
    }

    pub(crate) fn near_miss() -> Sketch {
        program("a15")
    }
}
