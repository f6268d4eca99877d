//! Gathers by indices that are computed.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "dynamic-gather",
    ids: &["OP03"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "A gather whose indices are known only when the program runs.",
    details: "\
Counts `gather`, `gather_nd` and `gather_along_axis` whose indices are no constant. With constant \
indices they run on the Neural Engine of an M4.

Multiply a small table by a one-hot matrix, slice, or look up on the host and give the rows as \
input.",
    sources: &[
        "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/coreml_dispatch.md",
        "apple/coreai-models neural_engine_rules.md",
    ],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let dynamic = |&id: &OpId| !scope.has_static(id, "indices");
    let ops = scope.of_type(&["gather", "gather_along_axis", "gather_nd"]).filter(dynamic);
    let found = Found::each(scope.at_all(ops), |n| {
        format!("{} by indices that are known only when the program runs", counted(n, "gather"))
    });
    found
        .map(|f| f.help("multiply by a one-hot matrix, or look up on the host"))
        .into_iter()
        .collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::{Float16, Int32};

    use crate::lint::testing::Sketch;

    fn program(dynamic: bool) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[16, 8]);
        let indices = if dynamic { s.input("i", Int32, &[2]) } else { s.ints(&[0, 3]) };
        let (axis, batch, check) = (s.int(0), s.int(0), s.bool(false));
        let y = s.op(
            "gather",
            &[
                ("x", x),
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
        program(true)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(false)
    }
}
