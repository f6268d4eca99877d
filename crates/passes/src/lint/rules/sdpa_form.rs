//! Fused attention of unusual form.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "sdpa-form",
    ids: &["OP30"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Folklore,
    summary: "A fused attention has five axes, a mask of another type, or long sequences.",
    details: "\
`scaled_dot_product_attention` with five axes, with a mask of another element type than the query, \
over more than 2048 positions, or with both queries and keys of 512 or more. Read out of the \
compiler's messages or seen through a private interface only.

Write it as products and a softmax for each head, in chunks of 512 positions.",
    sources: &[
        "pkhairkh/MILLer ane-constraints-docs",
        "sbryngelson/ANEForge docs",
        "apple/ml-stable-diffusion python_coreml_stable_diffusion/attention.py",
    ],
    disputed: Some("on M4, the fused operation of iOS 18 runs on the Neural Engine."),
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let found = scope.of_type(&["scaled_dot_product_attention"]).filter_map(|id| {
        let found = unusual(scope, id)?;
        Some(found.help("write it as products and a softmax, in chunks of 512 positions"))
    });
    found.collect()
}

fn unusual(scope: &Scope<'_>, id: OpId) -> Option<Found> {
    let query = scope.param(id, "query")?;
    if query.rank() == Some(5) {
        let message = "the fused attention has 5 axes, 4 are taken";
        return Some(Found::at(scope.at(id), message).number(5u64).limit(4u64));
    }
    if let Some(mask) = scope.param(id, "attn_mask")
        && mask.dtype != query.dtype
    {
        let message = format!("the mask is {}, the query {}", mask.dtype, query.dtype);
        return Some(Found::at(scope.at_param(id, "attn_mask"), message));
    }
    let queries = scope.size_from_back(id, "query", 1)?;
    let keys = scope.size_from_back(id, "key", 1)?;
    let (number, limit, what) = if queries.max(keys) > 2_048 {
        (queries.max(keys), 2_048u64, "more than")
    } else if queries.min(keys) >= 512 {
        (queries.min(keys), 512, "both at least")
    } else {
        return None;
    };
    let message = format!("{queries} queries and {keys} keys, {what} {limit}");
    Some(Found::at(scope.at(id), message).number(number).limit(limit))
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(queries: u64) -> Sketch {
        let mut s = Sketch::new();
        let q = s.input("q", Float16, &[1, 8, queries, 64]);
        let k = s.input("k", Float16, &[1, 8, 512, 64]);
        let y = s.op(
            "scaled_dot_product_attention",
            &[("query", q), ("key", k), ("value", k)],
        );
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(512)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(511)
    }
}
