//! Tests for NaN.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "nan-test",
    ids: &["DT23"],
    severity: Severity::Warning,
    effect: Effect::Numbers,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "A value is compared with itself, which finds NaN elsewhere but not here.",
    details: "\
Finds `equal` and `not_equal` of a float value with itself: a test for NaN. The Neural Engine may \
turn NaN into infinity (M4, M6), so that the test sees none.

Mask explicitly what must not count.",
    sources: &["751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/numerics.md"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let same = |&id: &OpId| {
        let x = scope.operand(id, "x");
        let float = scope.param(id, "x").is_some_and(|t| t.dtype.is_float());
        float && x.is_some() && x == scope.operand(id, "y")
    };
    let ops = scope.of_type(&["equal", "not_equal"]).filter(same);
    let found = Found::each(scope.at_all(ops), |n| {
        format!("{} for NaN, which may have become infinity", counted(n, "test"))
    });
    found.map(|f| f.help("mask explicitly")).into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(other: bool) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 64]);
        let y = s.input("y", Float16, &[1, 64]);
        let z = s.op("not_equal", &[("x", x), ("y", if other { y } else { x })]);
        s.output(z);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(false)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(true)
    }
}
