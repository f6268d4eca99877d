//! Very many enumerated shapes.

use milwright_ir::Severity;
use milwright_ir::features::Flexibility;

use crate::lint::finding::{Confidence, Effect, Found, Rule};
use crate::lint::patterns::flexible;
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "enumerated-shapes-count",
    ids: &["FLX02"],
    severity: Severity::Warning,
    effect: Effect::Slow,
    units: &[],
    confidence: Confidence::Documented,
    summary: "An input has more than 128 enumerated shapes.",
    details: "\
Core ML prepares each enumerated shape by itself; Apple documents that at most 128 are taken.

Keep the sizes that matter and pad to the next one, or write one function for each size.",
    sources: &["apple/coremltools docs-guides/source/flexible-inputs.md"],
    disputed: None,
    check,
};

const LIMIT: usize = 128;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let many = flexible(scope).into_iter().filter_map(|(v, flexibility)| {
        let Flexibility::Enumerated(shapes) = flexibility else {
            return None;
        };
        let count = shapes.len();
        let message = format!(
            "`{}` has {count} enumerated shapes, at most {LIMIT} are documented to be taken",
            scope.value(v).name
        );
        let found = Found::at(scope.at_value(v), message);
        let found = found
            .number(count)
            .limit(LIMIT)
            .help("keep fewer shapes and pad to the next");
        (count > LIMIT).then_some(found)
    });
    many.collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(count: u64) -> Sketch {
        let mut s = Sketch::new();
        let shapes: Vec<[u64; 2]> = (1..=count).map(|n| [1, n]).collect();
        let shapes: Vec<&[u64]> = shapes.iter().map(|s| s.as_slice()).collect();
        let x = s.enumerated("x", Float16, &shapes);
        let y = s.op("relu", &[("x", x)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(129)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(128)
    }
}
