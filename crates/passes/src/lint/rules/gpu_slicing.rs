//! What may end the compiler for the GPU.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "gpu-slicing",
    ids: &["MPS01"],
    severity: Severity::Warning,
    effect: Effect::Crash,
    units: &[Unit::Gpu],
    confidence: Confidence::Folklore,
    summary: "Gathers, strided slices and slices of rank-5 tensors, which once made the GPU's compiler fail.",
    details: "\
On an M2, rewrites of a convolution as gathers, as strided `slice_by_index` and as slices, \
reshapes and selections of tensors with five axes failed on the GPU with `MLIR pass manager \
failed`. Which of the operations is to blame, and whether it is one of them alone, was never \
isolated; most models with gathers run on the GPU. One finding is made for each function, with \
every place.

If the model fails on the GPU with that message: slice by concatenating slices of stride 1, \
gather from small tables by a product with a one-hot matrix, keep to four axes.",
    sources: &["field report: leaking surfaces of the Neural Engine, approach 3"],
    disputed: Some(
        "Measured once on whole models; these operations run on the GPU in most others.",
    ),
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let gathers = |id: OpId| {
        let types = ["gather", "gather_nd", "gather_along_axis"];
        scope.is_type(id, &types) && !scope.has_static(id, "indices")
    };
    let strided = |id: OpId| {
        scope.is_type(id, &["slice_by_index"])
            && scope
                .ints(id, "stride")
                .unwrap_or_default()
                .iter()
                .any(|s| s.abs() > 1)
    };
    let deep = |id: OpId| {
        let types = ["slice_by_index", "slice_by_size", "select"];
        scope.is_type(id, &types) && scope.result(id).and_then(|t| t.rank()) == Some(5)
    };
    let mut counts = [0usize; 3];
    let mut places = Vec::new();
    for id in scope.active() {
        let kind = [gathers(id), strided(id), deep(id)]
            .iter()
            .position(|&is| is);
        if let Some(kind) = kind {
            counts[kind] += 1;
            places.push(scope.at(id));
        }
    }
    let words = [
        ("gather", "gathers"),
        ("strided slice", "strided slices"),
        (
            "slice or selection of rank 5",
            "slices or selections of rank 5",
        ),
    ];
    let parts = counts.iter().zip(words).filter(|(n, _)| **n > 0);
    let parts: Vec<String> = parts
        .map(|(&n, (one, many))| format!("{n} {}", if n == 1 { one } else { many }))
        .collect();
    let found = Found::each(places, |_| {
        format!(
            "{} may make the GPU's compiler fail (`MLIR pass manager failed`)",
            parts.join(", ")
        )
    });
    let help = "only if it does: slices of stride 1, one-hot products, four axes";
    found.map(|f| f.help(help)).into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(stride: i32) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 64]);
        let (begin, end, stride) = (s.ints(&[0, 0]), s.ints(&[1, 64]), s.ints(&[1, stride]));
        let args = [("x", x), ("begin", begin), ("end", end), ("stride", stride)];
        let x = s.op("slice_by_index", &args);
        s.output(x);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(2)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(1)
    }
}
