//! Exponentials of anything.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Number, Rule, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "exp-overflow",
    ids: &["DT16"],
    severity: Severity::Warning,
    effect: Effect::Numbers,
    units: &[],
    confidence: Confidence::Measured,
    summary: "`exp` in fp16 overflows when its input is beyond 11.09.",
    details: "\
Counts `exp` in fp16 whose input nothing bounds: no `clip` or `minimum` before it, no difference to \
a maximum, no activation that ends below 11, no magnitude times a negative constant.

Clamp the input to 11, or subtract the maximum first.",
    sources: &[
        "apple/coremltools#2729",
        "findit-studio/coremlit crates/coremlit/tests/fp16_guards.rs",
    ],
    disputed: None,
    check,
};

/// The largest x whose exponential fp16 holds, to two digits.
const LIMIT: f64 = 11.09;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let open = |&id: &OpId| scope.is_half(id) && !is_bounded(scope, id);
    let found = Found::each(scope.at_all(scope.of_type(&["exp"]).filter(open)), |n| {
        let limit = Number::from(LIMIT);
        format!("{} in fp16: overflow when the input is beyond {limit}", counted(n, "exponential"))
    });
    found
        .map(|f| f.limit(LIMIT).help("clamp the input to 11, or subtract the maximum first"))
        .into_iter()
        .collect()
}

/// Whether what an `exp` takes ends below the limit.
pub(super) fn is_bounded(scope: &Scope<'_>, exp: OpId) -> bool {
    if scope.magnitude(exp, "x").is_some_and(|m| m <= LIMIT) {
        return true;
    }
    let Some(source) = scope.deep_source(exp, "x") else {
        return false;
    };
    let constants = |param: &str| {
        let args = scope.op(source).args(param).iter();
        let all: Vec<f64> = args.flat_map(|a| scope.origins(a)).map(|o| o.range.max).collect();
        all
    };
    let below = |limit: f64| {
        let mut maxima = constants("x");
        maxima.extend(constants("y"));
        !maxima.is_empty() && maxima.iter().all(|&m| m <= limit)
    };
    match scope.op(source).op_type.as_str() {
        "clip" => scope.float(source, "beta").is_some_and(|b| b <= LIMIT),
        "minimum" => below(LIMIT),
        "sub" => scope.source_of_type(source, "y", &["reduce_max"]).is_some(),
        "mul" => {
            let positive = ["abs", "exp", "relu", "softplus", "square", "sigmoid"];
            below(0.0) && scope.either_source(source, &positive).is_some()
        }
        _ => false,
    }
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(bound: f64) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 64]);
        let (low, high) = (s.float(Float16, -1.0), s.float(Float16, bound));
        let x = s.op("clip", &[("x", x), ("alpha", low), ("beta", high)]);
        let y = s.op("exp", &[("x", x)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(12.0)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(11.0)
    }

    #[test]
    fn the_maximum_bounds() {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 64]);
        let (axes, keep) = (s.ints(&[-1]), s.bool(true));
        let m = s.op("reduce_max", &[("x", x), ("axes", axes), ("keep_dims", keep)]);
        let d = s.op("sub", &[("x", x), ("y", m)]);
        let y = s.op("exp", &[("x", d)]);
        s.output(y);
        assert!(s.findings(&super::RULE).is_empty());
    }
}
