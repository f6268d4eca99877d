//! Slices that go backwards.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "reversed-slice",
    ids: &["OP41"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Folklore,
    summary: "A slice goes backwards over part of an axis.",
    details: "\
`slice_by_index` with a negative stride whose result is shorter than the axis. A message of the \
compiler refuses partial views with negative strides.

Reverse the whole axis, then slice.",
    sources: &["pkhairkh/MILLer ane-constraints-docs"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let found = Found::each(
        scope.at_all(scope.of_type(&["slice_by_index"]).filter(|&id| is_partial(scope, id))),
        |n| format!("{} backwards over part of an axis", counted(n, "slice")),
    );
    found
        .map(|f| f.help("reverse the whole axis, then slice"))
        .into_iter()
        .collect()
}

fn is_partial(scope: &Scope<'_>, id: OpId) -> bool {
    let (Some(x), Some(y)) = (scope.param(id, "x"), scope.result(id)) else {
        return false;
    };
    let Some(strides) = scope.ints(id, "stride").filter(|_| x.shape.len() == y.shape.len()) else {
        return false;
    };
    let axes = strides.iter().zip(x.shape.iter().zip(&y.shape));
    let mut backwards = axes.filter(|(s, _)| **s < 0);
    backwards.any(|(_, (x, y))| x.known().zip(y.known()).is_some_and(|(x, y)| x != y))
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(length: u64) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 64]);
        let stride = s.ints(&[1, -1]);
        let y = s.typed_op("slice_by_index", &[("x", x), ("stride", stride)], &[(Float16, &[1, length])]);
        s.output(y[0]);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(63)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(64)
    }
}
