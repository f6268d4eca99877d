//! States on the Neural Engine.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::patterns::states;
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "state-placement",
    ids: &["ST09", "ST10"],
    severity: Severity::Note,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Reported,
    summary: "Whether operations on states run on the Neural Engine cannot be told from the file.",
    details: "\
Reports differ on states: some models with states run on the Neural Engine, others were refused \
in every variant, and one measurement found updates of states never placed there. Each step is \
also said to cost as much as the whole length of the state, not only its new part.

Look at what the device does (`lint --compute-plan`). The way that Apple's own guide prefers is \
caches as inputs that are only read, and the new rows as outputs that the app keeps.",
    sources: &[
        "apple/coreai-models neural_engine_rules.md",
        "john-rocky/CoreML-LLM docs/EXPERIMENTS.md",
        "Anemll/Anemll",
    ],
    disputed: Some("States run on the Neural Engine in Anemll's and other models."),
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let places = states(scope)
        .into_iter()
        .map(|v| scope.at_value(v))
        .collect();
    let found = Found::each(places, |n| {
        format!("{n} states; whether what updates them runs on the Neural Engine differs by model")
    });
    let help = "look at what the device does, or pass caches as inputs and outputs";
    found.map(|f| f.help(help)).into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(state: bool) -> Sketch {
        let mut s = Sketch::new();
        let x = match state {
            true => {
                let state = s.state("cache", Float16, &[1, 64]);
                s.op("read_state", &[("input", state)])
            }
            false => s.input("cache", Float16, &[1, 64]),
        };
        let x = s.op("relu", &[("x", x)]);
        s.output(x);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(true)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(false)
    }
}
