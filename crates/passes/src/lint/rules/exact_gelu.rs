//! Exact gelu.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "exact-gelu",
    ids: &["DT24"],
    severity: Severity::Note,
    effect: Effect::Numbers,
    units: &[Unit::Ane],
    confidence: Confidence::Reported,
    summary: "Exact `gelu` is computed as its tanh approximation.",
    details: "\
Counts `gelu` of mode `EXACT` in fp16. On the Neural Engine its numbers are those of \
`TANH_APPROXIMATION` (private interface): a difference of up to about 5e-4 to the CPU.

Nothing to do, unless the difference matters.",
    sources: &["sbryngelson/ANEForge docs/developer/numerics.md"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let exact = |&id: &OpId| {
        scope.is_half(id) && scope.text(id, "mode").is_some_and(|m| m == "EXACT")
    };
    let found = Found::each(scope.at_all(scope.of_type(&["gelu"]).filter(exact)), |n| {
        format!("{} computed as the tanh approximation", counted(n, "exact gelu"))
    });
    found.into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(mode: &str) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 64]);
        let mode = s.string(mode);
        let y = s.op("gelu", &[("x", x), ("mode", mode)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program("EXACT")
    }

    pub(crate) fn near_miss() -> Sketch {
        program("TANH_APPROXIMATION")
    }
}
