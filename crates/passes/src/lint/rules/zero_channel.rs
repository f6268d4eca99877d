//! Channels whose scale is nothing.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule};
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
A scale of `constexpr_affine_dequantize` or `constexpr_blockwise_shift_scale` that is 0, infinite \
or NaN is a warning: the channel is silently zero or worse. In a model that is not quantised, \
output channels of `conv`, `linear` and `matmul` whose weights are all below 1e-6 are a note: \
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
            && let Some(bad) = bad_scales(scope, id)
        {
            let message = format!("{bad} scales are 0, infinite or NaN");
            let one = Found::at(scope.at_param(id, "scale"), message).number(bad);
            found.push(one.help("set the scale of channels of zeros to 1"));
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
            "{channels} output channels of {n} operations have weights below {LIMIT:e} only; \
             quantised in fp16 their scale is 0"
        )
    });
    found.extend(small.map(|f| f.number(channels).limit(LIMIT).severity(Severity::Note)));
    found
}

fn bad_scales(scope: &Scope<'_>, id: OpId) -> Option<usize> {
    let scales = scope.constant(id, "scale")?.to_f64s(scope.blobs).ok()?;
    let bad = scales.iter().filter(|s| !s.is_finite() || **s == 0.0).count();
    (bad > 0).then_some(bad)
}

fn small_channels(scope: &Scope<'_>, id: OpId) -> usize {
    let weights = scope.weights(id);
    let channels = weights.and_then(|(_, w, columns)| scope.channels(w, columns));
    let small = channels.iter().flatten().filter(|c| c.largest < LIMIT);
    small.count()
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
