//! Thousands of small matrix products.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "many-products",
    ids: &["SZ12"],
    severity: Severity::Warning,
    effect: Effect::Slow,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "More than a thousand matrix products: the compiler takes minutes and much memory.",
    details: "\
Splitting attention by head over all layers makes thousands of tiny products. On an M6, 5120 of \
them made the compiler for the Neural Engine swap 78 GB. Where it begins was not measured; a \
thousand is taken here.

Split by a few heads at once, or in chunks of 512 queries.",
    sources: &[
        "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/whisper_compile.md",
        "argmaxinc/whisperkittools",
    ],
    disputed: Some(
        "Apple's own guide asks for a split by head; it helps as long as the number of \
         products stays small.",
    ),
    check,
};

const LIMIT: usize = 1000;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let count = scope.of_type(&["matmul", "einsum"]).count();
    let message =
        format!("{count} matrix products in one function; above {LIMIT} compiling takes minutes");
    let found = Found::at(scope.here(), message).number(count).limit(LIMIT);
    (count > LIMIT).then_some(found).into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(count: usize) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[8, 8]);
        let mut y = x;
        for _ in 0..count {
            y = s.op("matmul", &[("x", y), ("y", x)]);
        }
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(1001)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(1000)
    }
}
