//! Transposes of long axes.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;
use crate::lint::target::Family;

pub(super) static RULE: Rule = Rule {
    name: "transpose-extent",
    ids: &["SHP17"],
    severity: Severity::Note,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Folklore,
    summary: "A transpose moves an axis longer than 16384.",
    details: "\
Before M4: `transpose` that moves an axis of more than 16384 elements. The source says that the \
limit grows with each family, but its formula cannot be read.

Transpose in parts.",
    sources: &["sbryngelson/ANEForge docs/cross-chip.md"],
    disputed: None,
    check,
};

const LIMIT: u64 = 16_384;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    if scope.target.family() >= Family::H16 {
        return Vec::new();
    }
    let long = scope.of_type(&["transpose"]).filter_map(|id| {
        let extent = moved(scope, id)?;
        let message = format!("the transpose moves an axis of {extent} elements, over {LIMIT}");
        Some(Found::at(scope.at(id), message).number(extent).limit(LIMIT))
    });
    long.collect()
}

/// The longest axis that changes its place, if it is too long.
fn moved(scope: &Scope<'_>, id: OpId) -> Option<u64> {
    let shape = &scope.param(id, "x")?.shape;
    let perm = scope.ints(id, "perm")?;
    let rank = shape.len() as i64;
    let moved = perm.iter().enumerate().filter_map(|(to, &from)| {
        let from = if from < 0 { from + rank } else { from };
        let from = usize::try_from(from).ok().filter(|&f| f != to)?;
        shape.get(from)?.known()
    });
    moved.max().filter(|&n| n > LIMIT)
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(extent: u64) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, extent, 4, 32]);
        let perm = s.ints(&[0, 2, 1, 3]);
        let y = s.op("transpose", &[("x", x), ("perm", perm)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(16_385)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(16_384)
    }
}
