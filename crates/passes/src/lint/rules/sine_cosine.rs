//! Sines on older chips.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;
use crate::lint::target::Family;

pub(super) static RULE: Rule = Rule {
    name: "sine-cosine",
    ids: &["OP09"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Reported,
    summary: "`sin` and `cos` do not run on the Neural Engine of A14, A15, M1 and M2.",
    details: "\
Counts `sin` and `cos` that run, for those chips and unknown devices (private interface). On M4 \
they run on the Neural Engine.

Compute tables of rotary positions before, and give them as constants or inputs.",
    sources: &[
        "sbryngelson/ANEForge docs/op-catalog.md",
        "sbryngelson/ANEForge docs/cross-chip.md",
    ],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    if scope.target.family() > Family::H14 {
        return Vec::new();
    }
    let found = Found::each(scope.at_all(scope.of_type(&["cos", "sin"])), |n| {
        format!("{} that the Neural Engine of A14, A15, M1 and M2 lacks", counted(n, "sine or cosine operation"))
    });
    found
        .map(|f| f.help("compute the tables before, and give them as constants or inputs"))
        .into_iter()
        .collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(target: &str) -> Sketch {
        let mut s = Sketch::for_target(target);
        let x = s.input("x", Float16, &[1, 64]);
        let y = s.op("sin", &[("x", x)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program("m2")
    }

    pub(crate) fn near_miss() -> Sketch {
        program("m3")
    }
}
