//! States whose last axis is not a multiple of 32.

use std::collections::BTreeMap;

use milwright_ir::{Severity, ValueId};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::patterns::states;
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "state-width",
    ids: &["ST02"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "The last size of a state is not a multiple of 32.",
    details: "\
On an M4 with macOS 15.2 a state of width 270 failed on the Neural Engine where one of 256 ran. \
Rows of fp16 are stored in steps of 64 bytes there, that is 32 elements.

Pad the last axis of the state to a multiple of 32.",
    sources: &[
        "apple/coremltools#2631",
        "john-rocky/CoreML-LLM docs/EXPERIMENTS.md",
    ],
    disputed: Some(
        "Others found that the alignment was not what made a state fail; padding may change \
         nothing.",
    ),
    check,
};

const STEP: u64 = 32;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let width = |v: ValueId| *scope.largest(v)?.last()?;
    let mut odd: BTreeMap<u64, Vec<ValueId>> = BTreeMap::new();
    for state in states(scope) {
        if let Some(width) = width(state).filter(|w| w % STEP != 0) {
            odd.entry(width).or_default().push(state);
        }
    }
    let found = odd.into_iter().filter_map(|(width, states)| {
        let first = &scope.value(*states.first()?).name;
        let whose = match states.len() {
            1 => format!("state `{first}` is"),
            n => format!("state `{first}` and {} more are", n - 1),
        };
        let places = states.iter().map(|&v| scope.at_value(v)).collect();
        let found = Found::each(places, |_| {
            format!("{whose} {width} wide, not a multiple of {STEP}")
        })?;
        let found = found.number(width).limit(STEP);
        Some(found.help("pad the last axis of the state"))
    });
    found.collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(width: u64) -> Sketch {
        let mut s = Sketch::new();
        let state = s.state("cache", Float16, &[1, width]);
        let x = s.op("read_state", &[("input", state)]);
        s.output(x);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(270)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(256)
    }
}
