//! Large tables that are looked up in the model.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "embedding-table",
    ids: &["OP04", "OP05"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Documented,
    summary: "A constant table of more than 16384 rows is looked up in the model.",
    details: "\
A `gather` of rows of a constant table with more than 16384 of them, by indices that the program \
gets. It interrupts the Neural Engine's part. (A smaller table is found by `dynamic-gather`.)

Put the embedding into a model of its own, or look it up on the host.",
    sources: &[
        "apple/coreai-models neural_engine_rules.md",
        "Anemll/Anemll docs/convert.md",
        "apple/ml-ane-transformers README.md",
        "FluidInference/mobius models/computer-use/gliclass-edge-apps/coreml/ANE_OPTIMIZATION.md",
    ],
    disputed: Some("one project measured that a separate embedding does not make the whole faster."),
    check,
};

const LIMIT: u64 = 16_384;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let large = scope.of_type(&["gather"]).filter_map(|id| {
        let rows = rows(scope, id).filter(|&rows| rows > LIMIT)?;
        let message = format!("a table of {rows} rows is looked up in the model, over {LIMIT}");
        let found = Found::at(scope.at(id), message).number(rows).limit(LIMIT);
        Some(found.help("put the embedding into a model of its own, or look it up on the host"))
    });
    large.collect()
}

/// The rows of a constant table that is looked up by what the program gets.
fn rows(scope: &Scope<'_>, id: OpId) -> Option<u64> {
    if scope.has_static(id, "indices") || !scope.has_static(id, "x") {
        return None;
    }
    let shape = &scope.param(id, "x")?.shape;
    shape.get(scope.axis(id, "axis", shape.len())?)?.known()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::{Float16, Int32};

    use crate::lint::testing::Sketch;

    fn program(rows: u64) -> Sketch {
        let mut s = Sketch::new();
        let table = s.weight(Float16, &[rows, 8]);
        let indices = s.input("i", Int32, &[2]);
        let (axis, batch, check) = (s.int(0), s.int(0), s.bool(false));
        let y = s.op(
            "gather",
            &[
                ("x", table),
                ("indices", indices),
                ("axis", axis),
                ("batch_dims", batch),
                ("validate_indices", check),
            ],
        );
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(16_385)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(16_384)
    }
}
