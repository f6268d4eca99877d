//! Softplus, written out.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "softplus-overflow",
    ids: &["DT13"],
    severity: Severity::Warning,
    effect: Effect::Numbers,
    units: &[],
    confidence: Confidence::Reported,
    summary: "`log(1 + exp(x))` in fp16 overflows when x is beyond 11.",
    details: "\
Finds `log` of a sum of a constant and an `exp`, in fp16. `exp(11.09)` is beyond 65504. coremltools \
up to 9.0 writes `softplus` and `mish` this way for some inputs.

Write `max(x, 0) + log(1 + exp(-abs(x)))`, or use the operation `softplus`.",
    sources: &[
        "apple/coremltools#2687",
        "apple/coremltools#2725",
        "apple/coremltools#2359",
    ],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let found = scope.of_type(&["log"]).filter_map(|id| {
        exp_behind(scope, id)?;
        let message = "log(1 + exp(x)) in fp16 overflows when x is beyond 11";
        Some(Found::at(scope.at(id), message).help("use max(x, 0) + log(1 + exp(-abs(x)))"))
    });
    found.collect()
}

/// The `exp` whose sum with a constant a `log` takes.
fn exp_behind(scope: &Scope<'_>, log: OpId) -> Option<OpId> {
    if !scope.is_half(log) {
        return None;
    }
    let sum = scope.source_of_type(log, "x", &["add"])?;
    let exp = scope.either_source(sum, &["exp"])?;
    let bounded = super::exp_overflow::is_bounded(scope, exp);
    let constant = scope.has_static(sum, "x") || scope.has_static(sum, "y");
    (constant && !bounded).then_some(exp)
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(negated: bool) -> Sketch {
        let mut s = Sketch::new();
        let mut x = s.input("x", Float16, &[1, 64]);
        if negated {
            let minus = s.float(Float16, -1.0);
            x = s.op("abs", &[("x", x)]);
            x = s.op("mul", &[("x", x), ("y", minus)]);
        }
        let e = s.op("exp", &[("x", x)]);
        let one = s.float(Float16, 1.0);
        let y = s.add(e, one);
        let y = s.op("log", &[("x", y)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(false)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(true)
    }
}
