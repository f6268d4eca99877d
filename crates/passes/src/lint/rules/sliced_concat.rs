//! Concatenated slices of the last axis.

use milwright_ir::{Arg, OpId, Severity};

use super::last_axis_slice::begins_inside;
use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;
use crate::lint::target::Family;

pub(super) static RULE: Rule = Rule {
    name: "sliced-concat",
    ids: &["OP37"],
    severity: Severity::Warning,
    effect: Effect::Numbers,
    units: &[Unit::Ane],
    confidence: Confidence::Reported,
    summary: "On A14, A15, M1 and M2, concatenating slices of the last axis mixes elements up.",
    details: "\
Finds `concat` of two or more `slice_by_index` that begin inside of the last axis, for those chips \
and unknown devices (private interface): the result had wrong elements.

Transpose first, and slice along the channels.",
    sources: &["sbryngelson/ANEForge docs/cross-chip.md"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    if scope.target.family() > Family::H14 {
        return Vec::new();
    }
    let mixed = |&id: &OpId| {
        let slices = scope.op(id).args("values").iter().filter(|arg| match arg {
            Arg::Value(v) => scope.program.def_op(*v).is_some_and(|s| begins_inside(scope, s)),
            Arg::Const(_) => false,
        });
        slices.count() > 1
    };
    let found = Found::each(scope.at_all(scope.of_type(&["concat"]).filter(mixed)), |n| {
        format!("{} of slices of the last axis; on A14, A15, M1 and M2 elements are mixed up", counted(n, "concatenation"))
    });
    found
        .map(|f| f.help("transpose first, and slice along the channels"))
        .into_iter()
        .collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::Arg;
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(begins: [i32; 2]) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 64]);
        let parts = begins.map(|at| {
            let (begin, end) = (s.ints(&[0, at]), s.ints(&[1, at + 8]));
            Arg::Value(s.op("slice_by_index", &[("x", x), ("begin", begin), ("end", end)]))
        });
        let (axis, no) = (s.int(-1), s.bool(false));
        let y = s.any_op(
            "concat",
            vec![
                ("values", parts.to_vec()),
                ("axis", vec![Arg::Value(axis)]),
                ("interleave", vec![Arg::Value(no)]),
            ],
        );
        s.output(y[0]);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program([32, 8])
    }

    pub(crate) fn near_miss() -> Sketch {
        program([32, 0])
    }
}
