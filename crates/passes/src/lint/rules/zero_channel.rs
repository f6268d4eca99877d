//! Channels whose scale is nothing.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "zero-channel",
    ids: &["DT22"],
    severity: Severity::Warning,
    effect: Effect::Numbers,
    units: &[],
    confidence: Confidence::Reported,
    summary: "A quantised channel has a scale of 0, or a channel would get one.",
    details: "\
A scale of `constexpr_affine_dequantize` or `constexpr_blockwise_shift_scale` that is infinite or \
NaN is a warning. One that is 0 makes its channel zero, which is right only if it was zero before \
quantising; that is not in the file, so it is a note. In a model that is not quantised, output \
channels of `conv`, `linear` and `matmul` whose weights are all below 1e-6 are a note: \
quantising them makes such a scale in fp16.

Set the scale of zero channels to 1, or compute scales in fp32.",
    sources: &["apple/coremltools#2853", "apple/coremltools#2851"],
    disputed: None,
    check,
};

const LIMIT: f64 = 1e-6;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for &id in scope.ops() {
        let quantised = ["constexpr_affine_dequantize", "constexpr_blockwise_shift_scale"];
        if scope.is_type(id, &quantised)
            && let Some(scales) = scope.constant(id, "scale")
            && let Ok(scales) = scales.to_f64s(scope.blobs)
        {
            let place = || scope.at_param(id, "scale");
            let broken = scales.iter().filter(|s| !s.is_finite()).count();
            if broken > 0 {
                let message = format!("{} infinite or NaN", counted(broken, "scale"));
                found.push(Found::at(place(), message).number(broken));
            }
            let zero = scales.iter().filter(|s| **s == 0.0).count();
            if zero > 0 {
                let message = format!("{} of 0: the channel is zero", counted(zero, "scale"));
                let one = Found::at(place(), message).number(zero);
                found.push(one.severity(Severity::Note));
            }
        }
    }
    let mut channels = 0;
    let mut ops: Vec<OpId> = Vec::new();
    for id in scope.of_type(&["conv", "linear", "matmul"]) {
        let n = small_channels(scope, id);
        channels += n;
        ops.extend((n > 0).then_some(id));
    }
    let small = Found::each(scope.at_all(ops), |n| {
        format!(
            "{} of {} with weights below {LIMIT:e} only; quantised in fp16 the scale is 0",
            counted(channels, "output channel"),
            counted(n, "operation")
        )
    });
    found.extend(small.map(|f| f.number(channels).limit(LIMIT).severity(Severity::Note)));
    found
}

fn small_channels(scope: &Scope<'_>, id: OpId) -> usize {
    let channels = scope.channels(id);
    let all = channels.iter().flat_map(|c| c.iter());
    all.filter(|c| c.largest < LIMIT).count()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;
    use milwright_ir::{Constant, DataType, Severity, TensorData, TensorType};

    use crate::lint::testing::Sketch;

    fn program(scale: f64) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 1]);
        let ty = TensorType::fixed(DataType::Int8, &[2, 1]);
        let data = s.constant("data", Constant::tensor(ty, TensorData::Bytes(vec![1, 2].into())));
        let scale = s.floats(Float16, &[2, 1], &[scale, 1.0]);
        let weight = s.op("constexpr_blockwise_shift_scale", &[("data", data), ("scale", scale)]);
        let bias = s.full(Float16, &[2], 0.0);
        let y = s.op("linear", &[("x", x), ("weight", weight), ("bias", bias)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(1e-9)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(1e-4)
    }

    #[test]
    fn before_quantising_it_is_a_note() {
        let of = |value: f64| {
            let mut s = Sketch::new();
            let x = s.input("x", Float16, &[1, 2]);
            let weight = s.floats(Float16, &[2, 2], &[1.0, 1.0, 0.0, value]);
            let bias = s.full(Float16, &[2], 0.0);
            let y = s.op("linear", &[("x", x), ("weight", weight), ("bias", bias)]);
            s.output(y);
            let found = s.findings(&super::RULE);
            found.first().map(|f| f.diagnostic.severity)
        };
        assert_eq!(of(0.0), Some(Severity::Note));
        assert_eq!(of(0.5), None);
    }
}
