//! Inputs whose shape is a range.

use milwright_ir::Severity;
use milwright_ir::features::Flexibility;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::patterns::flexible;
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "flexible-range",
    ids: &["FLX01", "FLX10", "FLX13"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane, Unit::Gpu],
    confidence: Confidence::Documented,
    summary: "An input takes a range of shapes, and the Neural Engine runs the default shape only.",
    details: "\
A range of sizes keeps the model off the Neural Engine for every shape but the default one: up \
to iOS 17.3 always, later unless the app loads it with the hint that shapes change seldom \
(`reshapeFrequency = .infrequent`). Models with ranges were seen with 0 to 2 % of their \
operations there, the same models with fixed shapes with more than 90 %.

On the GPU of an iPhone 13 a model with a wide range failed at run time with `No memory object \
bound to port`; how wide is too wide is not known.

Convert the model with a few enumerated shapes, or once for each of a few fixed sizes and pad.",
    sources: &[
        "developer.apple.com/forums/thread/724930",
        "apple/coremltools#2370",
        "apple/coremltools docs-guides/source/flexible-inputs.md",
        "orukahairuka/coreml-audio-research docs/2026-05-06/float32-gpu-investigation-summary.md",
        "ekhodzitsky/gigastt#42",
    ],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let ranged: Vec<_> = flexible(scope)
        .into_iter()
        .filter(|(_, flexibility)| matches!(flexibility, Flexibility::Ranges(_)))
        .collect();
    let shapes: Vec<String> = ranged
        .iter()
        .map(|(v, flexibility)| format!("`{}`{flexibility}", scope.value(*v).name))
        .collect();
    let places = ranged.iter().map(|&(v, _)| scope.at_value(v)).collect();
    let found = Found::each(places, |n| {
        let inputs = if n == 1 { "input has" } else { "inputs have" };
        format!(
            "{n} {inputs} a range of shapes ({}); the Neural Engine runs the default shape only",
            shapes.join("; ")
        )
    });
    let help = "convert with enumerated or fixed shapes";
    found.map(|f| f.help(help)).into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    pub(crate) fn triggers() -> Sketch {
        let mut s = Sketch::new();
        let x = s.ranged("x", Float16, &[(1, Some(1)), (1, Some(512))]);
        let y = s.op("relu", &[("x", x)]);
        s.output(y);
        s
    }

    /// The same sizes, enumerated.
    pub(crate) fn near_miss() -> Sketch {
        let mut s = Sketch::new();
        let x = s.enumerated("x", Float16, &[&[1, 1], &[1, 512]]);
        let y = s.op("relu", &[("x", x)]);
        s.output(y);
        s
    }
}
