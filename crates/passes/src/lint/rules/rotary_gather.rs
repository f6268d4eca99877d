//! Rotary positions that are looked up in the graph.

use milwright_ir::{OpId, Severity, ValueId};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "rotary-gather",
    ids: &["OP35"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Documented,
    summary: "Rotary tables are looked up by position in the graph.",
    details: "\
Finds two or more `gather` of constant tables by the same computed positions, whose rows are \
multiplied with computed tensors, as cosines and sines are.

Give cosines and sines as inputs, `[1, head, 1, S]`.",
    sources: &[
        "apple/coreai-models neural_engine_rules.md",
        "apple/coreai-models common_issues.md",
    ],
    disputed: None,
    check,
};

const LAYOUT: [&str; 6] = ["cast", "expand_dims", "identity", "reshape", "squeeze", "transpose"];

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let tables: Vec<(OpId, ValueId)> = scope
        .of_type(&["gather", "gather_along_axis"])
        .filter_map(|id| Some((id, positions(scope, id)?)))
        .collect();
    let paired = |&(_, p): &&(OpId, ValueId)| tables.iter().filter(|(_, q)| q == p).count() > 1;
    let ops = tables.iter().filter(paired).map(|&(id, _)| id);
    let found = Found::each(scope.at_all(ops), |n| {
        format!("{} by position, then multiplied, as rotary tables are", counted(n, "look-up"))
    });
    found
        .map(|f| f.help("give cosines and sines as inputs"))
        .into_iter()
        .collect()
}

/// The computed positions of a constant table whose rows are multiplied.
fn positions(scope: &Scope<'_>, id: OpId) -> Option<ValueId> {
    let positions = scope.operand(id, "indices").filter(|&v| !scope.is_static(v))?;
    let rows = *scope.op(id).outputs.first()?;
    let product = scope.reaches(rows, &LAYOUT, &["mul"])?;
    let computed = !scope.has_static(product, "x") && !scope.has_static(product, "y");
    (computed && scope.has_static(id, "x")).then_some(positions)
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::{Float16, Int32};

    use crate::lint::testing::Sketch;

    fn program(computed: bool) -> Sketch {
        let mut s = Sketch::new();
        let mut x = s.input("x", Float16, &[2, 8]);
        let positions = s.input("positions", Int32, &[2]);
        for _ in 0..2 {
            let table = s.weight(Float16, &[64, 8]);
            let indices = if computed { positions } else { s.ints(&[0, 1]) };
            let (axis, batch, check) = (s.int(0), s.int(0), s.bool(false));
            let rows = s.op(
                "gather",
                &[
                    ("x", table),
                    ("indices", indices),
                    ("axis", axis),
                    ("batch_dims", batch),
                    ("validate_indices", check),
                ],
            );
            x = s.op("mul", &[("x", x), ("y", rows)]);
        }
        s.output(x);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(true)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(false)
    }
}
