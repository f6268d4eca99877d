//! Epsilons that fp16 rounds to nothing.

use milwright_ir::{DataType, Location, OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Number, Rule, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "vanishing-epsilon",
    ids: &["DT12"],
    severity: Severity::Warning,
    effect: Effect::Numbers,
    units: &[],
    confidence: Confidence::Measured,
    summary: "An epsilon is too small for fp16: the division it guards can be by zero.",
    details: "\
The smallest number of fp16 above 0 is 2^-24, about 6e-8. Looks at the epsilon of `layer_norm`, \
`instance_norm`, `batch_norm`, `l2_norm`, `rsqrt` and `inverse`, given or by default (that of \
`rsqrt` is 1e-12). Where the operation is in fp16, rows of equal values give infinity or NaN; \
in fp32 it is a note, for the day of a conversion. `rsqrt` and `inverse` of a sum with a constant \
that fp16 holds are fine.

Use 1e-5 or more; below 6.1e-5 fp16 has few digits left.",
    sources: &["findit-studio/coremlit crates/coremlit/tests/fp16_guards.rs"],
    disputed: None,
    check,
};

/// 2^-24.
const LIMIT: f64 = 1.0 / 16_777_216.0;

const GUARDED: [&str; 6] = [
    "batch_norm",
    "instance_norm",
    "inverse",
    "l2_norm",
    "layer_norm",
    "rsqrt",
];

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let mut half: Vec<(Location, f64)> = Vec::new();
    let mut single: Vec<(Location, f64)> = Vec::new();
    for id in scope.of_type(&GUARDED) {
        let Some(epsilon) = scope.float(id, "epsilon").filter(|e| e.abs() < LIMIT) else {
            continue;
        };
        if guarded_before(scope, id) {
            continue;
        }
        let place = scope.at_param(id, "epsilon");
        match scope.result(id).map(|t| t.dtype) {
            Some(DataType::Float16) => half.push((place, epsilon)),
            Some(DataType::Float32) => single.push((place, epsilon)),
            _ => {}
        }
    }
    let report = |all: Vec<(Location, f64)>, severity| {
        let epsilon = all.first()?.1;
        let (number, limit) = (Number::from(epsilon), Number::from(LIMIT));
        let places = all.into_iter().map(|(place, _)| place).collect();
        let verb = match severity {
            Severity::Note => "0 if the model were fp16",
            _ => "0 in fp16",
        };
        let found = Found::each(places, |n| {
            format!("{}: {verb}, such as {number}; the smallest number is {limit}", counted(n, "epsilon"))
        })?;
        Some(found.number(epsilon).limit(LIMIT).severity(severity).help("use 1e-5 or more"))
    };
    let found = [report(half, Severity::Warning), report(single, Severity::Note)];
    found.into_iter().flatten().collect()
}

/// Whether what the operation takes is a sum with a constant that is large
/// enough.
fn guarded_before(scope: &Scope<'_>, id: OpId) -> bool {
    let Some(sum) = scope.source_of_type(id, "x", &["add"]) else {
        return false;
    };
    let args = ["x", "y"].iter().flat_map(|p| scope.op(sum).args(p));
    let mut ranges = args.flat_map(|arg| scope.origins(arg));
    ranges.any(|o| o.range.min >= LIMIT && o.range.min.is_finite())
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    /// The epsilon stays fp32, as coremltools leaves it.
    fn program(epsilon: f64) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 64]);
        let axes = s.ints(&[-1]);
        let epsilon = s.float(milwright_ir::DataType::Float32, epsilon);
        let y = s.typed_op(
            "layer_norm",
            &[("x", x), ("axes", axes), ("epsilon", epsilon)],
            &[(Float16, &[1, 64])],
        );
        s.output(y[0]);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(1e-12)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(1e-7)
    }

    #[test]
    fn a_sum_before_guards_too() {
        let of = |added: f64| {
            let mut s = Sketch::new();
            let x = s.input("x", Float16, &[1, 64]);
            let c = s.float(Float16, added);
            let y = s.add(x, c);
            let y = s.op("rsqrt", &[("x", y)]);
            s.output(y);
            s.findings(&super::RULE).len()
        };
        assert_eq!(of(1e-5), 0);
        assert_eq!(of(0.0), 1);
    }
}
