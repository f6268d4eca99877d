//! Palettes of vectors.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::patterns::{compressed, is_depthwise, palette};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "vector-palette",
    ids: &["Q08"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Folklore,
    summary: "A palette of vectors on a depthwise, transposed or dilated convolution.",
    details: "\
The compiler for the Neural Engine has messages that refuse palettes of vectors together with \
depthwise, transposed or dilated convolutions. When they come is not known.

Use a palette of scalars for these layers.",
    sources: &["pkhairkh/MILLer ane-constraints-docs/03-placement-and-compiler"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let found = compressed(scope, &["constexpr_lut_to_dense"]).filter_map(|(id, made, _)| {
        let (_, length) = palette(scope, made)?;
        let dilated = scope
            .ints(id, "dilations")
            .unwrap_or_default()
            .iter()
            .any(|&d| d > 1);
        let what = if scope.is_type(id, &["conv_transpose"]) {
            "transposed"
        } else if is_depthwise(scope, id) {
            "depthwise"
        } else if dilated {
            "dilated"
        } else {
            return None;
        };
        let message = format!("a palette of vectors of {length} on a {what} convolution");
        let found = Found::at(scope.at(id), message).number(length);
        (length > 1).then(|| found.help("use a palette of scalars"))
    });
    found.collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::{Float16, UInt4};

    use crate::lint::testing::Sketch;

    fn program(length: u64) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 8, 16, 16]);
        let indices = s.weight(UInt4, &[4 / length, 8, 3, 3]);
        let lut = s.weight(Float16, &[1, 1, 1, 1, 16, length]);
        let axis = s.int(0);
        let args = [("indices", indices), ("lut", lut), ("vector_axis", axis)];
        let weight = s.op("constexpr_lut_to_dense", &args);
        let y = s.conv_with(x, weight, &[1, 1], &[2, 2], 1);
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
