//! Weights with a scale for each block.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::patterns::compressed;
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "blockwise-scale",
    ids: &["Q02", "Q03"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "A weight has a scale for each block of its input channels, which the Neural Engine does not take.",
    details: "\
On M4 and M5 the compiler for the Neural Engine takes one scale for the weight, or one for each \
output channel; operations with scales for blocks of input channels were run on the CPU. One \
report even has wrong numbers from the Neural Engine for such weights (a cosine of 0.367). Apple \
recommends the form for the GPU of Macs.

Compress by output channel, or with palettes. On a Mac, load the model for CPU and GPU.",
    sources: &[
        "cadamcat/llms-on-apple-neural-engine findings/coreml-grouped-scale-cpu",
        "apple/coremltools docs-guides/source/opt-quantization-perf.md",
        "pkhairkh/MILLer ane-constraints-docs/03-placement-and-compiler",
        "apple/coreai-models#279",
    ],
    disputed: None,
    check,
};

const BLOCKWISE: [&str; 2] = [
    "constexpr_blockwise_shift_scale",
    "constexpr_sparse_blockwise_shift_scale",
];

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let found = compressed(scope, &BLOCKWISE).filter_map(|(id, made, outputs)| {
        let scale = scope.param(made, "scale")?.known_shape()?;
        let blocks = scale
            .iter()
            .enumerate()
            .find(|&(axis, &n)| axis != outputs && n > 1);
        let (_, &blocks) = blocks?;
        let message = format!(
            "the weight has {blocks} blocks with scales of their own along its input channels, \
             the Neural Engine takes 1"
        );
        let found = Found::at(scope.at(id), message).number(blocks).limit(1u64);
        let found = found.note("one report has wrong numbers from such weights");
        Some(found.help("compress by output channel, or load the model for CPU and GPU"))
    });
    found.collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::{Float16, Int8};

    use crate::lint::testing::Sketch;

    fn program(blocks: u64) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 64]);
        let data = s.weight(Int8, &[32, 64]);
        let scale = s.weight(Float16, &[32, blocks]);
        let args = [("data", data), ("scale", scale)];
        let weight = s.op("constexpr_blockwise_shift_scale", &args);
        let y = s.op("linear", &[("x", x), ("weight", weight)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(2)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(1)
    }

    #[test]
    fn products_are_looked_at_the_other_way_round() {
        for (turned, scale, count) in [(false, [1, 32], 0), (false, [2, 32], 1), (true, [2, 32], 1)]
        {
            let mut s = Sketch::new();
            let x = s.input("x", Float16, &[1, if turned { 32 } else { 64 }]);
            let data = s.weight(Int8, &[64, 32]);
            let scale = s.weight(Float16, &scale);
            let args = [("data", data), ("scale", scale)];
            let weight = s.op("constexpr_blockwise_shift_scale", &args);
            let flag = s.bool(turned);
            let y = s.op("matmul", &[("x", x), ("y", weight), ("transpose_y", flag)]);
            s.output(y);
            assert_eq!(s.findings(&super::RULE).len(), count, "{turned}");
        }
    }
}
