//! Large fused attention.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "sdpa-size",
    ids: &["OP32"],
    severity: Severity::Note,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "A tensor of a fused attention has more than two million elements.",
    details: "\
`scaled_dot_product_attention` whose query, key or value has more than 2097152 elements: about \
where M4 stops taking it.

Split the queries into chunks.",
    sources: &["vx-lang/Vx#437"],
    disputed: None,
    check,
};

const LIMIT: u64 = 2 << 20;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let found = scope.of_type(&["scaled_dot_product_attention"]).filter_map(|id| {
        let sizes = ["query", "key", "value"];
        let sizes = sizes.iter().filter_map(|p| scope.param(id, p)?.elements());
        let most = sizes.max().filter(|&n| n > LIMIT)?;
        let message = format!("a tensor of the attention has {most} elements, over {LIMIT}");
        let found = Found::at(scope.at(id), message).number(most).limit(LIMIT);
        Some(found.help("split the queries into chunks"))
    });
    found.collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(queries: u64) -> Sketch {
        let mut s = Sketch::new();
        let q = s.input("q", Float16, &[1, 64, queries, 128]);
        let k = s.input("k", Float16, &[1, 64, 32, 128]);
        let y = s.op(
            "scaled_dot_product_attention",
            &[("query", q), ("key", k), ("value", k)],
        );
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(257)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(256)
    }
}
