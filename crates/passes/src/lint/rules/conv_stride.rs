//! Unusual strides.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "conv-stride",
    ids: &["OP17"],
    severity: Severity::Note,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Documented,
    summary: "The stride of a convolution is none that the Neural Engine has.",
    details: "\
`conv` with a stride that is not one of 1, 2, 3, 4, 6, 8, 9, 12, 16, 24 and 32: products of 2 and \
3. On M4 strides of 2 to 8 ran, 5 and 7 among them, so it is a note.

Factor it into two convolutions, or move space into depth first.",
    sources: &[
        "apple/coreai-models neural_engine_rules.md",
        "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/coreml_dispatch.md",
    ],
    disputed: Some("on M4 every stride from 2 to 8 ran on the Neural Engine."),
    check,
};

const STRIDES: [i64; 11] = [1, 2, 3, 4, 6, 8, 9, 12, 16, 24, 32];

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let odd = |&id: &OpId| odd_stride(scope, id).is_some();
    let ops: Vec<OpId> = scope.of_type(&["conv"]).filter(odd).collect();
    let first = ops.first().and_then(|&id| odd_stride(scope, id));
    let found = Found::each(scope.at_all(ops), |n| {
        let first = first.unwrap_or(0);
        format!("{} with a stride such as {first}, no product of 2 and 3 up to 32", counted(n, "convolution"))
    });
    found
        .map(|f| f.number(first.unwrap_or(0)).limit(32u64))
        .into_iter()
        .collect()
}

fn odd_stride(scope: &Scope<'_>, id: OpId) -> Option<u64> {
    let strides = scope.ints(id, "strides")?;
    let odd = strides.into_iter().find(|s| !STRIDES.contains(s))?;
    u64::try_from(odd).ok()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(stride: i32) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 4, 64]);
        let weight = s.weight(Float16, &[4, 4, 3]);
        let y = s.conv(x, weight, &[stride]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(5)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(6)
    }
}
