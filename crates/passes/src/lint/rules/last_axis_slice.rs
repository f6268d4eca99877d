//! Slices that begin in the middle of the last axis.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;
use crate::lint::target::Family;

pub(super) static RULE: Rule = Rule {
    name: "last-axis-slice",
    ids: &["DT19"],
    severity: Severity::Note,
    effect: Effect::Numbers,
    units: &[Unit::Ane],
    confidence: Confidence::Reported,
    summary: "On A14 and M1, slices that begin inside of the last axis overflow beyond 4094.",
    details: "\
Counts `slice_by_index` in fp16 with a nonzero begin on the last axis, for A14, M1 and unknown \
devices. Values of magnitude 4094 and more became infinite there (private interface); from A15 and \
M2 on they do not. What values there are is not in the file, so this is a note.

Slice another axis, or scale first.",
    sources: &[
        "sbryngelson/ANEForge docs/cross-chip.md",
        "sbryngelson/ANEForge docs/numeric-cliffs.md",
    ],
    disputed: None,
    check,
};

/// Whether an operation slices the last axis from a place other than its begin.
pub(super) fn begins_inside(scope: &Scope<'_>, id: OpId) -> bool {
    let masked = scope.view(id).bools("begin_mask").ok().and_then(|m| m.known());
    let masked = masked.and_then(|m| m.last().copied()).unwrap_or(false);
    let begin = scope.ints(id, "begin").and_then(|b| b.last().copied());
    scope.is_type(id, &["slice_by_index"]) && scope.is_half(id) && !masked && begin.is_some_and(|b| b != 0)
}

fn check(scope: &Scope<'_>) -> Vec<Found> {
    if scope.target.family() > Family::H13 {
        return Vec::new();
    }
    let ops = scope.active().filter(|&id| begins_inside(scope, id));
    let found = Found::each(scope.at_all(ops), |n| {
        format!("{} from inside of the last axis; on A14 and M1 values beyond 4094 overflow", counted(n, "slice"))
    });
    found.map(|f| f.limit(4_094u64)).into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(begin: &[i32]) -> Sketch {
        let mut s = Sketch::for_target("m1");
        let x = s.input("x", Float16, &[1, 8, 64]);
        let (begin, end) = (s.ints(begin), s.ints(&[1, 8, 64]));
        let y = s.op("slice_by_index", &[("x", x), ("begin", begin), ("end", end)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(&[0, 0, 32])
    }

    pub(crate) fn near_miss() -> Sketch {
        program(&[0, 4, 0])
    }
}
