//! Palettes of a size that nobody reads.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule};
use crate::lint::patterns::palette;
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "palette-size",
    ids: &["Q17"],
    severity: Severity::Warning,
    effect: Effect::Load,
    units: &[],
    confidence: Confidence::Documented,
    summary: "A palette does not have 2, 4, 8, 16, 64 or 256 entries.",
    details: "\
Palettes have indices of 1, 2, 3, 4, 6 or 8 bits, and one entry for each index. Others cannot be \
written with coremltools, and nothing is known to read them.

Compress with one of these numbers of bits.",
    sources: &["apple/coremltools converters/mil/mil/ops/defs"],
    disputed: None,
    check,
};

const SIZES: [u64; 6] = [2, 4, 8, 16, 64, 256];

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let found = scope.ops().iter().copied().filter_map(|id| {
        if !scope.is_type(id, &["constexpr_lut_to_dense", "constexpr_lut_to_sparse"]) {
            return None;
        }
        let (entries, _) = palette(scope, id)?;
        let message =
            format!("a palette of {entries} entries; indices have 1, 2, 3, 4, 6 or 8 bits");
        let found = Found::at(scope.at(id), message).number(entries);
        (!SIZES.contains(&entries)).then_some(found)
    });
    found.collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::{Float16, UInt8};

    use crate::lint::testing::Sketch;

    fn program(entries: u64) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 64]);
        let indices = s.weight(UInt8, &[32, 64]);
        let lut = s.weight(Float16, &[1, 1, entries, 1]);
        let args = [("indices", indices), ("lut", lut)];
        let weight = s.typed_op("constexpr_lut_to_dense", &args, &[(Float16, &[32, 64])])[0];
        let y = s.op("linear", &[("x", x), ("weight", weight)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(32)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(64)
    }
}
