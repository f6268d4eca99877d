//! Tensors without elements.

use milwright_ir::{Dim, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "empty-tensor",
    ids: &["SHP15"],
    severity: Severity::Error,
    effect: Effect::Crash,
    units: &[Unit::Ane, Unit::Gpu],
    confidence: Confidence::Reported,
    summary: "A tensor has an axis of length 0.",
    details: "\
A size of 0 in a tensor that exists while the program runs, such as a part of a `split` of width \
0. GPU and Neural Engine compilers abort on it (macOS 26).

Drop the branch that computes nothing.",
    sources: &["ultralytics/ultralytics#25926"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let empty = scope.tensors().filter(|(_, ty)| ty.shape.contains(&Dim::Known(0)));
    let places = empty.map(|(value, _)| scope.at_value(value)).collect();
    let found = Found::each(places, |n| {
        format!("{} with an axis of length 0; 1 is the least", counted(n, "tensor"))
    });
    found
        .map(|f| f.number(0u64).limit(1u64).help("drop the branch that computes nothing"))
        .into_iter()
        .collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(width: u64) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 4]);
        let y = s.typed_op("slice_by_index", &[("x", x)], &[(Float16, &[1, width])]);
        s.output(y[0]);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(0)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(1)
    }
}
