//! Attention weights that are transposed before a product.

use milwright_ir::ops::Given;
use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "gpu-transposed-attention",
    ids: &["MPS02"],
    severity: Severity::Warning,
    effect: Effect::Crash,
    units: &[Unit::Gpu],
    confidence: Confidence::Folklore,
    summary: "`matmul(v, transpose(softmax(..)))`, which once made the GPU's compiler fail.",
    details: "\
A product whose second operand is the transposed result of a softmax, as `transpose` or as \
`transpose_y`. In a deep graph it ended the process on macOS 26.6 with `MLIR pass manager \
failed` when loaded for CPU and GPU; one report.

If it fails: swap the operands, `matmul(softmax(..), transpose(v))`, or use \
`scaled_dot_product_attention`.",
    sources: &["ultralytics/ultralytics#25860"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let turned = scope
        .of_type(&["matmul"])
        .filter(|&id| is_turned(scope, id));
    let found = Found::each(scope.at_all(turned), |n| {
        format!("{n} products with transposed attention weights (`MLIR pass manager failed`)")
    });
    let help = "only if it does: swap the operands of the product";
    found.map(|f| f.help(help)).into_iter().collect()
}

fn is_turned(scope: &Scope<'_>, id: OpId) -> bool {
    let flag = scope
        .view(id)
        .bool("transpose_y")
        .ok()
        .and_then(Given::known)
        == Some(true);
    let Some(source) = scope.source(id, "y") else {
        return false;
    };
    let weights = if scope.is_type(source, &["transpose"]) && !flag {
        scope.source(source, "x")
    } else if flag {
        Some(source)
    } else {
        None
    };
    let through = |op: OpId| match scope.is_type(op, &["cast"]) {
        true => scope.source(op, "x"),
        false => Some(op),
    };
    weights
        .and_then(through)
        .is_some_and(|op| scope.is_type(op, &["softmax"]))
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(turned: bool) -> Sketch {
        let mut s = Sketch::new();
        let scores = s.input("scores", Float16, &[1, 8, 64, 64]);
        let v = s.input("v", Float16, &[1, 8, 64, 64]);
        let axis = s.int(-1);
        let weights = s.op("softmax", &[("x", scores), ("axis", axis)]);
        let turned = s.bool(turned);
        let y = s.op(
            "matmul",
            &[("x", v), ("y", weights), ("transpose_y", turned)],
        );
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(true)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(false)
    }

    #[test]
    fn a_transpose_counts() {
        let mut s = Sketch::new();
        let scores = s.input("scores", Float16, &[1, 8, 64, 64]);
        let v = s.input("v", Float16, &[1, 8, 64, 64]);
        let (axis, perm) = (s.int(-1), s.ints(&[0, 1, 3, 2]));
        let weights = s.op("softmax", &[("x", scores), ("axis", axis)]);
        let weights = s.op("transpose", &[("x", weights), ("perm", perm)]);
        let y = s.op("matmul", &[("x", v), ("y", weights)]);
        s.output(y);
        assert_eq!(s.findings(&super::RULE).len(), 1);
    }
}
