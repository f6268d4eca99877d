//! Recurrent operations.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "recurrent-op",
    ids: &["OP01"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Documented,
    summary: "`lstm`, `gru` and `rnn` never run on the Neural Engine.",
    details: "\
Counts recurrent operations. Apple says that the Neural Engine does not support them.

Unroll a short one into matrix products and activations, or split it off into a model of its own \
for the CPU.",
    sources: &[
        "apple/coremltools#1780",
        "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/coreml_dispatch.md",
        "FluidInference/mobius Documentation/ANE_Candidates.md",
    ],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let found = Found::each(scope.at_all(scope.of_type(&["gru", "lstm", "rnn"])), |n| {
        format!("{}; the Neural Engine has none", counted(n, "recurrent operation"))
    });
    found
        .map(|f| f.help("unroll a short one, or split it off for the CPU"))
        .into_iter()
        .collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(op: &str) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[5, 1, 16]);
        let y = s.typed_op(op, &[("x", x)], &[(Float16, &[5, 1, 16])]);
        s.output(y[0]);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program("lstm")
    }

    pub(crate) fn near_miss() -> Sketch {
        program("tanh")
    }
}
