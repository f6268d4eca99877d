//! 4-bit palettes together with states.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule};
use crate::lint::patterns::{palette, states};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "palette-with-state",
    ids: &["Q09"],
    severity: Severity::Error,
    effect: Effect::Crash,
    units: &[],
    confidence: Confidence::Reported,
    summary: "A model with 4-bit palettes and states crashed after 100 to 200 predictions.",
    details: "\
One report: a model with weights in palettes of 16 entries and with states ended the process \
after 100 to 200 predictions; with 6 or 8 bits, or without states, it did not.

Use palettes of 6 or 8 bits, or pass the states as inputs and outputs.",
    sources: &["apple/coremltools#2716"],
    disputed: None,
    check,
};

const ENTRIES: u64 = 16;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    if states(scope).is_empty() {
        return Vec::new();
    }
    let luts = scope.ops().iter().copied().filter(|&id| {
        scope.is_type(id, &["constexpr_lut_to_dense"])
            && palette(scope, id).is_some_and(|(entries, _)| entries == ENTRIES)
    });
    let found = Found::each(scope.at_all(luts), |n| {
        format!("{n} weights have palettes of {ENTRIES} entries, in a model with states")
    });
    let help = "use palettes of 6 or 8 bits, or pass the states as inputs and outputs";
    found
        .map(|f| f.number(ENTRIES).help(help))
        .into_iter()
        .collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::{self, Float16, UInt4, UInt6};
    use milwright_ir::ValueId;

    use crate::lint::testing::Sketch;

    fn lut(s: &mut Sketch, bits: DataType, shape: &[u64], table: &[u64]) -> ValueId {
        let indices = s.weight(bits, shape);
        let lut = s.weight(Float16, table);
        s.op(
            "constexpr_lut_to_dense",
            &[("indices", indices), ("lut", lut)],
        )
    }

    fn program(bits: DataType, entries: u64) -> Sketch {
        let mut s = Sketch::new();
        let state = s.state("cache", Float16, &[1, 64]);
        let x = s.op("read_state", &[("input", state)]);
        let weight = lut(&mut s, bits, &[32, 64], &[1, 1, entries, 1]);
        let y = s.op("linear", &[("x", x), ("weight", weight)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(UInt4, 16)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(UInt6, 64)
    }
}
