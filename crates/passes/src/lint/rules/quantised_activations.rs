//! Activations of 8 bits.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "quantised-activations",
    ids: &["Q10", "Q11", "Q14"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "Activations are quantised, which some devices refuse and few make faster.",
    details: "\
`quantize` and `dequantize` between layers. On an iPhone 17 Pro the compiler for the Neural \
Engine refused such a model, on an M4 Max it gained nothing; on an M4 single operations ran \
there. Apple names A17 Pro and M4 as the first with a fast path. In Apple's newer model format, \
a multiplication between them used the wrong scale on an M5 Pro.

Compress the weights only, or measure on every device that matters.",
    sources: &[
        "john-rocky/CoreML-LLM docs/HANDOFF.md",
        "apple/coremltools docs-guides/source/opt-whats-new.md",
        "cadamcat/llms-on-apple-neural-engine findings/coreai-qdq-multiply-scale",
        "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/coreml_dispatch.md",
    ],
    disputed: Some(
        "On an M4 with macOS 27, int8 `quantize` and `dequantize` are supported on the Neural \
         Engine.",
    ),
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let places = scope.at_all(scope.of_type(&["quantize", "dequantize"]));
    let found = Found::each(places, |n| {
        format!("{n} operations quantise activations or undo it")
    });
    let help = "compress the weights only, or measure on every device that matters";
    found.map(|f| f.help(help)).into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::{Float16, Int8};

    use crate::lint::testing::Sketch;

    fn program(live: bool) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 64]);
        let scale = s.float(Float16, 0.1);
        let dtype = s.string("int8");
        let x = match live {
            true => {
                let args = [("input", x), ("scale", scale), ("output_dtype", dtype)];
                let x = s.op("quantize", &args);
                s.op("dequantize", &[("input", x), ("scale", scale)])
            }
            false => {
                let weight = s.weight(Int8, &[1, 64]);
                let y = s.op("dequantize", &[("input", weight), ("scale", scale)]);
                s.op("add", &[("x", x), ("y", y)])
            }
        };
        s.output(x);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(true)
    }

    /// A weight.
    pub(crate) fn near_miss() -> Sketch {
        program(false)
    }
}
