//! Logic on truth values.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "boolean-logic",
    ids: &["DT06"],
    severity: Severity::Note,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Reported,
    summary: "Logical operations work on truth values.",
    details: "\
Counts `logical_and`, `logical_or`, `logical_xor` and `logical_not` that run.

Where it matters, write truth values as 0 and 1 in fp16: `mul` is and, `maximum` is or, `1 - x` \
is not.",
    sources: &[
        "sbryngelson/ANEForge docs/op-catalog.md",
        "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/coreml_dispatch.md",
    ],
    disputed: Some(
        "a private interface refuses them on M1 to M5; through Core ML, `logical_and` runs on the \
         Neural Engine of an M4.",
    ),
    check,
};

const LOGIC: [&str; 4] = ["logical_and", "logical_not", "logical_or", "logical_xor"];

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let found = Found::each(scope.at_all(scope.of_type(&LOGIC)), |n| {
        format!("{} on truth values", counted(n, "logical operation"))
    });
    found.into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::{Bool, Float16};

    use crate::lint::testing::Sketch;

    pub(crate) fn triggers() -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Bool, &[1, 64]);
        let y = s.op("logical_not", &[("x", x)]);
        s.output(y);
        s
    }

    pub(crate) fn near_miss() -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 64]);
        let one = s.float(Float16, 1.0);
        let y = s.op("sub", &[("x", one), ("y", x)]);
        s.output(y);
        s
    }
}
