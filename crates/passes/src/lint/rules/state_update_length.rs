//! Long updates of a state.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::patterns::{state_updates, update_length};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "state-update-length",
    ids: &["ST03"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Reported,
    summary: "A state is updated by more than 32 rows at once.",
    details: "\
`slice_update` of a state by 128 rows failed on the Neural Engine where 16 and 32 ran. The \
reason is not known; those who saw it suspect the size.

Process long prompts in chunks of at most 32.",
    sources: &["Anemll/Anemll#27", "apple/coremltools#2553"],
    disputed: Some("The cause is a guess of those who reported it."),
    check,
};

const LIMIT: u64 = 32;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let long = state_updates(scope).filter_map(|id| {
        let length = update_length(scope, id).filter(|&n| n > LIMIT)?;
        let message =
            format!("a state is updated by {length} rows at once, {LIMIT} were seen to work");
        let found = Found::at(scope.at(id), message).number(length).limit(LIMIT);
        Some(found.help("update in chunks"))
    });
    long.collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(length: u64) -> Sketch {
        let mut s = Sketch::new();
        let state = s.state("cache", Float16, &[1, 8, 256, 64]);
        let new = s.input("new", Float16, &[1, 8, length, 64]);
        let x = s.op("read_state", &[("input", state)]);
        let (begin, end) = (s.ints(&[0, 0, 0, 0]), s.ints(&[1, 8, length as i32, 64]));
        let args = [("x", x), ("update", new), ("begin", begin), ("end", end)];
        let x = s.op("slice_update", &args);
        s.output(x);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(128)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(32)
    }
}
