//! Normalisations of enumerated shapes.

use milwright_ir::features::{FeatureKind, Flexibility};
use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "enumerated-layer-norm",
    ids: &["OP29"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Reported,
    summary: "`layer_norm` in a model whose inputs take enumerated shapes.",
    details: "\
`layer_norm` with a size that the program does not know, in a function with an input of enumerated \
shapes. One report of 2023 (macOS 13): such a model left the Neural Engine, 175 ms instead of 20 \
ms; a fixed shape, and a range at its default, stayed.

Make one model or function for each shape.",
    sources: &["apple/coremltools#1909"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let enumerated = scope.signature.is_some_and(|s| {
        s.inputs.iter().any(|f| match &f.kind {
            FeatureKind::Array(a) => matches!(&a.flexibility, Flexibility::Enumerated(s) if s.len() > 1),
            FeatureKind::Image(i) => matches!(&i.flexibility, Flexibility::Enumerated(s) if s.len() > 1),
            _ => false,
        })
    });
    let open = |&id: &OpId| scope.result(id).is_some_and(|t| t.known_shape().is_none());
    let ops = scope.of_type(&["layer_norm"]).filter(open);
    let places = scope.at_all(ops.filter(|_| enumerated));
    let found = Found::each(places, |n| {
        format!("{n} x `layer_norm` in a function with enumerated shapes")
    });
    found
        .map(|f| f.help("make one model or function for each shape"))
        .into_iter()
        .collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(shapes: &[&[u64]]) -> Sketch {
        let mut s = Sketch::new();
        let x = s.enumerated("x", Float16, shapes);
        let axes = s.ints(&[-1]);
        let y = s.op("layer_norm", &[("x", x), ("axes", axes)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(&[&[1, 32, 64], &[1, 64, 64]])
    }

    pub(crate) fn near_miss() -> Sketch {
        program(&[&[1, 32, 64]])
    }
}
