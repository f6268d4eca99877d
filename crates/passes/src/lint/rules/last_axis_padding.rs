//! A last axis that is padded.

use milwright_ir::{Severity, TensorType, ValueId};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "last-axis-padding",
    ids: &["SHP08"],
    severity: Severity::Note,
    effect: Effect::Memory,
    units: &[Unit::Ane],
    confidence: Confidence::Documented,
    summary: "Tensors take much more memory because their last axis is padded.",
    details: "\
The Neural Engine pads the last axis to 64 bytes: a multiple of 32 elements of fp16. To name what \
matters and not nearly every tensor, this counts tensors that grow by a quarter or more and by \
64 KiB or more; these two numbers are ours. An axis of 1 is left to `singleton-last-axis`.

Put the longest axis last, at best a multiple of 32 long.",
    sources: &[
        "apple/coreai-models neural_engine_rules.md",
        "machinelearning.apple.com/research/neural-engine-transformers",
    ],
    disputed: None,
    check,
};

const MULTIPLE: u64 = 32;
const WASTE: u64 = 64 << 10;

/// Bytes that padding adds to a tensor in fp16, and the last axis, if it is much.
fn waste(ty: &TensorType) -> Option<(u64, u64)> {
    let last = ty.shape.last()?.known()?;
    let elements = ty.elements()?;
    if !ty.dtype.is_float() || last < 2 {
        return None;
    }
    let padded = (elements / last).checked_mul(last.checked_next_multiple_of(MULTIPLE)?)?;
    let added = padded.checked_sub(elements)?.checked_mul(2)?;
    (added >= WASTE && padded / 5 >= elements / 4).then_some((added, last))
}

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let all = scope.tensors().filter_map(|(v, ty)| Some((v, waste(ty)?)));
    let all: Vec<(ValueId, (u64, u64))> = all.collect();
    // The first of the worst.
    let Some(&(worst, (added, last))) = all.iter().rev().max_by_key(|(_, w)| w.0) else {
        return Vec::new();
    };
    let name = &scope.value(worst).name;
    let places = all.iter().map(|&(v, _)| scope.at_value(v)).collect();
    let found = Found::each(places, |n| {
        format!(
            "{} with a last axis that is padded to a multiple of {MULTIPLE}; most of all \
             `{name}` with {last}: {added} bytes more in fp16", counted(n, "tensor")
        )
    });
    found.map(|f| f.number(last).limit(MULTIPLE)).into_iter().collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(last: u64) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 64, 512, last]);
        s.output(x);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(25)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(26)
    }

    #[test]
    fn small_tensors_do_not_matter() {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 16, 64, 3]);
        s.output(x);
        assert!(s.findings(&super::RULE).is_empty());
    }
}
