//! Attention with one or two queries.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "short-query",
    ids: &["ST07"],
    severity: Severity::Note,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Reported,
    summary: "Attention with one or two queries may leave the Neural Engine.",
    details: "\
On an M5 Pro, attention with a query of length 1 or 2 left the Neural Engine; padded to 4 or 8 \
it stayed. It was measured with Apple's newer model format, not with ML Programs.

Pad the query to 4 and drop the other rows.",
    sources: &["cadamcat/llms-on-apple-neural-engine findings/ane-short-decode-query"],
    disputed: Some("Not shown for ML Programs."),
    check,
};

const LIMIT: u64 = 2;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let short = scope
        .of_type(&["scaled_dot_product_attention"])
        .filter(|&id| {
            let query = scope.param(id, "query");
            let length = query.and_then(|q| q.shape.len().checked_sub(2).map(|at| q.shape[at]));
            let length = length.and_then(|d| d.known());
            length.is_some_and(|n| (1..=LIMIT).contains(&n))
        });
    let found = Found::each(scope.at_all(short), |n| {
        format!("{n} attentions have a query of length {LIMIT} or less")
    });
    let help = "pad the query to 4 and drop the other rows";
    found
        .map(|f| f.limit(LIMIT).help(help))
        .into_iter()
        .collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(length: u64) -> Sketch {
        let mut s = Sketch::new();
        let query = s.input("query", Float16, &[1, 8, length, 64]);
        let key = s.input("key", Float16, &[1, 8, 128, 64]);
        let args = [("query", query), ("key", key), ("value", key)];
        let y = s.op("scaled_dot_product_attention", &args);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(1)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(4)
    }
}
