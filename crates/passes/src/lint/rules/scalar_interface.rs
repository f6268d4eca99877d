//! Inputs and outputs without axes.

use milwright_ir::Severity;
use milwright_ir::features::FeatureKind;

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "scalar-interface",
    ids: &["SHP14"],
    severity: Severity::Warning,
    effect: Effect::Crash,
    units: &[Unit::Gpu],
    confidence: Confidence::Reported,
    summary: "An input or output of the model has no axes.",
    details: "\
A tensor of rank 0 that the caller gives or gets; class labels do not count. One report saw the GPU of a telephone fail on \
one: the number of sizes, 0, did not agree with that of strides. The rule base counts it as an \
error; with one report it is a warning here.

Give it one axis of length 1.",
    sources: &["pytorch/executorch#11541"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let outputs = &scope.program.blocks[scope.body].outputs;
    let all = scope.function.inputs.iter().chain(outputs);
    let scalars = all.filter_map(|&value| {
        let kind = if scope.is_input(value) { "input" } else { "output" };
        let name = &scope.value(value).name;
        let message = format!("{kind} `{name}` has no axes; give it one of length 1");
        let scalar = scope.tensor(value)?.rank() == Some(0) && is_array(scope, name);
        scalar.then(|| Found::at(scope.at_value(value), message))
    });
    scalars.collect()
}

/// Whether the description has the name as a tensor; a class label is none.
fn is_array(scope: &Scope<'_>, name: &str) -> bool {
    let Some(signature) = scope.signature else {
        return true;
    };
    let mut features = signature.inputs.iter().chain(&signature.outputs);
    let feature = features.find(|f| f.name == name);
    feature.is_none_or(|f| matches!(f.kind, FeatureKind::Array(_)))
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(shape: &[u64]) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, shape);
        let y = s.op("relu", &[("x", x)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(&[])
    }

    pub(crate) fn near_miss() -> Sketch {
        program(&[1])
    }
}
