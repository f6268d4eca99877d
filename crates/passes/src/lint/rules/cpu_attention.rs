//! Attention with large heads on the CPU.

use milwright_ir::{DataType, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "cpu-attention",
    ids: &["CPU01"],
    severity: Severity::Error,
    effect: Effect::Crash,
    units: &[Unit::Cpu],
    confidence: Confidence::Measured,
    summary: "fp16 attention with large heads and several queries ends the process on the CPU.",
    details: "\
`scaled_dot_product_attention` in fp16 with two or more queries, a head of more than 256 and an \
operation before its query ended the process in `BNNSGraphContextExecute_v2` on macOS 26.5 and \
26.6; with one query, or the query as an input of the function, it did not. Heads of 256 ran; \
where above that it begins is not known. The CPU runs parts of a model whatever it is loaded \
for.

Decompose the attention into products and softmax.",
    sources: &["kasper0406/stablehlo-coreml#89"],
    disputed: None,
    check,
};

const LIMIT: u64 = 256;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let found = scope
        .of_type(&["scaled_dot_product_attention"])
        .filter_map(|id| {
            let query = scope
                .param(id, "query")
                .filter(|t| t.dtype == DataType::Float16)?;
            let made = scope.source(id, "query").is_some();
            let at = |back: usize| query.shape.get(query.shape.len().checked_sub(back)?);
            // A length that is not known may be two.
            let several = at(2)?.known() != Some(1);
            let head = at(1)?.known().filter(|&n| n > LIMIT && several && made)?;
            let message = format!("heads of {head}, and heads above {LIMIT} crash on the CPU");
            let found = Found::at(scope.at(id), message).number(head).limit(LIMIT);
            Some(found.help("decompose the attention into products and softmax"))
        });
    found.collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(head: u64) -> Sketch {
        let mut s = Sketch::new();
        let query = s.input("query", Float16, &[1, 8, 16, head]);
        let key = s.input("key", Float16, &[1, 8, 16, head]);
        let query = s.op("relu", &[("x", query)]);
        let args = [("query", query), ("key", key), ("value", key)];
        let y = s.op("scaled_dot_product_attention", &args);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(512)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(256)
    }
}
