//! Dilations.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;
use crate::lint::target::Family;

pub(super) static RULE: Rule = Rule {
    name: "conv-dilation",
    ids: &["OP19"],
    severity: Severity::Note,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Documented,
    summary: "The dilation of a convolution is no product of 2 and 3.",
    details: "\
`conv` with a dilation such as 5 or 7, for chips before M4; there dilated convolutions run on the \
Neural Engine.

Move space into the batch, or fill the kernel with zeros.",
    sources: &[
        "apple/coreai-models neural_engine_rules.md",
        "hollance/neural-engine docs/unsupported-layers.md",
        "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/coreml_dispatch.md",
    ],
    disputed: Some("older notes say that no dilation is supported; on M4 they are."),
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    if scope.target.family() >= Family::H16 {
        return Vec::new();
    }
    let found = scope.of_type(&["conv"]).filter_map(|id| {
        let dilation = odd_dilation(scope, id)?;
        let message = format!("a dilation of {dilation} is no product of 2 and 3");
        Some(Found::at(scope.at(id), message).number(dilation))
    });
    found.collect()
}

fn odd_dilation(scope: &Scope<'_>, id: OpId) -> Option<u64> {
    let dilations = scope.ints(id, "dilations")?.into_iter();
    let mut positive = dilations.filter_map(|d| u64::try_from(d).ok().filter(|&d| d > 0));
    positive.find(|&d| {
        let mut rest = d;
        while rest % 2 == 0 {
            rest /= 2;
        }
        while rest % 3 == 0 {
            rest /= 3;
        }
        rest != 1
    })
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(target: &str, dilation: i32) -> Sketch {
        let mut s = Sketch::for_target(target);
        let x = s.input("x", Float16, &[1, 4, 64]);
        let weight = s.weight(Float16, &[4, 4, 3]);
        let dilations = s.ints(&[dilation]);
        let y = s.op("conv", &[("x", x), ("weight", weight), ("dilations", dilations)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program("any", 5)
    }

    pub(crate) fn near_miss() -> Sketch {
        program("any", 6)
    }

    #[test]
    fn m4_takes_any() {
        assert!(program("m4", 5).findings(&super::RULE).is_empty());
    }
}
