//! A last axis of one element.

use milwright_ir::{Severity, TensorType, ValueId};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "singleton-last-axis",
    ids: &["SHP09"],
    severity: Severity::Warning,
    effect: Effect::Memory,
    units: &[Unit::Ane],
    confidence: Confidence::Documented,
    summary: "A large tensor ends in an axis of one element, which takes 32 times its memory.",
    details: "\
The Neural Engine pads the last axis to 64 bytes: 32 elements of fp16. A tensor of 65536 elements \
or more whose last axis is 1 takes 32 times its memory and bandwidth (64 times in int8). One \
finding for each function, with the largest such tensor first in the message.

Transpose so that the axis of 1 is not last: `[B, C, 1, S]` instead of `[B, C, S, 1]`.",
    sources: &[
        "apple/coreai-models neural_engine_rules.md",
        "machinelearning.apple.com/research/neural-engine-transformers",
    ],
    disputed: None,
    check,
};

const LIMIT: u64 = 65_536;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let wasteful = |&(_, ty): &(ValueId, &TensorType)| {
        let last = ty.shape.last().and_then(|d| d.known());
        last == Some(1)
            && ty.dtype.is_float()
            && ty.elements().is_some_and(|n| n >= LIMIT)
    };
    let all: Vec<(ValueId, &TensorType)> = scope.tensors().filter(wasteful).collect();
    // The first of the largest.
    let worst = all.iter().rev().max_by_key(|(_, ty)| ty.elements());
    let Some((value, elements)) = worst.and_then(|(v, ty)| Some((*v, ty.elements()?))) else {
        return Vec::new();
    };
    let name = &scope.value(value).name;
    let places = all.iter().map(|&(v, _)| scope.at_value(v)).collect();
    let found = Found::each(places, |n| {
        format!(
            "{} with a last axis of 1, which takes 32 times the memory; the largest is \
             `{name}` with {elements} elements, {LIMIT} or more count",
            counted(n, "tensor")
        )
    });
    found
        .map(|f| f.number(elements).limit(LIMIT).help("transpose so that the axis of 1 is not last"))
        .into_iter()
        .collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(shape: &[u64]) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, shape);
        s.output(x);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(&[1, 256, 256, 1])
    }

    pub(crate) fn near_miss() -> Sketch {
        program(&[1, 255, 257, 1])
    }
}
