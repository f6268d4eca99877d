//! Logarithms of sums of exponentials.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "logsumexp-overflow",
    ids: &["DT14"],
    severity: Severity::Warning,
    effect: Effect::Numbers,
    units: &[],
    confidence: Confidence::Reported,
    summary: "A log-sum-exp in fp16 does not subtract the maximum first.",
    details: "\
Finds `reduce_log_sum_exp` in fp16, and `log` of a `reduce_sum` of an `exp`, where nothing bounds \
what is exponentiated. The sum overflows when all of `C` terms are near `log(65504 / C)`.

Subtract the maximum, and add it to the result.",
    sources: &["apple/coremltools#2690", "apple/coremltools#2726"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let open = |&id: &OpId| {
        if !scope.is_half(id) {
            return false;
        }
        if scope.is_type(id, &["reduce_log_sum_exp"]) {
            return !super::exp_overflow::is_bounded(scope, id);
        }
        let sum = scope.source_of_type(id, "x", &["reduce_sum"]);
        let exp = sum.and_then(|s| scope.source_of_type(s, "x", &["exp"]));
        exp.is_some_and(|e| !super::exp_overflow::is_bounded(scope, e))
    };
    let ops = scope.of_type(&["log", "reduce_log_sum_exp"]).filter(open);
    let found = Found::each(scope.at_all(ops), |n| {
        format!("{} in fp16 without subtracting the maximum first", counted(n, "log-sum-exp"))
    });
    found
        .map(|f| f.help("subtract the maximum, and add it to the result"))
        .into_iter()
        .collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(shifted: bool) -> Sketch {
        let mut s = Sketch::new();
        let mut x = s.input("x", Float16, &[1, 64]);
        if shifted {
            let (axes, keep) = (s.ints(&[-1]), s.bool(true));
            let m = s.op("reduce_max", &[("x", x), ("axes", axes), ("keep_dims", keep)]);
            x = s.op("sub", &[("x", x), ("y", m)]);
        }
        let (axes, keep) = (s.ints(&[-1]), s.bool(true));
        let y = s.op("reduce_log_sum_exp", &[("x", x), ("axes", axes), ("keep_dims", keep)]);
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
