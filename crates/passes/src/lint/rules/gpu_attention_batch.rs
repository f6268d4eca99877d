//! Attention over large batches on the GPU.

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "gpu-attention-batch",
    ids: &["MPS03"],
    severity: Severity::Error,
    effect: Effect::Numbers,
    units: &[Unit::Gpu],
    confidence: Confidence::Reported,
    summary: "`scaled_dot_product_attention` with a batch of 10 or more gives wrong numbers on the GPU.",
    details: "\
With a batch (the first axis) of 10 or more the GPU was seen to give other numbers than the CPU. \
Smaller batches and the same computation as products and softmax were right.

Decompose the attention, or run it in batches below 10. Compare the outputs for CPU and GPU with \
those for the CPU.",
    sources: &["apple/coremltools#2650"],
    disputed: None,
    check,
};

const LIMIT: u64 = 9;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let found = scope
        .of_type(&["scaled_dot_product_attention"])
        .filter_map(|id| {
            let query = scope.operand(id, "query")?;
            let batch = (*scope.largest(query)?.first()?)?;
            let message = format!(
                "attention over a batch of {batch}; above {LIMIT} the GPU was seen to be wrong"
            );
            let found = Found::at(scope.at(id), message).number(batch).limit(LIMIT);
            let help = "decompose the attention, or use smaller batches";
            (batch > LIMIT).then(|| found.help(help))
        });
    found.collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(batch: u64) -> Sketch {
        let mut s = Sketch::new();
        let query = s.input("query", Float16, &[batch, 8, 16, 64]);
        let key = s.input("key", Float16, &[batch, 8, 16, 64]);
        let args = [("query", query), ("key", key), ("value", key)];
        let y = s.op("scaled_dot_product_attention", &args);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(10)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(9)
    }
}
