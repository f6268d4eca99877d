//! Memory for the largest of several shapes.

use milwright_ir::Severity;
use milwright_ir::features::Flexibility;

use crate::lint::finding::{Confidence, Effect, Found, Rule};
use crate::lint::patterns::flexible;
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "enumerated-memory",
    ids: &["FLX07"],
    severity: Severity::Note,
    effect: Effect::Memory,
    units: &[],
    confidence: Confidence::Reported,
    summary: "Memory is taken for the largest enumerated shape, whatever is given.",
    details: "\
Core ML sizes its memory by the largest enumerated shape. A model that mostly gets small inputs \
takes as much as one that gets large ones.

When memory is short, write one model or function for each size.",
    sources: &["apple/coremltools#1249"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let size = |shape: &Vec<u64>| shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
    let varied = flexible(scope).into_iter().filter_map(|(v, flexibility)| {
        let Flexibility::Enumerated(shapes) = flexibility else {
            return None;
        };
        let sizes: Vec<u64> = shapes.iter().filter_map(size).collect();
        let (low, high) = (*sizes.iter().min()?, *sizes.iter().max()?);
        let name = &scope.value(v).name;
        let message = format!(
            "memory is taken for the largest shape of `{name}`, {high} elements; the smallest has {low}"
        );
        let found = Found::at(scope.at_value(v), message).number(high);
        (high > low).then_some(found)
    });
    varied.collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(last: &[u64]) -> Sketch {
        let mut s = Sketch::new();
        let x = s.enumerated("x", Float16, &[&[1, 8], last]);
        let y = s.op("relu", &[("x", x)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(&[1, 512])
    }

    pub(crate) fn near_miss() -> Sketch {
        program(&[2, 4])
    }
}
