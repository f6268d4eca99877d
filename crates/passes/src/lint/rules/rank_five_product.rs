//! Products and scatters of five axes.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "rank-five-product",
    ids: &["SHP02"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Reported,
    summary: "A matrix product, an attention or a scatter takes tensors of five axes.",
    details: "\
Counts `matmul`, `linear`, `scaled_dot_product_attention`, `scatter*`, and `transpose` that feeds \
a `matmul`, with a tensor of five axes. Measured through a private interface.

Fold the batch and the next axis into one, and do the product with four axes.",
    sources: &[
        "sbryngelson/ANEForge docs/developer/capabilities-and-targets.md",
        "FluidInference/mobius Documentation/ANE_Candidates.md",
    ],
    disputed: Some(
        "one report saw a model go from 0 to 100 % on the Neural Engine without its fifth axis; a \
         later one (FluidInference/mobius#67) could not repeat that and blames a scatter.",
    ),
    check,
};

const PRODUCTS: [&str; 6] = [
    "linear",
    "matmul",
    "scaled_dot_product_attention",
    "scatter",
    "scatter_along_axis",
    "scatter_nd",
];

/// Whether an operation is one of those that this rule names.
pub(super) fn is_product(scope: &Scope<'_>, id: OpId) -> bool {
    let feeds = || scope.readers_of(id).any(|r| scope.is_type(r, &["matmul"]));
    scope.is_type(id, &PRODUCTS) || (scope.is_type(id, &["transpose"]) && feeds())
}

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let five = |&id: &OpId| {
        let op = scope.op(id);
        let mut all = op.operands().chain(op.outputs.iter().copied());
        is_product(scope, id)
            && all.any(|v| scope.tensor(v).is_some_and(|t| t.rank() == Some(5)))
    };
    let places = scope.at_all(scope.active().filter(five));
    let found = Found::each(places, |n| {
        format!("{} (products, attention, scatters) over tensors of 5 axes; 4 are taken there", counted(n, "operation"))
    });
    found
        .map(|f| f.number(5u64).limit(4u64).help("fold the batch and the next axis into one"))
        .into_iter()
        .collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(shape: &[u64]) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, shape);
        let no = s.bool(false);
        let yes = s.bool(true);
        let y = s.op(
            "matmul",
            &[("x", x), ("y", x), ("transpose_x", no), ("transpose_y", yes)],
        );
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(&[1, 2, 3, 4, 32])
    }

    pub(crate) fn near_miss() -> Sketch {
        program(&[2, 3, 4, 32])
    }
}
