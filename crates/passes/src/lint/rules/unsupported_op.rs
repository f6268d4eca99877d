//! Operations that the Neural Engine does not know.

use std::collections::BTreeMap;

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "unsupported-op",
    ids: &["OP02"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "An operation of a type that the Neural Engine does not run.",
    details: "\
One finding for each type, with how often it runs. Measured on M4 with macOS 27; lists and `shape` \
by another source. What is computed from constants alone is folded and does not count.

`cumsum` is a product with a triangular constant, `one_hot` a comparison with a constant, `mod` is \
`x - floor(x / y) * y`, `band_part` a product with a constant mask, `tan` is `sin / cos`.",
    sources: &[
        "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/coreml_dispatch.md",
        "sbryngelson/ANEForge docs/op-catalog.md",
    ],
    disputed: None,
    check,
};

/// The types, and what to do instead, where there is something.
const UNSUPPORTED: [(&str, &str); 29] = [
    ("acos", ""),
    ("asin", ""),
    ("atanh", ""),
    ("band_part", "multiply by a constant mask"),
    ("cond", "make two functions, or compute both and select"),
    ("cosh", ""),
    ("crop_resize", ""),
    ("cumsum", "multiply by a triangular constant"),
    ("list_gather", ""),
    ("list_length", ""),
    ("list_read", ""),
    ("list_scatter", ""),
    ("list_write", ""),
    ("make_list", ""),
    ("mod", "use x - floor(x / y) * y"),
    ("non_zero", ""),
    ("one_hot", "compare with a constant"),
    ("random_bernoulli", ""),
    ("random_categorical", ""),
    ("random_normal", ""),
    ("random_uniform", ""),
    ("range_1d", "use a constant, or give it as an input"),
    ("reduce_prod", ""),
    ("reverse_sequence", ""),
    ("shape", "use fixed shapes"),
    ("sinh", ""),
    ("sliding_windows", ""),
    ("tan", "use sin / cos"),
    ("while_loop", "unroll it, or loop in the host"),
];

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let mut by_type: BTreeMap<&str, Vec<OpId>> = BTreeMap::new();
    for id in scope.active() {
        let known = UNSUPPORTED.iter().find(|(t, _)| scope.is_type(id, &[t]));
        if let Some((op_type, _)) = known {
            by_type.entry(op_type).or_default().push(id);
        }
    }
    let found = by_type.into_iter().filter_map(|(op_type, ops)| {
        let found = Found::each(scope.at_all(ops), |n| {
            format!("{n} x `{op_type}`, which does not run on the Neural Engine")
        })?;
        let instead = UNSUPPORTED.iter().find(|(t, _)| *t == op_type);
        let instead = instead.map_or("", |(_, instead)| instead);
        Some(if instead.is_empty() { found } else { found.help(instead) })
    });
    found.collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::{Float16, Int32};

    use crate::lint::testing::Sketch;

    fn program(op: &str) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 64]);
        let y = s.op(op, &[("x", x)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program("tan")
    }

    pub(crate) fn near_miss() -> Sketch {
        program("tanh")
    }

    #[test]
    fn what_is_folded_does_not_count() {
        let mut s = Sketch::new();
        let x = s.input("x", Int32, &[4]);
        let (start, end, step) = (s.int(0), s.int(4), s.int(1));
        let r = s.op("range_1d", &[("start", start), ("end", end), ("step", step)]);
        let y = s.add(x, r);
        s.output(y);
        assert!(s.findings(&super::RULE).is_empty());
    }

    #[test]
    fn the_types_exist() {
        for (op_type, _) in super::UNSUPPORTED {
            assert!(milwright_ir::ops::lookup(op_type).is_some(), "{op_type}");
        }
    }
}
