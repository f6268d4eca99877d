//! Sums that are too large before they are rounded.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Number, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "accumulator-overflow",
    ids: &["DT09"],
    severity: Severity::Warning,
    effect: Effect::Numbers,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "Weights can overflow the Neural Engine's accumulator, which ends at 32768.",
    details: "\
The Neural Engine adds products in a number that ends at 32768, half of what fp16 holds; beyond it \
the result is infinite and stays so. For each `conv`, `linear` and `matmul` in fp16 with constant \
weights this takes the output channel with the largest sum of magnitudes, times the largest \
input. That is known behind `sigmoid`, `tanh`, `softmax`, `relu6`, `clip` and the like; \
elsewhere 1 is taken, so that a finding means: inputs of magnitude 1 can overflow. The bound is \
the worst case over all signs, and real inputs may stay far below it.

Scale the weights by a power of two and undo it after the operation, or split the contracted \
axis.",
    sources: &[
        "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/numerics.md",
        "sbryngelson/ANEForge docs/numeric-cliffs.md",
    ],
    disputed: None,
    check,
};

const LIMIT: u64 = 32_768;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let ops = scope.of_type(&["conv", "linear", "matmul"]);
    let over = ops.filter_map(|id| {
        let (sum, input, known) = worst(scope, id)?;
        let bound = sum * input;
        if bound < LIMIT as f64 {
            return None;
        }
        let (number, input) = (Number::from(bound), Number::from(input));
        let why = if known { "at most" } else { "taken as" };
        let message = format!(
            "the sum of one output can reach {number} (inputs {why} {input}), and overflows from \
             {LIMIT} on"
        );
        let found = Found::at(scope.at(id), message).number(bound).limit(LIMIT);
        Some(found.help("scale the weights by a power of two and undo it after"))
    });
    over.collect()
}

/// The largest sum of magnitudes of one output's weights, the largest input, and
/// whether that is known.
fn worst(scope: &Scope<'_>, id: OpId) -> Option<(f64, f64, bool)> {
    if !scope.is_half(id) {
        return None;
    }
    let channels = scope.channels(id)?;
    let sum = channels.iter().map(|c| c.sum).fold(0.0, f64::max);
    let input = scope.magnitude(id, "x");
    Some((sum, input.unwrap_or(1.0), input.is_some()))
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(weight: f64) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 64]);
        let x = s.op("sigmoid", &[("x", x)]);
        let weight = s.full(Float16, &[8, 64], weight);
        let bias = s.full(Float16, &[8], 0.0);
        let y = s.op("linear", &[("x", x), ("weight", weight), ("bias", bias)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(512.0)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(511.5)
    }

    #[test]
    fn columns_of_a_matmul() {
        let of = |transpose: bool| {
            let mut s = Sketch::new();
            let x = s.input("x", Float16, &[1, 2]);
            // Columns sum to 20000 and 40000, rows to 30000 each.
            let y = s.floats(Float16, &[2, 2], &[1e4, 2e4, 1e4, 2e4]);
            let (no, ty) = (s.bool(false), s.bool(transpose));
            let y = s.op(
                "matmul",
                &[("x", x), ("y", y), ("transpose_x", no), ("transpose_y", ty)],
            );
            s.output(y);
            s.findings(&super::RULE).len()
        };
        assert_eq!(of(false), 1);
        assert_eq!(of(true), 0);
    }
}
