//! Whole numbers in fp16.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "fp16-counting",
    ids: &["DT18"],
    severity: Severity::Note,
    effect: Effect::Numbers,
    units: &[],
    confidence: Confidence::Measured,
    summary: "fp16 counts beyond 2048, where it skips whole numbers.",
    details: "\
Finds `cumsum` in fp16 along an axis longer than 2048, and `range_1d` in fp16 that ends beyond \
2048: positions and sums of ones are inexact there.

Count on the host or in int32, or keep high and low parts apart.",
    sources: &["sbryngelson/ANEForge docs/numeric-cliffs.md"],
    disputed: None,
    check,
};

const LIMIT: u64 = 2_048;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let far = scope.of_type(&["cumsum", "range_1d"]).filter_map(|id| {
        let count = counts_to(scope, id).filter(|&n| n > LIMIT && scope.is_half(id))?;
        let message = format!("fp16 counts to {count}, and skips whole numbers beyond {LIMIT}");
        Some(Found::at(scope.at(id), message).number(count).limit(LIMIT))
    });
    far.collect()
}

fn counts_to(scope: &Scope<'_>, id: OpId) -> Option<u64> {
    if scope.is_type(id, &["range_1d"]) {
        return scope.float(id, "end").map(|end| end.abs() as u64);
    }
    let shape = &scope.param(id, "x")?.shape;
    let axis = scope.axis(id, "axis", shape.len())?;
    shape.get(axis)?.known()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(length: u64) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, length]);
        let axis = s.int(-1);
        let (no, never) = (s.bool(false), s.bool(false));
        let y = s.op(
            "cumsum",
            &[("x", x), ("axis", axis), ("exclusive", no), ("reverse", never)],
        );
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(2_049)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(2_048)
    }
}
