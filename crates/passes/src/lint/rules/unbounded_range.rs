//! Ranges without an upper bound.

use milwright_ir::Severity;
use milwright_ir::features::Flexibility;

use crate::lint::finding::{Confidence, Effect, Found, Rule};
use crate::lint::patterns::flexible;
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "unbounded-range",
    ids: &["FLX05"],
    severity: Severity::Error,
    effect: Effect::Load,
    units: &[],
    confidence: Confidence::Documented,
    summary: "An input of an ML Program has a range without an upper bound.",
    details: "\
An ML Program needs an upper bound for every flexible size; only the older neural networks took \
ranges without one.

Set the largest size that the app will ever give.",
    sources: &["apple/coremltools docs-guides/source/flexible-inputs.md"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let open = flexible(scope).into_iter().filter_map(|(v, flexibility)| {
        let Flexibility::Ranges(ranges) = flexibility else {
            return None;
        };
        let axis = ranges.iter().position(|(_, high)| high.is_none())?;
        let message = format!(
            "`{}`{flexibility}: axis {axis} has no upper bound, and an ML Program needs one",
            scope.value(v).name
        );
        Some(Found::at(scope.at_value(v), message).help("set an upper bound"))
    });
    open.collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(high: Option<u64>) -> Sketch {
        let mut s = Sketch::new();
        let x = s.ranged("x", Float16, &[(1, Some(1)), (1, high)]);
        let y = s.op("relu", &[("x", x)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(None)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(Some(1 << 20))
    }
}
