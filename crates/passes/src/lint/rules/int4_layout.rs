//! 4-bit weights in the slower order.

use milwright_ir::{DataType, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::patterns::compressed;
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "int4-layout",
    ids: &["Q16"],
    severity: Severity::Note,
    effect: Effect::Slow,
    units: &[Unit::Gpu],
    confidence: Confidence::Measured,
    summary: "A 4-bit weight of a product is stored with its input channels first.",
    details: "\
On the GPU of an M4, a product with a 4-bit weight of shape [outputs, inputs] and `transpose_y` \
was 2.1 times as fast as with one of shape [inputs, outputs].

Store the weight transposed and set `transpose_y`.",
    sources: &["kasper0406/stablehlo-coreml#92"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let kinds = [
        "constexpr_blockwise_shift_scale",
        "constexpr_affine_dequantize",
    ];
    let slow = compressed(scope, &kinds).filter_map(|(id, made, outputs)| {
        let rank = scope.param(id, "y")?.rank()?;
        let data = scope.param(made, "data")?.dtype;
        let int4 = matches!(data, DataType::Int4 | DataType::UInt4);
        (int4 && outputs + 1 == rank).then_some(id)
    });
    let found = Found::each(scope.at_all(slow), |n| {
        format!("{n} products have 4-bit weights stored with their input channels first")
    });
    let help = "store the weights transposed, with `transpose_y`";
    found.map(|f| f.help(help)).into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::{Float16, Int4};

    use crate::lint::testing::Sketch;

    fn program(turned: bool) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 64]);
        let data = s.weight(Int4, &[64, 64]);
        let scale = s.weight(Float16, &[1, 1]);
        let args = [("data", data), ("scale", scale)];
        let weight = s.op("constexpr_blockwise_shift_scale", &args);
        let turned = s.bool(turned);
        let y = s.op(
            "matmul",
            &[("x", x), ("y", weight), ("transpose_y", turned)],
        );
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(false)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(true)
    }
}
