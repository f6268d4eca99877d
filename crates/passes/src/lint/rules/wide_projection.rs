//! Projections to very many outputs.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::patterns::weight;
use crate::lint::scope::Scope;
use crate::lint::target::Family;

pub(super) static RULE: Rule = Rule {
    name: "wide-projection",
    ids: &["SZ07"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Documented,
    summary: "A linear layer or 1x1 convolution gives more than 16384 features.",
    details: "\
Typically the last layer of a language model, as wide as its vocabulary. Up to M3 and on \
telephones a linear layer of that width is beyond the largest width; converters for the Neural \
Engine split it into parts of at most 16384 (Anemll) or 6144 (0seba) and put the parts together \
on the host. On M4 and M5 it is a note.",
    sources: &[
        "Anemll/Anemll agent.md",
        "0seba/coremlmodels docs/CONVERSION_GUIDE.md",
        "john-rocky/CoreML-LLM docs/REJECTED_APPROACHES.md",
    ],
    disputed: Some(
        "On an iPhone 17 Pro one convolution to 262144 features was faster on the Neural \
         Engine than its parts.",
    ),
    check,
};

const LIMIT: u64 = 16_384;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let wide = scope
        .of_type(&["linear", "conv", "matmul"])
        .filter_map(|id| {
            let (param, axis) = weight(scope, id)?;
            let shape = &scope.param(id, param)?.shape;
            let kernel = shape.iter().skip(2);
            let point =
                !scope.is_type(id, &["conv"]) || kernel.clone().all(|d| d.known() == Some(1));
            let features = shape.get(axis)?.known().filter(|&n| n > LIMIT && point)?;
            let message = format!("{features} features; {LIMIT} is the usual limit of one part");
            let new = scope.target.family() >= Family::H16;
            let severity = if new {
                Severity::Note
            } else {
                Severity::Warning
            };
            let found = Found::at(scope.at(id), message)
                .number(features)
                .limit(LIMIT);
            let help = "split the weight into parts and put the results together on the host";
            Some(found.severity(severity).help(help))
        });
    wide.collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(features: u64) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 8, 64]);
        let weight = s.weight(Float16, &[features, 64]);
        let y = s.op("linear", &[("x", x), ("weight", weight)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(32_000)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(16_384)
    }
}
