//! Logarithms of probabilities.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "log-of-softmax",
    ids: &["DT15"],
    severity: Severity::Warning,
    effect: Effect::Numbers,
    units: &[],
    confidence: Confidence::Reported,
    summary: "The logarithm of a softmax in fp16 is -inf for small probabilities.",
    details: "\
Finds `log` of a `softmax` in fp16. Probabilities below 6e-8 are 0 there, and their logarithm is \
-inf.

Write `x - max - log(sum(exp(x - max)))`.",
    sources: &["apple/coremltools#2728", "apple/coremltools#2729"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let of_softmax = |&id: &OpId| {
        let softmax = scope.source_of_type(id, "x", &["softmax"]);
        softmax.is_some_and(|s| scope.is_half(s) || scope.is_half(id))
    };
    let found = Found::each(scope.at_all(scope.of_type(&["log"]).filter(of_softmax)), |n| {
        format!("{} of a softmax in fp16: -inf for probabilities below 6e-8", counted(n, "logarithm"))
    });
    found
        .map(|f| f.help("use x - max - log(sum(exp(x - max)))"))
        .into_iter()
        .collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::{self, Float16, Float32};

    use crate::lint::testing::Sketch;

    fn program(dtype: DataType) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", dtype, &[1, 64]);
        let axis = s.int(-1);
        let y = s.op("softmax", &[("x", x), ("axis", axis)]);
        let y = s.op("log", &[("x", y)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(Float16)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(Float32)
    }
}
