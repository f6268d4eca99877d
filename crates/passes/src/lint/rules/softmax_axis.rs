//! Softmax along a spatial axis.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "softmax-axis",
    ids: &["OP26"],
    severity: Severity::Note,
    effect: Effect::Slow,
    units: &[Unit::Ane],
    confidence: Confidence::Documented,
    summary: "A softmax runs along a long spatial axis.",
    details: "\
Counts `softmax` over four axes along one of the last two, of 1024 elements or more; that number is \
ours, the guide says \"large\". It keeps the Neural Engine from splitting the work.

Put the axis that is summed over on the channels: keys on `C` in `[B, C, 1, S]`.",
    sources: &["apple/coreai-models neural_engine_rules.md"],
    disputed: None,
    check,
};

const LIMIT: u64 = 1_024;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let long = |&id: &OpId| extent(scope, id).is_some_and(|n| n >= LIMIT);
    let ops: Vec<OpId> = scope.of_type(&["softmax"]).filter(long).collect();
    let longest = ops.iter().filter_map(|&id| extent(scope, id)).max().unwrap_or(0);
    let found = Found::each(scope.at_all(ops), |n| {
        format!("{n} x `softmax` along a spatial axis of up to {longest}, {LIMIT} or more")
    });
    found.map(|f| f.number(longest).limit(LIMIT)).into_iter().collect()
}

/// The length of the axis, if it is one of the last two of four.
fn extent(scope: &Scope<'_>, id: OpId) -> Option<u64> {
    let shape = &scope.param(id, "x")?.shape;
    let axis = scope.axis(id, "axis", shape.len())?;
    let spatial = shape.len() == 4 && axis >= 2;
    shape.get(axis)?.known().filter(|_| spatial)
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(axis: i32) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 1_024, 1, 1_024]);
        let axis = s.int(axis);
        let y = s.op("softmax", &[("x", x), ("axis", axis)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(-1)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(1)
    }
}
