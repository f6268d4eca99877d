//! Operations between parts for the Neural Engine.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use milwright_ir::Severity;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::placement::{Segment, segments, types};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "neural-engine-islands",
    ids: &["SEG03"],
    severity: Severity::Warning,
    effect: Effect::Slow,
    units: &[Unit::Ane],
    confidence: Confidence::Reported,
    summary: "Operations that leave the Neural Engine stand between parts that stay on it.",
    details: "\
An island is a row of operations, in the order of the file, that leave the Neural Engine by the \
other rules, with operations before and after that it takes. Each costs two switches: 0.125 ms \
each and 0.125 ms to start again on an M4 with macOS 27, where a planner that adds these numbers \
gave the choice of the device for 440 of 482 models. Of up to three it is a note.

The notes name the largest islands and the rules that made them. Removing a single operation \
between two large parts is what pays most. Operations may run for which no rule is known, and \
the other way round: look at what the device does (`lint --compute-plan`).",
    sources: &["751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/coreml_dispatch.md"],
    disputed: Some("That more than three are many is a choice of this program."),
    check,
};

const LIMIT: usize = 3;
/// Islands that are described.
const SHOWN: usize = 8;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let left = scope.left();
    let segments = segments(scope, left);
    let inner = segments.len().saturating_sub(1);
    let islands = segments.iter().take(inner).skip(1).filter(|s| !s.legal);
    let mut islands: Vec<&Segment> = islands.collect();
    let count = islands.len();
    let operations: usize = islands.iter().map(|s| s.ops.len()).sum();
    let places = scope.at_all(islands.iter().filter_map(|s| s.ops.first().copied()));
    let found = Found::each(places, |_| {
        let (islands, stand) = match count {
            1 => ("island", "stands"),
            _ => ("islands", "stand"),
        };
        let operations = match operations {
            1 => "1 operation".to_owned(),
            n => format!("{n} operations"),
        };
        format!(
            "{count} {islands} of {operations} {stand} between parts for the Neural Engine; more \
             than {LIMIT} are many"
        )
    });
    let Some(mut found) = found else {
        return Vec::new();
    };
    if count <= LIMIT {
        found = found.severity(Severity::Note);
    }
    islands.sort_by_key(|s| Reverse(s.ops.len()));
    for island in islands.iter().take(SHOWN) {
        let first = scope.program.describe_op(island.ops[0]);
        let rules: BTreeSet<&str> = island
            .ops
            .iter()
            .flat_map(|op| left[op].iter().copied())
            .collect();
        let rules: Vec<&str> = rules.into_iter().collect();
        let what = types(scope, &island.ops);
        found = found.note(format!("from `{first}`: {what} ({})", rules.join(", ")));
    }
    if count > SHOWN {
        found = found.note(format!("and {} smaller ones", count - SHOWN));
    }
    let help = "move these operations to the edges, or replace them";
    vec![found.number(count).limit(LIMIT).help(help)]
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float32;

    use crate::lint::testing::Sketch;

    pub(crate) fn triggers() -> Sketch {
        Sketch::islands(4, 1)
    }

    /// What leaves the Neural Engine is at the end.
    pub(crate) fn near_miss() -> Sketch {
        let mut s = Sketch::islands(0, 1);
        let x = s.program.blocks[s.block].outputs[0];
        let x = s.cast(x, Float32);
        let x = s.op("tanh", &[("x", x)]);
        s.output(x);
        s
    }

    #[test]
    fn islands_are_described() {
        let found = triggers().findings(&super::RULE);
        assert_eq!(found.len(), 1);
        let f = &found[0];
        assert_eq!((f.places.len(), f.diagnostic.context.len()), (4, 4));
        assert!(
            f.diagnostic.context[0].contains("tanh (fp32-compute"),
            "{:?}",
            f.diagnostic.context
        );
        let few = Sketch::islands(3, 1).findings(&super::RULE);
        assert_eq!(few[0].diagnostic.severity, milwright_ir::Severity::Note);
    }
}
