//! Means of squares.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "square-overflow",
    ids: &["DT10"],
    severity: Severity::Warning,
    effect: Effect::Numbers,
    units: &[],
    confidence: Confidence::Documented,
    summary: "A mean or sum of squares in fp16 overflows when a value is beyond 256.",
    details: "\
Counts `square`, `x * x` and `pow(x, 2)` in fp16 that a `reduce_mean` or `reduce_sum` reads, and \
`reduce_sum_square` and `reduce_l2_norm` in fp16: RMS norms, written out. The square of 256 is \
65536, beyond fp16. Squares of values that are bounded (behind `sigmoid`, `tanh`, `softmax`) do \
not count.

Divide by the largest magnitude before squaring, or write the norm as `layer_norm` of `x` and \
`-x` side by side.",
    sources: &[
        "apple/coremltools coremltools/converters/mil/frontend/torch/ops.py",
        "0seba/coremlmodels docs/RMSNORM_PATCHING.md",
        "Anemll/Anemll agent.md",
    ],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let places = scope.at_all(scope.active().filter(|&id| overflows(scope, id)));
    let found = Found::each(places, |n| {
        format!("{} summed in fp16: overflow when a value is beyond 256", counted(n, "square"))
    });
    found
        .map(|f| f.limit(256u64).help("scale before squaring; see `lint --explain square-overflow`"))
        .into_iter()
        .collect()
}

fn overflows(scope: &Scope<'_>, id: OpId) -> bool {
    let half = scope.is_half(id) && scope.magnitude(id, "x").is_none();
    if scope.is_type(id, &["reduce_sum_square", "reduce_l2_norm"]) {
        return half;
    }
    let square = match scope.op(id).op_type.as_str() {
        "square" => true,
        "mul" => scope.operand(id, "x").is_some() && scope.operand(id, "x") == scope.operand(id, "y"),
        "pow" => scope.float(id, "y") == Some(2.0),
        _ => false,
    };
    let summed = || scope.readers_of(id).any(|r| scope.is_type(r, &["reduce_mean", "reduce_sum"]));
    square && half && summed()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(bounded: bool) -> Sketch {
        let mut s = Sketch::new();
        let mut x = s.input("x", Float16, &[1, 64]);
        if bounded {
            x = s.op("tanh", &[("x", x)]);
        }
        let y = s.op("mul", &[("x", x), ("y", x)]);
        let (axes, keep) = (s.ints(&[-1]), s.bool(true));
        let y = s.op("reduce_mean", &[("x", y), ("axes", axes), ("keep_dims", keep)]);
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
