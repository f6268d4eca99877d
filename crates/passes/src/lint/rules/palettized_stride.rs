//! Tables of weights with strides.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "palettized-stride",
    ids: &["OP18"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Documented,
    summary: "A convolution with palettized weights has a stride above 2.",
    details: "\
`conv` whose weights come out of a look-up table (`constexpr_lut_to_dense`), with a stride above 2.

Leave the weights of that convolution uncompressed, or move space into depth first.",
    sources: &[
        "apple/coreai-models neural_engine_rules.md",
        "pkhairkh/MILLer ane-constraints-docs",
    ],
    disputed: None,
    check,
};

const LIMIT: i64 = 2;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let found = scope.of_type(&["conv"]).filter_map(|id| {
        let stride = stride(scope, id).filter(|&s| s > LIMIT)?;
        let message = format!("palettized weights and a stride of {stride}, over {LIMIT}");
        let found = Found::at(scope.at(id), message);
        let found = found.number(stride.unsigned_abs()).limit(LIMIT.unsigned_abs());
        Some(found.help("leave these weights uncompressed"))
    });
    found.collect()
}

/// The largest stride of a convolution with palettized weights.
fn stride(scope: &Scope<'_>, id: OpId) -> Option<i64> {
    let weights = scope.source(id, "weight")?;
    if !scope.is_type(weights, &["constexpr_lut_to_dense"]) {
        return None;
    }
    scope.ints(id, "strides")?.into_iter().max()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(stride: i32) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 4, 64]);
        let weight = s.typed_op("constexpr_lut_to_dense", &[], &[(Float16, &[4, 4, 3])]);
        let y = s.conv(x, weight[0], &[stride]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(3)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(2)
    }
}
