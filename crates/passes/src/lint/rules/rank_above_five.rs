//! Tensors that nothing takes.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "rank-above-five",
    ids: &["SHP01"],
    severity: Severity::Error,
    effect: Effect::Load,
    units: &[],
    confidence: Confidence::Documented,
    summary: "A tensor has more than five axes.",
    details: "\
Every tensor that exists while the program runs may have at most five axes; constants may have \
more. Core ML refuses the model, and the converter refuses to write it.

Merge axes that are always used together, or split a batch axis into several calls.",
    sources: &[
        "apple/coremltools#1723",
        "apple/coremltools#2291",
        "pytorch/executorch#11694",
    ],
    disputed: None,
    check,
};

const LIMIT: usize = 5;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let high = scope.tensors().filter_map(|(value, ty)| {
        let rank = ty.rank().filter(|&r| r > LIMIT)?;
        let message = format!(
            "`{}` has {rank} axes, Core ML takes {LIMIT}",
            scope.value(value).name
        );
        Some(
            Found::at(scope.at_value(value), message)
                .number(rank)
                .limit(LIMIT)
                .help("merge axes that are used together"),
        )
    });
    high.collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(shape: &[u64]) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, shape);
        let y = s.op("relu", &[("x", x)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(&[1, 2, 3, 4, 5, 6])
    }

    pub(crate) fn near_miss() -> Sketch {
        program(&[2, 3, 4, 5, 6])
    }
}
