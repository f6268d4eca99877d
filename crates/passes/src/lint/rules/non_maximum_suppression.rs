//! Non-maximum suppression.

use milwright_ir::ops::Opset;
use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "non-maximum-suppression",
    ids: &["OP08"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Folklore,
    summary: "`non_maximum_suppression` leaves the Neural Engine.",
    details: "\
Finds `non_maximum_suppression` over more than 2048 boxes, or in a program of iOS 15 or 16, or for \
such a system. Both limits are read out of the compiler's messages.

Make it a model of its own behind the network (a pipeline).",
    sources: &[
        "sbryngelson/ANEForge docs/op-catalog.md",
        "pkhairkh/MILLer ane-constraints-docs",
    ],
    disputed: None,
    check,
};

const LIMIT: u64 = 2_048;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let old = scope.function.known_opset().is_some_and(|o| o <= Opset::IOS16)
        || scope.os.is_some_and(|o| o <= Opset::IOS16);
    let found = scope.of_type(&["non_maximum_suppression"]).filter_map(|id| {
        let boxes = boxes(scope, id);
        let found = match boxes.filter(|&n| n > LIMIT) {
            Some(n) => {
                let message = format!("{n} boxes are suppressed, over {LIMIT}");
                Found::at(scope.at(id), message).number(n).limit(LIMIT)
            }
            None if old => Found::at(scope.at(id), "up to iOS 16 it is not supported there"),
            None => return None,
        };
        Some(found.help("make it a model of its own behind the network"))
    });
    found.collect()
}

fn boxes(scope: &Scope<'_>, id: OpId) -> Option<u64> {
    scope.size_from_back(id, "boxes", 1)
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(boxes: u64) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("boxes", Float16, &[1, boxes, 4]);
        let y = s.typed_op(
            "non_maximum_suppression",
            &[("boxes", x)],
            &[(Float16, &[1, 10, 4])],
        );
        s.output(y[0]);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(2_049)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(2_048)
    }
}
