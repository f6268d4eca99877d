//! Several states that are updated in place.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::patterns::{state_updates, states};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "several-states",
    ids: &["ST04"],
    severity: Severity::Error,
    effect: Effect::Load,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "A function updates two or more states in place, which the Neural Engine may refuse.",
    details: "\
On an iPhone 17 Pro (A19, iOS 26) models with three or more states and `slice_update` failed on \
the Neural Engine with status 0x1d. With two states one model ran and seven variants of another \
failed: two are a warning here, three an error.

Keep all of it in one state, with an axis that says which part is meant, or pass the caches as \
inputs and outputs.",
    sources: &[
        "john-rocky/CoreML-LLM docs/LFM2_CONVERSION_FINDINGS.md",
        "john-rocky/CoreML-LLM docs/MLSTATE_PATTERN.md",
    ],
    disputed: Some(
        "Depends on the model: Apple's own language models with a state for keys and one for \
         values run, and other projects run more.",
    ),
    check,
};

const LIMIT: usize = 1;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let all = states(scope);
    let count = all.len();
    if count <= LIMIT || state_updates(scope).next().is_none() {
        return Vec::new();
    }
    let places = all.into_iter().map(|v| scope.at_value(v)).collect();
    let found = Found::each(places, |n| {
        format!("{n} states and updates in place; {LIMIT} is what ran in every report")
    });
    let severity = if count > 2 {
        Severity::Error
    } else {
        Severity::Warning
    };
    let help = "merge the states, or pass them as inputs and outputs";
    let found = found.map(|f| f.number(count).limit(LIMIT).severity(severity).help(help));
    found.into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(states: usize) -> Sketch {
        let mut s = Sketch::new();
        for n in 0..states {
            let state = s.state(&format!("cache{n}"), Float16, &[1, 64]);
            let new = s.input(&format!("new{n}"), Float16, &[1, 32]);
            let x = s.op("read_state", &[("input", state)]);
            let (begin, end) = (s.ints(&[0, 0]), s.ints(&[1, 32]));
            let args = [("x", x), ("update", new), ("begin", begin), ("end", end)];
            let x = s.op("slice_update", &args);
            s.output(x);
        }
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(3)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(1)
    }

    #[test]
    fn two_are_a_warning() {
        let found = program(2).findings(&super::RULE);
        assert_eq!(
            found[0].diagnostic.severity,
            milwright_ir::Severity::Warning
        );
        let found = triggers().findings(&super::RULE);
        assert_eq!(found[0].diagnostic.severity, milwright_ir::Severity::Error);
    }
}
