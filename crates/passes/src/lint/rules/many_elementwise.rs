//! Very many small operations.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "many-elementwise",
    ids: &["SZ11"],
    severity: Severity::Warning,
    effect: Effect::Slow,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "More than 500 element-wise operations in one function take minutes to compile.",
    details: "\
On an M6, 512 element-wise layers took 179 seconds to compile for the Neural Engine, and the \
time grew with more than the third power of their number. Other devices were not measured.

Split the function, or compute more in each operation.",
    sources: &["751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/compile_cost.md"],
    disputed: None,
    check,
};

const LIMIT: usize = 500;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let count = scope
        .active()
        .filter(|&id| is_elementwise(scope, id))
        .count();
    let message = format!("{count} element-wise operations; about {LIMIT} took minutes to compile");
    let found = Found::at(scope.here(), message).number(count).limit(LIMIT);
    (count > LIMIT).then_some(found).into_iter().collect()
}

fn is_elementwise(scope: &Scope<'_>, id: OpId) -> bool {
    let family = scope.op(id).def.map(|def| def.family());
    matches!(family, Some("elementwise" | "unary" | "activation"))
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(count: usize) -> Sketch {
        let mut s = Sketch::new();
        let mut x = s.input("x", Float16, &[1, 64]);
        for _ in 0..count {
            x = s.op("relu", &[("x", x)]);
        }
        s.output(x);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(501)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(500)
    }
}
