//! A masked mean over an axis of variable size.

use milwright_ir::{Dim, OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "masked-mean-flexible",
    ids: &["FLX09"],
    severity: Severity::Error,
    effect: Effect::Crash,
    units: &[],
    confidence: Confidence::Reported,
    summary: "A masked mean runs over an axis whose size is not fixed.",
    details: "\
A sum of `x * mask` divided by a sum of the mask, over an axis of variable size: the pooling of \
sentence encoders. A model of that kind was seen to end the process (SIGSEGV) on macOS 26; the \
same with a fixed length runs.

Convert with fixed lengths and give the mask as an input.",
    sources: &["apple/coremltools#2825"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let means = scope
        .of_type(&["real_div"])
        .filter(|&id| is_masked_mean(scope, id) == Some(true));
    let found = means.map(|id| {
        let message = "a masked mean over an axis of variable size";
        Found::at(scope.at(id), message).help("convert with fixed lengths")
    });
    found.collect()
}

fn is_masked_mean(scope: &Scope<'_>, id: OpId) -> Option<bool> {
    let above = scope.deep_source(id, "x")?;
    if !scope.is_type(above, &["reduce_sum"]) {
        return Some(false);
    }
    let product = scope.deep_source(above, "x")?;
    let sizes = &scope.param(above, "x")?.shape;
    let open = |axis: i64| {
        let rank = i64::try_from(sizes.len()).ok()?;
        let axis = if axis < 0 { axis + rank } else { axis };
        Some(*sizes.get(usize::try_from(axis).ok()?)? == Dim::Unknown)
    };
    let axes = scope.view(above).ints("axes").ok()?.known()?;
    let variable = axes.into_iter().any(|axis| open(axis) == Some(true));
    let mut below = scope.deep_source(id, "y")?;
    // A bound or a small number keeps the divisor from being 0.
    if scope.is_type(below, &["maximum", "clip", "add"]) {
        below = scope.deep_source(below, "x")?;
    }
    let both = scope.is_type(product, &["mul"]) && scope.is_type(below, &["reduce_sum"]);
    Some(variable && both)
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(high: u64) -> Sketch {
        let mut s = Sketch::new();
        let x = s.ranged("x", Float16, &[(1, Some(1)), (8, Some(high)), (4, Some(4))]);
        let mask = s.ranged(
            "mask",
            Float16,
            &[(1, Some(1)), (8, Some(high)), (1, Some(1))],
        );
        let axes = s.ints(&[1]);
        let product = s.op("mul", &[("x", x), ("y", mask)]);
        let sum = s.op("reduce_sum", &[("x", product), ("axes", axes)]);
        let count = s.op("reduce_sum", &[("x", mask), ("axes", axes)]);
        let least = s.float(Float16, 1e-4);
        let count = s.op("maximum", &[("x", count), ("y", least)]);
        let mean = s.op("real_div", &[("x", sum), ("y", count)]);
        s.output(mean);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(64)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(8)
    }
}
