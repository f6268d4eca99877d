//! Several fused attentions over everything.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "repeated-sdpa",
    ids: &["OP31"],
    severity: Severity::Error,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "Two fused attentions with large heads in one function do not compile.",
    details: "\
Two or more `scaled_dot_product_attention` in one function, each with heads of more than 256 and \
1024 keys or more. Measured on macOS 26.5 and 26.6: with one such site the model compiled, with \
two the Neural Engine's compiler failed (\"live input tensor not used in network\") and the whole \
model ran on the CPU without a word. Heads of 256 over a sliding window stayed safe; where exactly \
the limits are, nobody measured, so these two numbers are ours.

Write all but one of them as products and a softmax.",
    sources: &["kasper0406/stablehlo-coreml#89"],
    disputed: None,
    check,
};

const LIMIT: usize = 2;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let global = |&id: &OpId| {
        let head = scope.size_from_back(id, "query", 0);
        let keys = scope.size_from_back(id, "key", 1);
        head.is_some_and(|h| h > 256) && keys.is_some_and(|k| k >= 1_024)
    };
    let ops: Vec<OpId> = scope.of_type(&["scaled_dot_product_attention"]).filter(global).collect();
    let count = ops.len();
    if count < LIMIT {
        return Vec::new();
    }
    let found = Found::each(scope.at_all(ops), |n| {
        format!("{n} fused attentions with heads over 256 and 1024 keys or more; {LIMIT} fail")
    });
    found
        .map(|f| {
            f.number(count)
                .limit(LIMIT)
                .help("write all but one of them as products and a softmax")
        })
        .into_iter()
        .collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(count: usize) -> Sketch {
        let mut s = Sketch::new();
        let mut q = s.input("q", Float16, &[1, 1, 8, 512]);
        let k = s.input("k", Float16, &[1, 1, 1_024, 512]);
        for _ in 0..count {
            q = s.op(
                "scaled_dot_product_attention",
                &[("query", q), ("key", k), ("value", k)],
            );
        }
        s.output(q);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(2)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(1)
    }
}
