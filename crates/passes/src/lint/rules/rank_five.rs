//! Five axes where four would do.

use milwright_ir::{OpId, Severity};

use super::rank_five_product::is_product;
use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "rank-five",
    ids: &["SHP03"],
    severity: Severity::Note,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Folklore,
    summary: "Operations make tensors of five axes.",
    details: "\
Counts operations whose result has five axes, other than three-dimensional convolution and \
pooling and changes of layout, and other than those of `rank-five-product`. Five axes are the \
most that the Neural Engine takes, and guides advise to stay at four; nobody shows which other \
operations fail with five.

Fold two axes that are used together.",
    sources: &[
        "apple/coreai-models neural_engine_rules.md",
        "Anemll/Anemll agent.md",
        "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/coreml_dispatch.md",
    ],
    disputed: Some("on M4 a transpose of five axes runs on the Neural Engine."),
    check,
};

const FINE: [&str; 10] = [
    "avg_pool",
    "cast",
    "conv",
    "conv_transpose",
    "expand_dims",
    "identity",
    "max_pool",
    "reshape",
    "squeeze",
    "transpose",
];

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let five = |&id: &OpId| {
        let five = scope.result(id).is_some_and(|t| t.rank() == Some(5));
        five && !scope.is_type(id, &FINE) && !is_product(scope, id)
    };
    let places = scope.at_all(scope.active().filter(five));
    let found = Found::each(places, |n| {
        format!("{} with a result of 5 axes; 4 are preferred", counted(n, "operation"))
    });
    found.map(|f| f.number(5u64).limit(4u64)).into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(op: &str, shape: &[u64]) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, shape);
        let y = s.op(op, &[("x", x)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program("relu", &[1, 2, 3, 4, 32])
    }

    pub(crate) fn near_miss() -> Sketch {
        program("relu", &[2, 3, 4, 32])
    }

    #[test]
    fn layout_is_fine() {
        assert!(program("identity", &[1, 2, 3, 4, 32]).findings(&super::RULE).is_empty());
    }
}
