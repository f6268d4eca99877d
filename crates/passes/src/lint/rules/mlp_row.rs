//! Pointwise convolutions on one row.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "mlp-row",
    ids: &["SHP20"],
    severity: Severity::Note,
    effect: Effect::Slow,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "Pointwise convolutions over one row of 64 are faster over 8 x 8.",
    details: "\
Counts `conv` of kernel 1 x 1 over `[B, C, 1, 64]`. Reshaped to `[B, C, 8, 8]` they were up to \
50 % faster on M1 to M3. Other lengths were not measured.",
    sources: &["smpanaro/coreml-llm-cli README.md"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let row = |&id: &OpId| {
        let back = |param, n| scope.size_from_back(id, param, n);
        let point = back("weight", 0) == Some(1) && back("weight", 1) == Some(1);
        let rank = scope.param(id, "x").map_or(0, |t| t.shape.len());
        point && rank == 4 && back("x", 0) == Some(64) && back("x", 1) == Some(1)
    };
    let found = Found::each(scope.at_all(scope.of_type(&["conv"]).filter(row)), |n| {
        format!("{} over one row of 64; 8 x 8 was faster", counted(n, "pointwise convolution"))
    });
    found.into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(x: &[u64]) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, x);
        let weight = s.weight(Float16, &[32, 16, 1, 1]);
        let y = s.conv(x, weight, &[1, 1]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(&[1, 16, 1, 64])
    }

    pub(crate) fn near_miss() -> Sketch {
        program(&[1, 16, 8, 8])
    }
}
