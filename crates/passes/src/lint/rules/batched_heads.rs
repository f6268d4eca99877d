//! Attention heads as a batch.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "batched-heads",
    ids: &["OP33"],
    severity: Severity::Note,
    effect: Effect::Slow,
    units: &[Unit::Ane],
    confidence: Confidence::Documented,
    summary: "Attention multiplies all heads as one batch.",
    details: "\
Counts `matmul` of two computed tensors of four axes with more than one head on the second axis, \
whose result goes into a `softmax` or comes out of one. Apple's guides split the heads and \
contract `bchq,bkhc->bkhq` for each.

Nothing here rewrites it; it is a choice when the model is exported.",
    sources: &[
        "apple/coreai-models neural_engine_rules.md",
        "apple/ml-ane-transformers README.md",
        "apple/ml-stable-diffusion python_coreml_stable_diffusion/attention.py",
        "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/whisper_compile.md",
        "erwinzhang7/coreml-compute-placement PAPER.md",
    ],
    disputed: Some(
        "with heads times layers beyond about 500 the split makes the compiler explode, and it slows \
         the GPU.",
    ),
    check,
};

const BETWEEN: [&str; 7] = ["add", "cast", "mul", "real_div", "reshape", "select", "transpose"];

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let found = Found::each(
        scope.at_all(scope.of_type(&["matmul"]).filter(|&id| is_batched(scope, id))),
        |n| format!("{} of attention over all heads as one batch", counted(n, "product")),
    );
    found.into_iter().collect()
}

fn is_batched(scope: &Scope<'_>, id: OpId) -> bool {
    let computed = !scope.has_static(id, "x") && !scope.has_static(id, "y");
    let Some(x) = scope.param(id, "x").filter(|t| t.shape.len() == 4 && computed) else {
        return false;
    };
    let heads = x.shape.get(1).and_then(|d| d.known()).is_some_and(|h| h > 1);
    let outputs = &scope.op(id).outputs;
    let into = outputs.iter().any(|&v| scope.reaches(v, &BETWEEN, &["softmax"]).is_some());
    heads && (into || scope.either_source(id, &["softmax"]).is_some())
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(heads: u64) -> Sketch {
        let mut s = Sketch::new();
        let q = s.input("q", Float16, &[1, heads, 8, 64]);
        let k = s.input("k", Float16, &[1, heads, 8, 64]);
        let (no, yes) = (s.bool(false), s.bool(true));
        let y = s.op(
            "matmul",
            &[("x", q), ("y", k), ("transpose_x", no), ("transpose_y", yes)],
        );
        let axis = s.int(-1);
        let y = s.op("softmax", &[("x", y), ("axis", axis)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(2)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(1)
    }
}
