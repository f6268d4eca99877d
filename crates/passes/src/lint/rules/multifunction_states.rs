//! Several states in one of several functions.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::patterns::{state_updates, states, update_length};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "multifunction-states",
    ids: &["ST06"],
    severity: Severity::Error,
    effect: Effect::Load,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "A model of several functions updates two or more states by several rows at once.",
    details: "\
On an iPhone 17 Pro, a model with several functions, two states and updates of more than one row \
was refused by the Neural Engine's compiler. With one function, or one row at a time, it was \
not.

Split the model into one for each function.",
    sources: &["john-rocky/CoreML-LLM docs/STAGE8_DESIGN.md"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let count = states(scope).len();
    if scope.functions < 2 || count < 2 {
        return Vec::new();
    }
    let long = |&id: &_| update_length(scope, id).is_some_and(|n| n > 1);
    let places = scope.at_all(state_updates(scope).filter(long));
    let found = Found::each(places, |n| {
        format!(
            "{n} updates of several rows in a model of {} functions with {count} states",
            scope.functions
        )
    });
    let help = "write one model for each function";
    found.map(|f| f.help(help)).into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(length: u64) -> Sketch {
        let mut s = Sketch::new();
        for name in ["keys", "values"] {
            let state = s.state(name, Float16, &[1, 64, 32]);
            let new = s.input(&format!("new_{name}"), Float16, &[1, length, 32]);
            let x = s.op("read_state", &[("input", state)]);
            let (begin, end) = (s.ints(&[0, 0, 0]), s.ints(&[1, length as i32, 32]));
            let args = [("x", x), ("update", new), ("begin", begin), ("end", end)];
            let x = s.op("slice_update", &args);
            s.output(x);
        }
        let mut other = s.program.functions[0].clone();
        other.name = "other".into();
        other.inputs.clear();
        other.specializations.clear();
        s.program.functions.push(other);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(16)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(1)
    }
}
