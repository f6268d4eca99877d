//! Transformer blocks in the layout of GPUs.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "channels-last-linear",
    ids: &["SHP10", "SHP11"],
    severity: Severity::Note,
    effect: Effect::Slow,
    units: &[Unit::Ane],
    confidence: Confidence::Documented,
    summary: "Matrix products with constant weights have the channels on the last axis.",
    details: "\
Counts `linear`, and `matmul` with a constant right side, over tensors `[.., S, C]` with more than \
one position. The Neural Engine prefers `[B, C, 1, S]` and convolutions of kernel 1 with weights \
`[O, I, 1, 1]`.

Nothing here rewrites it; it is a choice when the model is exported, for each compute unit.",
    sources: &[
        "apple/coreai-models neural_engine_rules.md",
        "apple/ml-ane-transformers README.md",
        "apple/ml-stable-diffusion python_coreml_stable_diffusion/unet.py",
        "erwinzhang7/coreml-compute-placement PAPER.md",
    ],
    disputed: Some(
        "on an M4 Pro the convolution form gains 10 to 13 % on the Neural Engine and is slower on \
         the GPU; keep `linear` for GPU builds.",
    ),
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let wide = |&id: &OpId| {
        let weights = match scope.is_type(id, &["linear"]) {
            true => scope.has_static(id, "weight"),
            false => scope.has_static(id, "y"),
        };
        let rank = scope.param(id, "x").map_or(0, |t| t.shape.len());
        weights && rank >= 3 && scope.size_from_back(id, "x", 1).is_some_and(|s| s > 1)
    };
    let ops = scope.of_type(&["linear", "matmul"]).filter(wide);
    let found = Found::each(scope.at_all(ops), |n| {
        format!("{} with constant weights and the channels last, [.., S, C]", counted(n, "product"))
    });
    found.into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(positions: u64) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, positions, 64]);
        let weight = s.weight(Float16, &[64, 64]);
        let bias = s.full(Float16, &[64], 0.0);
        let y = s.op("linear", &[("x", x), ("weight", weight), ("bias", bias)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(2)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(1)
    }
}
