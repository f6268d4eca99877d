//! Depthwise convolutions of many channels.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "wide-depthwise",
    ids: &["OP20"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "A depthwise convolution of kernel 1 x 3 has 1024 channels or more.",
    details: "\
`conv` with as many groups as channels, 1024 or more, and a kernel of 3 (1 x 3): refused on an \
iPhone 17 Pro and a Mac. Where between 64 groups, which run, and 1024 the limit is, and whether \
other kernels are refused, nobody measured.

Write it as three shifted products and their sum, or split the groups.",
    sources: &["john-rocky/CoreML-LLM docs/LFM2_CONVERSION_FINDINGS.md"],
    disputed: None,
    check,
};

const LIMIT: u64 = 1_024;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let found = scope.of_type(&["conv"]).filter_map(|id| {
        let channels = depthwise(scope, id).filter(|&c| c >= LIMIT)?;
        let message = format!("a depthwise kernel of 3 over {channels} channels, {LIMIT} or more");
        let found = Found::at(scope.at(id), message).number(channels).limit(LIMIT);
        Some(found.help("split the groups, or add shifted products"))
    });
    found.collect()
}

/// The channels of a depthwise convolution of kernel 1 x 3.
fn depthwise(scope: &Scope<'_>, id: OpId) -> Option<u64> {
    let weight = scope.param(id, "weight")?.known_shape()?;
    let (&[_, inner], kernel) = weight.split_first_chunk::<2>()?;
    let (&width, before) = kernel.split_last()?;
    let groups = u64::try_from(scope.int(id, "groups")?).ok()?;
    let channels = scope.param(id, "x")?.shape.get(1)?.known()?;
    let row = width == 3 && before.iter().all(|&k| k == 1);
    (row && inner == 1 && groups == channels).then_some(channels)
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(channels: u64) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, channels, 64]);
        let weight = s.weight(Float16, &[channels, 1, 3]);
        let groups = s.int(channels as i32);
        let y = s.op("conv", &[("x", x), ("weight", weight), ("groups", groups)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(1_024)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(1_023)
    }
}
