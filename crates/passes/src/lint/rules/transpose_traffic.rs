//! Transposes that move the last axis.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "transpose-traffic",
    ids: &["SHP12"],
    severity: Severity::Note,
    effect: Effect::Slow,
    units: &[Unit::Ane],
    confidence: Confidence::Documented,
    summary: "Data goes through more than two transposes that move its last axis.",
    details: "\
Counts `transpose` whose permutation puts another axis last, along the longest path through the \
function; more than two are found. Each of them rewrites the whole tensor.

Push transposes to the edges of the model, or choose a layout in which they cancel (`bchq,bkhc->bkhq`).",
    sources: &[
        "apple/coreai-models neural_engine_rules.md",
        "apple/ml-ane-transformers README.md",
        "apple/ml-stable-diffusion python_coreml_stable_diffusion/attention.py",
    ],
    disputed: None,
    check,
};

const LIMIT: usize = 2;

fn moves_last(scope: &Scope<'_>, id: OpId) -> bool {
    let Some(perm) = scope.ints(id, "perm").filter(|_| scope.is_type(id, &["transpose"])) else {
        return false;
    };
    let last = perm.len() as i64 - 1;
    perm.last().is_some_and(|&p| p != last && p != -1)
}

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let (count, _) = scope.longest_path(|id| moves_last(scope, id));
    if count <= LIMIT {
        return Vec::new();
    }
    let places = scope.at_all(scope.active().filter(|&id| moves_last(scope, id)));
    let found = Found::each(places, |all| {
        format!(
            "one path goes through {count} transposes that move the last axis, more than {LIMIT}; \
             the function has {all}"
        )
    });
    found.map(|f| f.number(count).limit(LIMIT)).into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(count: usize) -> Sketch {
        let mut s = Sketch::new();
        let mut x = s.input("x", Float16, &[1, 64, 64]);
        for _ in 0..count {
            let perm = s.ints(&[0, 2, 1]);
            x = s.op("transpose", &[("x", x), ("perm", perm)]);
            x = s.op("relu", &[("x", x)]);
        }
        s.output(x);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(3)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(2)
    }
}
