//! Parts that are not worth the Neural Engine.

use milwright_ir::Severity;
use milwright_ir::cost::multiply_adds;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::placement::{Segment, segments};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "small-segments",
    ids: &["SEG01"],
    severity: Severity::Note,
    effect: Effect::Slow,
    units: &[Unit::Ane],
    confidence: Confidence::Reported,
    summary: "A part that the Neural Engine takes is probably too small to be handed to it.",
    details: "\
Handing a part over costs 0.125 ms to start, 0.125 ms for each change of the unit and 0.125 ms \
if the result is the function's: a part at the beginning or end of a function has to save 0.25 \
ms, one in the middle 0.375 ms, on an M4 with macOS 27. A part that saves less stays on the CPU.

What a part saves is bounded here by its multiply-adds and the bytes that it moves, at twice the \
largest difference between CPU and Neural Engine among the published estimates of that device \
(4.9 ns for 1000 multiply-adds, 2.75 ns for 1000 bytes). Parts with resizing, whose difference \
is much larger, or with sizes that are not known, are left out. It is an estimate of an \
estimate: no finding does not mean that a part pays.

Make fewer and larger parts.",
    sources: &["751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/coreml_dispatch.md"],
    disputed: Some(
        "The estimates are of one device; the device's own decision trees are not public.",
    ),
    check,
};

/// What a part has to save, in ms, at the beginning or end of a function.
const EDGE: f64 = 0.25;
/// The same in the middle.
const MIDDLE: f64 = 0.375;
/// The most that the Neural Engine saves, in ms: for a multiply-add, for a byte.
const PER_PRODUCT: f64 = 2.0 * 4.9e-9;
const PER_BYTE: f64 = 2.0 * 2.75e-9;

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let segments = segments(scope, scope.left());
    if segments.len() < 2 {
        return Vec::new();
    }
    let last = segments.len() - 1;
    let mut small = Vec::new();
    let mut most = 0.0f64;
    for (at, segment) in segments.iter().enumerate().filter(|(_, s)| s.legal) {
        let limit = if at == 0 || at == last { EDGE } else { MIDDLE };
        if let Some(saved) = most_saved(scope, segment)
            && saved < limit
        {
            small.extend(segment.ops.first().map(|&id| scope.at(id)));
            most = most.max(saved);
        }
    }
    let parts = segments.iter().filter(|s| s.legal).count();
    let found = Found::each(small, |n| {
        format!(
            "{n} of {parts} parts save at most {most:.3} ms on the Neural Engine and need {EDGE} at \
             an edge, {MIDDLE} in the middle; they probably stay on the CPU"
        )
    });
    let help = "make fewer and larger parts";
    found
        .map(|f| f.limit(EDGE).help(help))
        .into_iter()
        .collect()
}

/// A bound of what a part saves, in ms; `None` when it cannot be told.
fn most_saved(scope: &Scope<'_>, segment: &Segment) -> Option<f64> {
    let (mut products, mut bytes) = (0u64, 0u64);
    for &id in &segment.ops {
        let family = scope.op(id).def?.family();
        if family == "resize" || !scope.op(id).blocks.is_empty() {
            return None;
        }
        products = products.checked_add(multiply_adds(&scope.view(id))?)?;
        let op = scope.op(id);
        let read = op.operands().filter(|&v| !scope.is_static(v));
        for value in read.chain(op.outputs.iter().copied()) {
            let Some(ty) = scope.tensor(value) else {
                continue;
            };
            bytes = bytes.checked_add(ty.dtype.byte_len(ty.elements()?)?)?;
        }
    }
    Some(products as f64 * PER_PRODUCT + bytes as f64 * PER_BYTE)
}

#[cfg(test)]
pub(super) mod cases {
    use crate::lint::testing::Sketch;

    pub(crate) fn triggers() -> Sketch {
        Sketch::islands(1, 1)
    }

    /// The same part, as long as it takes.
    pub(crate) fn near_miss() -> Sketch {
        Sketch::islands(1, 1 << 24)
    }
}
