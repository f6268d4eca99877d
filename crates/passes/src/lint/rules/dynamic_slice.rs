//! Slices that begin at a computed place.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "dynamic-slice",
    ids: &["OP36"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "`slice_by_size` begins at a computed place.",
    details: "\
Counts `slice_by_size` whose begin is no constant. Measured on M4.

Slice at fixed places, one for each position, or select by a mask.",
    sources: &["751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/coreml_dispatch.md"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let dynamic = |&id: &OpId| !scope.has_static(id, "begin");
    let ops = scope.of_type(&["slice_by_size"]).filter(dynamic);
    let found = Found::each(scope.at_all(ops), |n| {
        format!("{n} x `slice_by_size` from a computed place on")
    });
    found
        .map(|f| f.help("slice at fixed places, or select by a mask"))
        .into_iter()
        .collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::{Float16, Int32};

    use crate::lint::testing::Sketch;

    fn program(dynamic: bool) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[64]);
        let begin = if dynamic { s.input("i", Int32, &[1]) } else { s.ints(&[3]) };
        let size = s.ints(&[4]);
        let y = s.op("slice_by_size", &[("x", x), ("begin", begin), ("size", size)]);
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
