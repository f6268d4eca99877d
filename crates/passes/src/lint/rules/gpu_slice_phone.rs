//! Slices on the GPU of a telephone.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;
use crate::lint::target::Target;

pub(super) static RULE: Rule = Rule {
    name: "gpu-slice-phone",
    ids: &["MPS06"],
    severity: Severity::Note,
    effect: Effect::Slow,
    units: &[Unit::Gpu],
    confidence: Confidence::Reported,
    summary: "`slice_by_index` was seen to run on the CPU of a telephone when the GPU was asked for.",
    details: "\
One report has every `slice_by_index` of a model on the CPU of an iPhone that was loaded for CPU \
and GPU; each costs a copy there and back. Found only when the target is a telephone.

Use `split`, or slice where the model begins or ends.",
    sources: &["apple/coremltools#2550"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    if scope.target == Target::Any || !scope.target.may_be_phone() {
        return Vec::new();
    }
    let places = scope.at_all(scope.of_type(&["slice_by_index"]));
    let found = Found::each(places, |n| {
        format!("{n} slices, which a telephone was seen to run on its CPU")
    });
    found.into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(target: &str) -> Sketch {
        let mut s = Sketch::for_target(target);
        let x = s.input("x", Float16, &[1, 64]);
        let (begin, end) = (s.ints(&[0, 0]), s.ints(&[1, 32]));
        let x = s.op(
            "slice_by_index",
            &[("x", x), ("begin", begin), ("end", end)],
        );
        s.output(x);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program("iphone15")
    }

    pub(crate) fn near_miss() -> Sketch {
        program("m2")
    }
}
