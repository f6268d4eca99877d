//! A palette and a scale in the wrong order.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "lut-scale-order",
    ids: &["Q07"],
    severity: Severity::Error,
    effect: Effect::Crash,
    units: &[Unit::Ane, Unit::Gpu],
    confidence: Confidence::Documented,
    summary: "A palettised weight is scaled by channel before the operation that reads it.",
    details: "\
The scale of each channel has to come after the convolution or product, as a multiplication; on \
the weight it makes `mps.dequantize` fail its verification on the GPU, and the Neural Engine \
refuses it. coremltools has a pass that moves it (`reorder_lut_per_channel_scale`).

Convert again with that pass, or multiply the result by the scale.",
    sources: &[
        "apple/coremltools converters/mil/mil/passes/defs/optimize_quantization.py",
        "apple/coremltools#2688",
    ],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let scales = scope.ops().iter().copied().filter(|&id| {
        let data = || scope.source(id, "data");
        scope.is_type(id, &["constexpr_blockwise_shift_scale"])
            && data().is_some_and(|lut| scope.is_type(lut, &["constexpr_lut_to_dense"]))
    });
    let found = scales.map(|id| {
        let message = "a palettised weight is scaled before it is used, not after";
        // What reads the weight is what fails.
        let place = scope.readers_of(id).next().unwrap_or(id);
        Found::at(scope.at(place), message)
            .help("multiply the result by the scale instead (`reorder_lut_per_channel_scale`)")
    });
    found.collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::{self, Float16, UInt4};
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

    fn program(before: bool) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 64]);
        let scale = s.weight(Float16, &[32, 1]);
        let mut weight = lut(&mut s, UInt4, &[32, 64], &[1, 1, 16, 1]);
        if before {
            let args = [("data", weight), ("scale", scale)];
            weight = s.op("constexpr_blockwise_shift_scale", &args);
        }
        let mut y = s.op("linear", &[("x", x), ("weight", weight)]);
        if !before {
            let scale = s.weight(Float16, &[1, 32]);
            y = s.op("mul", &[("x", y), ("y", scale)]);
        }
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
