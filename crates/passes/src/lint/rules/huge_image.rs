//! Very large images.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "huge-image",
    ids: &["SHP13"],
    severity: Severity::Warning,
    effect: Effect::Load,
    units: &[Unit::Ane],
    confidence: Confidence::Folklore,
    summary: "An input has the size of a very large image.",
    details: "\
An input whose last two axes are both 5000 or more. One report: an image of 5568 x 5568 did not \
compile for the Neural Engine of an M1.

Cut the image into tiles.",
    sources: &["apple/coremltools#2247"],
    disputed: None,
    check,
};

const LIMIT: u64 = 5_000;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let inputs = scope.function.inputs.iter();
    let huge = inputs.filter_map(|&value| {
        let sizes = scope.largest(value)?;
        let [.., Some(h), Some(w)] = sizes.as_slice() else {
            return None;
        };
        let least = *h.min(w);
        let message = format!(
            "input `{}` is {h} x {w}; an image of which both sides are {LIMIT} or more, here \
             {least}, did not compile",
            scope.value(value).name
        );
        let found = Found::at(scope.at_value(value), message);
        (least >= LIMIT).then(|| found.number(least).limit(LIMIT).help("cut the image into tiles"))
    });
    huge.collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(side: u64) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 3, 6_000, side]);
        s.output(x);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(5_000)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(4_999)
    }
}
