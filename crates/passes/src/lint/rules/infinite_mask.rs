//! Masks of minus infinity.

use milwright_ir::{DataType, OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "infinite-mask",
    ids: &["DT08"],
    severity: Severity::Error,
    effect: Effect::Numbers,
    units: &[Unit::Ane],
    confidence: Confidence::Documented,
    summary: "A constant of -inf reaches a softmax.",
    details: "\
A constant, or the value of a `fill` or the branch of a `select`, that holds -inf and reaches \
`softmax` or the mask of `scaled_dot_product_attention` through additions, selections and changes \
of layout. The Neural Engine does not handle -inf correctly there. In fp32 it is a note: the \
Neural Engine takes no fp32, but would after a conversion.

Use -1e4 or -4e4 instead.",
    sources: &[
        "apple/coreai-models neural_engine_rules.md",
        "apple/coreai-models common_issues.md",
        "FluidInference/mobius",
    ],
    disputed: None,
    check,
};

const THROUGH: [&str; 15] = [
    "add",
    "cast",
    "concat",
    "expand_dims",
    "fill_like",
    "identity",
    "mul",
    "pad",
    "reshape",
    "select",
    "slice_by_index",
    "squeeze",
    "sub",
    "tile",
    "transpose",
];
const TO: [&str; 2] = ["softmax", "scaled_dot_product_attention"];

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for id in scope.active() {
        for (param, args) in &scope.op(id).inputs {
            let infinite = args.iter().any(|arg| {
                let origins = scope.origins(arg);
                origins.iter().any(|o| o.range.negative_infinities > 0)
            });
            let Some(end) = (if infinite { softmax_after(scope, id) } else { None }) else {
                continue;
            };
            let name = scope.program.describe_op(end);
            let message = format!("`{param}` holds -inf, which reaches `{name}`");
            let severity = match scope.computes_in(end, DataType::Float16) {
                true => Severity::Error,
                false => Severity::Note,
            };
            let one = Found::at(scope.at_param(id, param), message).severity(severity);
            found.push(one.help("use -1e4 instead of -inf"));
        }
    }
    found
}

/// The softmax that takes what an operation makes, or the operation itself.
fn softmax_after(scope: &Scope<'_>, id: OpId) -> Option<OpId> {
    if scope.is_type(id, &TO) {
        return Some(id);
    }
    if !scope.is_type(id, &THROUGH) && !scope.is_type(id, &["fill"]) {
        return None;
    }
    let outputs = scope.op(id).outputs.iter();
    outputs.into_iter().find_map(|&v| scope.reaches(v, &THROUGH, &TO))
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(value: f64) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 2]);
        let mask = s.floats(Float16, &[1, 2], &[0.0, value]);
        let y = s.add(x, mask);
        let axis = s.int(-1);
        let y = s.op("softmax", &[("x", y), ("axis", axis)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(f64::NEG_INFINITY)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(-40_000.0)
    }
}
