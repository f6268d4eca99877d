//! Updates of a state at a place that is computed.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::patterns::state_updates;
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "state-dynamic-update",
    ids: &["ST08"],
    severity: Severity::Note,
    effect: Effect::Load,
    units: &[Unit::Ane],
    confidence: Confidence::Reported,
    summary: "A state is updated at a place that is known only when the program runs.",
    details: "\
In Apple's newer model format, an update whose place comes from an input ends the compiler for \
the Neural Engine when the model loads. In ML Programs the same was seen to work, so this is a \
note: if loading fails, try constant places, one function for each, or a mask.",
    sources: &["apple/coreai-torch#6", "apple/coreai-models#5"],
    disputed: Some("Not shown for ML Programs; there the pattern is common and runs."),
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let moved = state_updates(scope)
        .filter(|&id| !(scope.has_static(id, "begin") && scope.has_static(id, "end")));
    let found = Found::each(scope.at_all(moved), |n| {
        format!("{n} updates of states are at places that are known only when the program runs")
    });
    found.into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::{Float16, Int32};

    use crate::lint::testing::Sketch;

    fn program(moved: bool) -> Sketch {
        let mut s = Sketch::new();
        let state = s.state("cache", Float16, &[256, 64]);
        let new = s.input("new", Float16, &[1, 64]);
        let at = s.input("at", Int32, &[2]);
        let x = s.op("read_state", &[("input", state)]);
        let (begin, end) = match moved {
            true => (at, at),
            false => (s.ints(&[3, 0]), s.ints(&[4, 64])),
        };
        let args = [("x", x), ("update", new), ("begin", begin), ("end", end)];
        let x = s.op("slice_update", &args);
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
