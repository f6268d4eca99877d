//! Very many functions.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "many-functions",
    ids: &["MF01"],
    severity: Severity::Note,
    effect: Effect::Load,
    units: &[Unit::Ane],
    confidence: Confidence::Folklore,
    summary: "A process is said to hold about a hundred programs for the Neural Engine.",
    details: "\
Users of the private interface found that a process holds about 100 to 119 compiled programs for \
the Neural Engine. Whether functions of one model count is not known.

Load what is used at the same time, and no more.",
    sources: &["Orion and maderix notes on the private interface"],
    disputed: None,
    check,
};

const LIMIT: usize = 100;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let count = scope.functions;
    let message =
        format!("the model has {count} functions; a process is said to hold {LIMIT} programs");
    let found = Found::model(message).number(count).limit(LIMIT);
    (count > LIMIT).then_some(found).into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(functions: usize) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 64]);
        let x = s.op("relu", &[("x", x)]);
        s.output(x);
        for n in 1..functions {
            let mut other = s.program.functions[0].clone();
            other.name = format!("f{n}");
            other.specializations.clear();
            s.program.functions.push(other);
        }
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(101)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(100)
    }
}
