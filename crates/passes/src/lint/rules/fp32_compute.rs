//! Single precision.

use milwright_ir::{DataType, OpId, Severity, ValueType};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "fp32-compute",
    ids: &["DT01"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "Operations compute in single precision, which the Neural Engine never does.",
    details: "\
Counts the operations that read or make an fp32 tensor, casts apart, among all that run; one \
finding for each function. An fp16 program with fp32 inputs and outputs is fine: casts at its \
edges cost little.

Convert the model again with fp16 as compute precision (`compute_precision=FLOAT16`). Look first \
at what fp16 does to its numbers: `milwright verify MODEL --against MODEL --precision half`.",
    sources: &[
        "orukahairuka/coreml-audio-research docs/2026-05-19/compute-plan-analysis.md",
        "apple/coreai-models neural_engine_rules.md",
        "apple/coremltools docs-guides/source/typed-execution.md",
    ],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let computing = |&id: &OpId| !scope.is_type(id, &["cast"]);
    let all = scope.active().filter(computing).count();
    let single: Vec<OpId> = scope
        .active()
        .filter(computing)
        .filter(|&id| is_single(scope, id))
        .collect();
    let found = Found::each(scope.at_all(single), |n| {
        let share = 100.0 * n as f64 / all.max(1) as f64;
        format!("{n} of {all} operations ({share:.0} %) in fp32; the Neural Engine takes none of them")
    });
    found
        .map(|f| f.help("convert the model with fp16 as compute precision"))
        .into_iter()
        .collect()
}

/// Whether an operation reads or makes an fp32 tensor while the program runs.
fn is_single(scope: &Scope<'_>, id: OpId) -> bool {
    let op = scope.op(id);
    let read = op.operands().filter(|&v| !scope.is_static(v));
    let is = |ty: &ValueType| ty.as_tensor().is_some_and(|t| t.dtype == DataType::Float32);
    read.chain(op.outputs.iter().copied()).any(|v| is(&scope.value(v).ty))
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::{Float16, Float32};

    use crate::lint::testing::Sketch;

    pub(crate) fn triggers() -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float32, &[1, 64]);
        let y = s.op("relu", &[("x", x)]);
        s.output(y);
        s
    }

    /// Casts at the edges.
    pub(crate) fn near_miss() -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float32, &[1, 64]);
        let x = s.cast(x, Float16);
        let y = s.op("relu", &[("x", x)]);
        let y = s.cast(y, Float32);
        s.output(y);
        s
    }

    #[test]
    fn the_share_is_named() {
        let found = triggers().findings(&super::RULE);
        assert!(found[0].diagnostic.message.starts_with("1 of 1 operations (100 %)"));
    }
}
