//! Weights of 4 or 8 bits.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::patterns::compressed;
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "quantised-weights",
    ids: &["Q04", "Q05", "Q06", "Q18"],
    severity: Severity::Note,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane, Unit::Gpu],
    confidence: Confidence::Reported,
    summary: "Where operations with linearly quantised weights run differs between reports.",
    details: "\
Integer weights with one scale, or one for each output channel. On an M5 Pro 4-bit ones ran on \
the Neural Engine at 1.5 to 3 times the speed of fp16 while palettes were slower than fp16; on \
an M4 the plan had the CPU alone for them; Apple's guide recommends palettes for the Neural \
Engine. A model of 2024 gave a constant on the GPU and infinities on the Neural Engine, and the \
right numbers on the CPU.

Look at what the device does (`lint --compute-plan`), and compare its numbers with those of the \
CPU.",
    sources: &[
        "cadamcat/llms-on-apple-neural-engine findings/coreml-direct-int4",
        "kasper0406/stablehlo-coreml#110",
        "apple/coremltools docs-guides/source/opt-overview.md",
        "apple/coremltools#2114",
    ],
    disputed: Some("The sources contradict each other; this says no more than that."),
    check,
};

const LINEAR: [&str; 2] = [
    "constexpr_affine_dequantize",
    "constexpr_blockwise_shift_scale",
];

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let places = scope.at_all(compressed(scope, &LINEAR).map(|(id, _, _)| id));
    let found = Found::each(places, |n| {
        format!("{n} operations have linearly quantised weights; reports differ on where these run")
    });
    let help = "look at what the device does, and compare its numbers with the CPU's";
    found.map(|f| f.help(help)).into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::{Float16, Int8};

    use crate::lint::testing::Sketch;

    fn program(quantised: bool) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 64]);
        let weight = match quantised {
            true => {
                let data = s.weight(Int8, &[32, 64]);
                let scale = s.weight(Float16, &[32, 1]);
                let args = [("data", data), ("scale", scale)];
                s.op("constexpr_blockwise_shift_scale", &args)
            }
            false => s.weight(Float16, &[32, 64]),
        };
        let y = s.op("linear", &[("x", x), ("weight", weight)]);
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
