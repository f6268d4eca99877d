//! Models that are too small for the Neural Engine.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "small-graph",
    ids: &["SEG02"],
    severity: Severity::Note,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "A small model stays on the CPU, whatever it is loaded for.",
    details: "\
Handing work to the Neural Engine and back costs a fixed time, so the planner leaves models \
below about 50 MB of weights and tensors, or a millisecond of work, on the CPU. It may be the \
right place for them. Counted are the weights and the tensors that the function computes, as far \
as their sizes are known.

Nothing needs to be done. To use the Neural Engine, give it more work at once: a batch, or \
longer inputs.",
    sources: &[
        "FluidInference/FluidAudio Documentation/ANE_Profiler.md",
        "vx-lang/Vx#436",
    ],
    disputed: None,
    check,
};

const LIMIT: u64 = 50_000_000;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let mut bytes = scope
        .weight_files
        .iter()
        .fold(0, |n: u64, (_, b)| n.saturating_add(*b));
    for (_, ty) in scope.tensors() {
        let Some(size) = ty.elements().and_then(|n| ty.dtype.byte_len(n)) else {
            return Vec::new();
        };
        bytes = bytes.saturating_add(size);
    }
    let message =
        format!("{bytes} bytes of weights and tensors; models below about {LIMIT} stay on the CPU");
    let found = Found::at(scope.here(), message).number(bytes).limit(LIMIT);
    (bytes < LIMIT).then_some(found).into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(bytes: u64) -> Sketch {
        let mut s = Sketch::new().weight_file("@model_path/weights/weight.bin", bytes);
        let x = s.input("x", Float16, &[1, 50]);
        let x = s.op("relu", &[("x", x)]);
        s.output(x);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(49_999_799)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(49_999_800)
    }
}
