//! Other forms of padding.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "pad-form",
    ids: &["OP13", "OP14"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Folklore,
    summary: "`pad` with a value other than 0, along the batch, or by a negative amount.",
    details: "\
The compiler has messages that refuse each of these; for which chips, nobody knows. A batch axis \
is the first of four axes. Padding along channels is supported on M4.

Pad with 0 and shift: `pad(x - v) + v`; concatenate zeros along the batch.",
    sources: &[
        "sbryngelson/ANEForge docs/op-catalog.md",
        "pkhairkh/MILLer ane-constraints-docs",
    ],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let found = scope.of_type(&["pad"]).filter_map(|id| {
        let (what, severity) = unusual(scope, id)?;
        Some(Found::at(scope.at(id), what).severity(severity))
    });
    found.collect()
}

fn unusual(scope: &Scope<'_>, id: OpId) -> Option<(String, Severity)> {
    let amounts = scope.ints(id, "pad")?;
    let value = scope.float(id, "constant_val").unwrap_or(0.0);
    if value != 0.0 && scope.text(id, "mode").is_none_or(|m| m == "constant") {
        return Some((format!("`pad` with {value} instead of 0"), Severity::Warning));
    }
    if let Some(amount) = amounts.iter().find(|&&a| a < 0) {
        return Some((format!("`pad` by {amount}, a negative amount"), Severity::Note));
    }
    let rank = scope.param(id, "x")?.shape.len();
    // Amounts are for the last axes, before and after each.
    let batch = amounts.len() == 2 * rank && rank == 4;
    let batch = batch && amounts.iter().take(2).any(|&a| a != 0);
    batch.then(|| ("`pad` along the batch axis".to_owned(), Severity::Note))
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(value: f64, amounts: &[i32]) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 8, 8, 64]);
        let (pad, mode) = (s.ints(amounts), s.string("constant"));
        let value = s.float(Float16, value);
        let y = s.op(
            "pad",
            &[("x", x), ("pad", pad), ("mode", mode), ("constant_val", value)],
        );
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(1.0, &[1, 1])
    }

    pub(crate) fn near_miss() -> Sketch {
        program(0.0, &[1, 1])
    }

    #[test]
    fn the_batch_axis_is_the_first_of_four() {
        let found = |amounts: &[i32]| program(0.0, amounts).findings(&super::RULE).len();
        assert_eq!(found(&[0, 1, 0, 0, 0, 0, 0, 0]), 1);
        assert_eq!(found(&[0, 0, 0, 1, 0, 0, 0, 0]), 0);
    }
}
