//! Attention that is written out.

use milwright_ir::ops::Opset;
use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "unfused-attention",
    ids: &["OP43"],
    severity: Severity::Note,
    effect: Effect::Slow,
    units: &[Unit::Gpu],
    confidence: Confidence::Reported,
    summary: "Attention is written as two products and a softmax in a program of iOS 18.",
    details: "\
Counts `softmax` between two `matmul` of computed tensors, in a program of the iOS 18 opset, which \
has a fused operation for it. Exports with an explicit `scale` (all Hugging Face llama and gemma \
models) are always written out.

For GPU builds with a batch below 10 the fused operation is faster; on the Neural Engine see \
`repeated-sdpa` first, and leave it as it is when in doubt.",
    sources: &["apple/coremltools#2864"],
    disputed: None,
    check,
};

const BETWEEN: [&str; 6] = ["add", "cast", "mul", "real_div", "select", "reshape"];

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let new = scope.function.known_opset().is_some_and(|o| o >= Opset::IOS18);
    let places = scope.at_all(scope.of_type(&["softmax"]).filter(|&id| new && is_attention(scope, id)));
    let found = Found::each(places, |n| {
        format!("{} between two products: attention, written out", counted(n, "softmax operation"))
    });
    found.into_iter().collect()
}

fn is_attention(scope: &Scope<'_>, softmax: OpId) -> bool {
    let outputs = scope.op(softmax).outputs.iter();
    let mut values = outputs.filter_map(|&v| scope.reaches(v, &["cast", "reshape"], &["matmul"]));
    let weighted = values.any(|m| !scope.has_static(m, "x") && !scope.has_static(m, "y"));
    weighted && scores(scope, softmax)
}

/// Whether a product of computed tensors is behind a softmax.
fn scores(scope: &Scope<'_>, softmax: OpId) -> bool {
    let mut ops: Vec<OpId> = scope.deep_source(softmax, "x").into_iter().collect();
    let mut left = 16;
    while let (Some(id), 1..) = (ops.pop(), left) {
        left -= 1;
        if scope.is_type(id, &["matmul"]) {
            return !scope.has_static(id, "x") && !scope.has_static(id, "y");
        }
        if scope.is_type(id, &BETWEEN) {
            ops.extend(["x", "y", "a", "b"].iter().filter_map(|p| scope.deep_source(id, p)));
        }
    }
    false
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;
    use milwright_ir::ops::Opset;

    use crate::lint::testing::Sketch;

    fn program() -> Sketch {
        let mut s = Sketch::new();
        let q = s.input("q", Float16, &[1, 2, 8, 64]);
        let (no, yes) = (s.bool(false), s.bool(true));
        let mut y = s.op(
            "matmul",
            &[("x", q), ("y", q), ("transpose_x", no), ("transpose_y", yes)],
        );
        let scale = s.float(Float16, 0.125);
        y = s.op("mul", &[("x", y), ("y", scale)]);
        let axis = s.int(-1);
        y = s.op("softmax", &[("x", y), ("axis", axis)]);
        y = s.op(
            "matmul",
            &[("x", y), ("y", q), ("transpose_x", no), ("transpose_y", no)],
        );
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program()
    }

    /// iOS 17 has no fused operation.
    pub(crate) fn near_miss() -> Sketch {
        program().opset(Opset::IOS17, 8)
    }
}
