//! Very long chains of convolutions.

use std::collections::BTreeMap;

use milwright_ir::{Severity, ValueId};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "deep-convolutions",
    ids: &["SZ10"],
    severity: Severity::Warning,
    effect: Effect::Crash,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "A chain of 387 or more convolutions overflows the stack of the compiler.",
    details: "\
The compiler for the Neural Engine goes through the graph by recursion; on an M6 a chain of 387 \
convolutions overflowed its stack. Counted is the longest path of the graph by convolutions on \
it.

Split the model in the middle.",
    sources: &["751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/defects.md"],
    disputed: None,
    check,
};

const LIMIT: usize = 386;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    // Convolutions on the longest path to each value, in program order.
    let mut depth: BTreeMap<ValueId, usize> = BTreeMap::new();
    let mut deepest = (0, None);
    for id in scope.active() {
        let op = scope.op(id);
        let before = op.operands().filter_map(|v| depth.get(&v).copied()).max();
        let is_conv = scope.is_type(id, &["conv", "conv_transpose"]);
        let here = before.unwrap_or(0) + usize::from(is_conv);
        op.outputs.iter().for_each(|&v| {
            depth.insert(v, here);
        });
        if here > deepest.0 {
            deepest = (here, Some(id));
        }
    }
    let (count, Some(last)) = deepest else {
        return Vec::new();
    };
    let message = format!("{count} convolutions follow each other; the compiler took {LIMIT}");
    let found = Found::at(scope.at(last), message)
        .number(count)
        .limit(LIMIT)
        .help("cut the model in the middle: `milwright split --at VALUE`");
    (count > LIMIT).then_some(found).into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(count: usize) -> Sketch {
        let mut s = Sketch::new();
        let mut x = s.input("x", Float16, &[1, 4, 8]);
        let weight = s.weight(Float16, &[4, 4, 1]);
        for _ in 0..count {
            x = s.conv(x, weight, &[1]);
        }
        s.output(x);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(387)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(386)
    }
}
