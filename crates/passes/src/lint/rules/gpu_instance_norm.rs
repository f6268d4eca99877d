//! Normalisation over three spatial axes on the GPU.

use milwright_ir::ops::Given;
use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "gpu-instance-norm",
    ids: &["MPS04"],
    severity: Severity::Error,
    effect: Effect::Crash,
    units: &[Unit::Gpu],
    confidence: Confidence::Reported,
    summary: "Instance normalisation of a rank-5 tensor ends the process on the GPU.",
    details: "\
An instance normalisation over the three last axes of a tensor with five, as 3-D segmentation \
models have it, aborts in the GPU's compiler. It is written as `instance_norm`, or as a mean, a \
variance and a quotient over these axes.

Merge two spatial axes before and split them after: the result is the same.",
    sources: &["apple/coremltools#2667"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let deep = |id: OpId| scope.param(id, "x").and_then(|t| t.rank()) == Some(5);
    let norms = scope.active().filter(|&id| {
        let fused = scope.is_type(id, &["instance_norm"]);
        deep(id) && (fused || is_variance(scope, id))
    });
    let found = norms.map(|id| {
        let message = "an instance normalisation over three spatial axes";
        Found::at(scope.at(id), message)
            .help("merge two spatial axes before it and split them after")
    });
    found.collect()
}

/// Whether an operation is the mean over the last three axes of the square of a
/// difference from a mean.
fn is_variance(scope: &Scope<'_>, id: OpId) -> bool {
    if !scope.is_type(id, &["reduce_mean"]) {
        return false;
    }
    let axes = scope.view(id).ints("axes").ok().and_then(Given::known);
    let mut axes: Vec<i64> = axes.unwrap_or_default();
    axes.iter_mut().filter(|a| **a < 0).for_each(|a| *a += 5);
    axes.sort_unstable();
    let square = scope.source(id, "x");
    let difference = square.filter(|&s| scope.is_type(s, &["square", "mul"]));
    let difference = difference.and_then(|s| scope.source(s, "x"));
    let mean = difference.filter(|&d| scope.is_type(d, &["sub"]));
    let mean = mean.and_then(|d| scope.source(d, "y"));
    axes == [2, 3, 4] && mean.is_some_and(|m| scope.is_type(m, &["reduce_mean"]))
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(axes: &[i32]) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 4, 8, 8, 8]);
        let (axes, keep) = (s.ints(axes), s.bool(true));
        let mean = s.op(
            "reduce_mean",
            &[("x", x), ("axes", axes), ("keep_dims", keep)],
        );
        let x = s.op("sub", &[("x", x), ("y", mean)]);
        let square = s.op("square", &[("x", x)]);
        let args = [("x", square), ("axes", axes), ("keep_dims", keep)];
        let variance = s.op("reduce_mean", &args);
        let y = s.op("rsqrt", &[("x", variance)]);
        let y = s.op("mul", &[("x", x), ("y", y)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(&[-3, -2, -1])
    }

    pub(crate) fn near_miss() -> Sketch {
        program(&[3, 4])
    }
}
