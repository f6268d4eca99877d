//! Wide normalisations.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;
use crate::lint::target::Family;

pub(super) static RULE: Rule = Rule {
    name: "wide-layer-norm",
    ids: &["OP27", "OP28"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Reported,
    summary: "A wide `layer_norm` with gain and offset is refused.",
    details: "\
`layer_norm` with both `gamma` and `beta`: over 1024 elements or more along axes that are not the \
last (M1, M2 and their telephones; it does not compile), or over 10240 or more (M5; it does not \
run). Both through a private interface.

Multiply and add after the norm, as operations of their own.",
    sources: &[
        "sbryngelson/ANEForge#162",
        "sbryngelson/ANEForge#201",
        "sbryngelson/ANEForge#149",
    ],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let found = scope.of_type(&["layer_norm"]).filter_map(|id| {
        let (size, limit) = excess(scope, id)?;
        let message = format!("gain and offset over {size} elements, {limit} or more");
        let found = Found::at(scope.at(id), message).number(size).limit(limit);
        Some(found.help("multiply and add after the norm"))
    });
    found.collect()
}

fn excess(scope: &Scope<'_>, id: OpId) -> Option<(u64, u64)> {
    let view = scope.view(id);
    if !(view.is_given("gamma") && view.is_given("beta")) {
        return None;
    }
    let shape = &scope.param(id, "x")?.shape;
    let rank = i64::try_from(shape.len()).ok()?;
    let mut size = 1u64;
    let mut last = false;
    for axis in scope.ints(id, "axes")? {
        let axis = if axis < 0 { axis + rank } else { axis };
        last |= axis == rank - 1;
        size = size.checked_mul(shape.get(usize::try_from(axis).ok()?)?.known()?)?;
    }
    let early = scope.target.family() <= Family::H14;
    if early && !last && size >= 1_024 {
        Some((size, 1_024))
    } else {
        (size >= 10_240).then_some((size, 10_240))
    }
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(target: &str, channels: u64, axis: i32) -> Sketch {
        let mut s = Sketch::for_target(target);
        let shape = if axis == 1 { [1, channels, 64] } else { [1, 64, channels] };
        let x = s.input("x", Float16, &shape);
        let axes = s.ints(&[axis]);
        let gamma = s.full(Float16, &[channels], 1.0);
        let beta = s.full(Float16, &[channels], 0.0);
        let y = s.op(
            "layer_norm",
            &[("x", x), ("axes", axes), ("gamma", gamma), ("beta", beta)],
        );
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program("m2", 1_024, 1)
    }

    pub(crate) fn near_miss() -> Sketch {
        program("m2", 1_023, 1)
    }

    #[test]
    fn the_last_axis_may_be_wider() {
        let found = |target, channels, axis| {
            program(target, channels, axis).findings(&super::RULE).len()
        };
        assert_eq!(found("m2", 10_239, 2), 0);
        assert_eq!(found("m5", 10_240, 2), 1);
        assert_eq!(found("m4", 1_024, 1), 0);
    }
}
