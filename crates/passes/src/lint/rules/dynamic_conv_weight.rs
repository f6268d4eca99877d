//! Convolutions with computed weights.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "dynamic-conv-weight",
    ids: &["OP21"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Reported,
    summary: "A convolution takes computed weights and a batch above 1.",
    details: "\
`conv` whose weights are no constant, over a batch of more than 1 (private interface, M1 to M5).

Use `matmul`.",
    sources: &["sbryngelson/ANEForge docs/developer/op-quirks.md"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let found = scope.of_type(&["conv"]).filter_map(|id| {
        let batch = batch(scope, id).filter(|&n| n > 1 && !scope.has_static(id, "weight"))?;
        let message = format!("computed weights and a batch of {batch}, over 1");
        let found = Found::at(scope.at(id), message).number(batch).limit(1u64);
        Some(found.help("use matmul"))
    });
    found.collect()
}

fn batch(scope: &Scope<'_>, id: OpId) -> Option<u64> {
    scope.param(id, "x")?.shape.first()?.known()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(batch: u64) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[batch, 4, 64]);
        let weight = s.input("w", Float16, &[4, 4, 3]);
        let y = s.conv(x, weight, &[1]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(2)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(1)
    }
}
