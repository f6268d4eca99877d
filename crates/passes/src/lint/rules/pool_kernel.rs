//! Large pooling windows.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "pool-kernel",
    ids: &["OP23"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "A pooling window is larger than the Neural Engine takes.",
    details: "\
`max_pool` wider than 8, measured on M4: 1 x 9 is refused and 9 x 1 taken. `avg_pool` wider or \
higher than 14 was not tested and is possible. Pooling over a whole axis is better a reduction.

Pool in two steps.",
    sources: &["751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/coreml_dispatch.md"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let found = scope.of_type(&["avg_pool", "max_pool"]).filter_map(|id| {
        let (size, limit) = excess(scope, id)?;
        let message = format!("the window is {size} wide, at most {limit} is known to be taken");
        let found = Found::at(scope.at(id), message).number(size).limit(limit);
        let found = found.help("pool in two steps");
        Some(match scope.is_type(id, &["avg_pool"]) {
            true => found.confidence(Confidence::Folklore),
            false => found,
        })
    });
    found.collect()
}

fn excess(scope: &Scope<'_>, id: OpId) -> Option<(u64, u64)> {
    let sizes = scope.ints(id, "kernel_sizes")?;
    let (size, limit) = match scope.is_type(id, &["max_pool"]) {
        true => (*sizes.last()?, 8),
        false => (*sizes.iter().max()?, 14),
    };
    (size > limit).then_some((size.unsigned_abs(), limit.unsigned_abs()))
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(op: &str, kernel: &[i32]) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 4, 64, 64]);
        let kernel = s.ints(kernel);
        let y = s.typed_op(op, &[("x", x), ("kernel_sizes", kernel)], &[(Float16, &[1, 4, 64, 64])]);
        s.output(y[0]);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program("max_pool", &[1, 9])
    }

    pub(crate) fn near_miss() -> Sketch {
        program("max_pool", &[9, 8])
    }

    #[test]
    fn averages_are_possible_only() {
        let found = program("avg_pool", &[15, 1]).findings(&super::RULE);
        assert!(found[0].diagnostic.message.starts_with("possible: "));
        assert!(program("avg_pool", &[14, 14]).findings(&super::RULE).is_empty());
    }
}
