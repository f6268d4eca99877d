//! 4-bit palettes on depthwise convolutions.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::patterns::{compressed, is_depthwise, palette};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "palette-depthwise",
    ids: &["Q13"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "A depthwise convolution with a palette of 16 entries or fewer.",
    details: "\
On an iPhone 17 Pro the Neural Engine refused depthwise convolutions whose weights were in 4-bit \
palettes. They are small; compressing them saves next to nothing.

Leave depthwise convolutions in fp16.",
    sources: &["john-rocky/CoreML-LLM docs/LFM2_CONVERSION_FINDINGS.md"],
    disputed: None,
    check,
};

const ENTRIES: u64 = 16;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let found = compressed(scope, &["constexpr_lut_to_dense"]).filter_map(|(id, made, _)| {
        let (entries, _) = palette(scope, made)?;
        let small = entries <= ENTRIES && is_depthwise(scope, id);
        let message = format!("a depthwise convolution has a palette of {entries} entries");
        let found = Found::at(scope.at(id), message).number(entries);
        small.then(|| found.help("leave depthwise convolutions in fp16"))
    });
    found.collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::{Float16, UInt4};

    use crate::lint::testing::Sketch;

    fn program(groups: i32) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 8, 16, 16]);
        let indices = s.weight(UInt4, &[8, 8 / groups as u64, 3, 3]);
        let lut = s.weight(Float16, &[1, 1, 1, 1, 16, 1]);
        let weight = s.op(
            "constexpr_lut_to_dense",
            &[("indices", indices), ("lut", lut)],
        );
        let y = s.conv_with(x, weight, &[1, 1], &[1, 1], groups);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(8)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(1)
    }
}
