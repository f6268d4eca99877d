//! Integers that are computed with.

use milwright_ir::{DataType, OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "int-arithmetic",
    ids: &["DT03"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "Operations compute with int32, which the Neural Engine does not take.",
    details: "\
Counts arithmetic (`add`, `sub`, `mul`, `floor_div`, `maximum`, `matmul`, reductions, ...) that \
runs on int32 tensors. What is computed from constants alone is folded and does not count.

Compute indices and lengths on the host and give them as inputs, or in fp16 while they stay \
below 2048.",
    sources: &["751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/coreml_dispatch.md"],
    disputed: None,
    check,
};

const ARITHMETIC: [&str; 16] = [
    "abs",
    "add",
    "clip",
    "floor_div",
    "matmul",
    "maximum",
    "minimum",
    "mod",
    "mul",
    "pow",
    "real_div",
    "reduce_max",
    "reduce_min",
    "reduce_sum",
    "sign",
    "sub",
];

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let whole = |&id: &OpId| {
        let mut all = scope.op(id).operands().chain(scope.op(id).outputs.iter().copied());
        all.any(|v| {
            !scope.is_static(v) && scope.tensor(v).is_some_and(|t| t.dtype == DataType::Int32)
        })
    };
    let places = scope.at_all(scope.of_type(&ARITHMETIC).filter(whole));
    let found = Found::each(places, |n| {
        format!("{} with int32; the Neural Engine takes no 32-bit numbers", counted(n, "operation"))
    });
    found
        .map(|f| f.help("compute indices and lengths on the host and give them as inputs"))
        .into_iter()
        .collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::{self, Float16, Int32};

    use crate::lint::testing::Sketch;

    fn program(dtype: DataType) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", dtype, &[1, 64]);
        let y = s.add(x, x);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(Int32)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(Float16)
    }
}
