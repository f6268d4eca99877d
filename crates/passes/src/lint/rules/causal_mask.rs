//! Masks that are made in the graph.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "causal-mask",
    ids: &["OP34"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Documented,
    summary: "A mask of attention is computed in the graph.",
    details: "\
Finds comparisons, `band_part` and `range_1d` whose result reaches the mask of an attention: a \
`softmax` through additions and selections, or a `scaled_dot_product_attention`. A mask that is \
computed from constants alone is folded and is fine.

Give the mask as an fp16 input, for the layout of Apple's guides `[1, K, 1, Q]`.",
    sources: &[
        "apple/coreai-models neural_engine_rules.md",
        "apple/coreai-models common_issues.md",
    ],
    disputed: None,
    check,
};

const MAKERS: [&str; 7] = [
    "band_part",
    "greater",
    "greater_equal",
    "less",
    "less_equal",
    "equal",
    "range_1d",
];
const THROUGH: [&str; 14] = [
    "add",
    "cast",
    "expand_dims",
    "identity",
    "logical_and",
    "logical_not",
    "logical_or",
    "mul",
    "reshape",
    "select",
    "slice_by_index",
    "squeeze",
    "sub",
    "tile",
];
const TO: [&str; 2] = ["scaled_dot_product_attention", "softmax"];

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let makes = |&id: &OpId| {
        let outputs = scope.op(id).outputs.iter();
        let mut outputs = outputs.copied();
        outputs.any(|v| scope.reaches(v, &THROUGH, &TO).is_some())
    };
    let found = Found::each(scope.at_all(scope.of_type(&MAKERS).filter(makes)), |n| {
        format!("{} for a mask of attention in the graph", counted(n, "operation"))
    });
    found
        .map(|f| f.help("give the mask as an fp16 input"))
        .into_iter()
        .collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::{Float16, Int32};

    use crate::lint::testing::Sketch;

    fn program(computed: bool) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 4]);
        let mask = if computed {
            let length = s.input("length", Int32, &[1]);
            let positions = s.ints(&[0, 1, 2, 3]);
            let seen = s.op("less", &[("x", positions), ("y", length)]);
            s.cast(seen, Float16)
        } else {
            s.input("mask", Float16, &[1, 4])
        };
        let y = s.add(x, mask);
        let axis = s.int(-1);
        let y = s.op("softmax", &[("x", y), ("axis", axis)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(true)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(false)
    }
}
