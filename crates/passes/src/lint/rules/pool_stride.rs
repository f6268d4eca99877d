//! Strides of pooling.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "pool-stride",
    ids: &["OP24"],
    severity: Severity::Note,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Documented,
    summary: "Pooling with a stride other than 2 or 4.",
    details: "\
Counts `max_pool`, `avg_pool` and `l2_pool` with a stride other than 1, 2 and 4. The guide names 2 \
and 4; a stride of 1 is left out here, because it would name every smoothing.

Pool in several steps.",
    sources: &[
        "apple/coreai-models neural_engine_rules.md",
        "pkhairkh/MILLer ane-constraints-docs",
    ],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let ops = scope.of_type(&["avg_pool", "l2_pool", "max_pool"]);
    let ops: Vec<(OpId, u64)> = ops.filter_map(|id| Some((id, odd(scope, id)?))).collect();
    let first = ops.first().map_or(0, |&(_, s)| s);
    let found = Found::each(scope.at_all(ops.iter().map(|&(id, _)| id)), |n| {
        format!("{} with a stride such as {first}; 2 and 4 are known to be taken", counted(n, "pooling"))
    });
    found.map(|f| f.number(first)).into_iter().collect()
}

fn odd(scope: &Scope<'_>, id: OpId) -> Option<u64> {
    let strides = scope.ints(id, "strides")?;
    let odd = strides.into_iter().find(|s| ![1, 2, 4].contains(s))?;
    u64::try_from(odd).ok()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(stride: i32) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 4, 64, 64]);
        let strides = s.ints(&[stride, stride]);
        let y = s.typed_op("max_pool", &[("x", x), ("strides", strides)], &[(Float16, &[1, 4, 21, 21])]);
        s.output(y[0]);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(3)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(4)
    }
}
