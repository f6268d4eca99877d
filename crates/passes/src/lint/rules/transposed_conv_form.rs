//! Unusual transposed convolutions.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "transposed-conv-form",
    ids: &["OP22"],
    severity: Severity::Warning,
    effect: Effect::Crash,
    units: &[],
    confidence: Confidence::Reported,
    summary: "A transposed convolution with a stride of 16 or more, or a given output shape.",
    details: "\
`conv_transpose` with a stride of 16 or more, or with `output_shape` that is larger than the \
operation makes by itself (an output padding beyond the padding). Each was reported to fail on \
the CPU, to abort on the GPU, or to give other numbers than the CPU.

Resize and convolve, or convolve and shuffle channels into space (`pixel_shuffle`).",
    sources: &[
        "apple/coremltools#2450",
        "apple/coremltools#2281",
        "apple/coreai-torch#58",
    ],
    disputed: None,
    check,
};

const LIMIT: i64 = 16;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let found = scope.of_type(&["conv_transpose"]).filter_map(|id| {
        let stride = scope.ints(id, "strides").and_then(|s| s.into_iter().max()).unwrap_or(1);
        let found = if stride >= LIMIT {
            let message = format!("the stride is {stride}; {LIMIT} was seen to fail");
            let found = Found::at(scope.at(id), message);
            found.number(stride.unsigned_abs()).limit(LIMIT.unsigned_abs())
        } else if is_padded(scope, id) {
            Found::at(scope.at_param(id, "output_shape"), "the output is padded beyond the padding")
        } else {
            return None;
        };
        Some(found.help("resize and convolve, or use pixel_shuffle"))
    });
    found.collect()
}

/// Whether `output_shape` asks for more than the whole result less half of its
/// padding: an output padding beyond the padding.
fn is_padded(scope: &Scope<'_>, id: OpId) -> bool {
    let sizes = || -> Option<bool> {
        let wanted = scope.ints(id, "output_shape")?;
        let x = scope.param(id, "x")?.known_shape()?;
        let weight = scope.param(id, "weight")?.known_shape()?;
        let spatial = x.len().checked_sub(2)?;
        let ones = vec![1; spatial];
        let strides = scope.ints(id, "strides").unwrap_or_else(|| ones.clone());
        let dilations = scope.ints(id, "dilations").unwrap_or(ones);
        let pads = scope.ints(id, "pad").unwrap_or_else(|| vec![0; 2 * spatial]);
        for axis in 0..spatial {
            let size = i64::try_from(*x.get(axis + 2)?).ok()?;
            let kernel = i64::try_from(*weight.get(axis + 2)?).ok()?;
            let full = size.checked_sub(1)?.checked_mul(*strides.get(axis)?)?;
            let span = kernel.checked_sub(1)?.checked_mul(*dilations.get(axis)?)?;
            let full = full.checked_add(span)?.checked_add(1)?;
            if *wanted.get(axis + 2)? > full.checked_sub(*pads.get(2 * axis)?)? {
                return Some(true);
            }
        }
        Some(false)
    };
    sizes().unwrap_or(false)
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(stride: i32) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 4, 64]);
        let weight = s.weight(Float16, &[4, 4, 32]);
        let strides = s.ints(&[stride]);
        let y = s.op(
            "conv_transpose",
            &[("x", x), ("weight", weight), ("strides", strides)],
        );
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(16)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(15)
    }

    #[test]
    fn output_padding() {
        let of = |size: i32| {
            let mut s = Sketch::new();
            let x = s.input("x", Float16, &[1, 4, 8]);
            let weight = s.weight(Float16, &[4, 4, 4]);
            let (strides, shape) = (s.ints(&[2]), s.ints(&[1, 4, size]));
            let pad = s.ints(&[1, 1]);
            let y = s.typed_op(
                "conv_transpose",
                &[
                    ("x", x),
                    ("weight", weight),
                    ("strides", strides),
                    ("pad", pad),
                    ("output_shape", shape),
                ],
                &[(Float16, &[1, 4, 18])],
            );
            s.output(y[0]);
            s.findings(&super::RULE).len()
        };
        // The whole result is 18 long; 17 uses up the padding at the end.
        assert_eq!(of(17), 0);
        assert_eq!(of(18), 1);
    }
}
