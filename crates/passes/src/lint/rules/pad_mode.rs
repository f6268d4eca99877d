//! Padding by reflection.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;
use crate::lint::target::Family;

pub(super) static RULE: Rule = Rule {
    name: "pad-mode",
    ids: &["OP12"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "`pad` by reflection or replication leaves the Neural Engine of A14 and M1.",
    details: "\
Counts `pad` of mode `reflect` or `replicate`. On M1 it falls back; on M4 both run on the Neural \
Engine, and nothing is found there. In between nobody measured: a note.

Concatenate slices, or let a convolution pad with zeros (`pad_type`).",
    sources: &[
        "sbryngelson/ANEForge docs/op-catalog.md",
        "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/coreml_dispatch.md",
    ],
    disputed: Some(
        "the compiler has messages that refuse replication and symmetric padding; on M4 reflection \
         and replication are taken.",
    ),
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let severity = match scope.target.family() {
        Family::H13 => Severity::Warning,
        Family::H14 | Family::H15 => Severity::Note,
        Family::H16 | Family::H17 => return Vec::new(),
    };
    let other = |&id: &OpId| {
        let mode = scope.text(id, "mode");
        mode.is_some_and(|m| matches!(m.as_str(), "reflect" | "replicate"))
    };
    let found = Found::each(scope.at_all(scope.of_type(&["pad"]).filter(other)), |n| {
        format!("{n} x `pad` by reflection or replication")
    });
    found
        .map(|f| f.severity(severity).help("concatenate slices instead"))
        .into_iter()
        .collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(mode: &str) -> Sketch {
        let mut s = Sketch::for_target("m1");
        let x = s.input("x", Float16, &[1, 64]);
        let (pad, mode) = (s.ints(&[1, 1]), s.string(mode));
        let zero = s.float(Float16, 0.0);
        let y = s.op(
            "pad",
            &[("x", x), ("pad", pad), ("mode", mode), ("constant_val", zero)],
        );
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program("reflect")
    }

    pub(crate) fn near_miss() -> Sketch {
        program("constant")
    }
}
