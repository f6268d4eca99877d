//! Inputs and outputs without axes.

use milwright_ir::Severity;

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
A tensor of rank 0 that the caller gives or gets. One report saw the GPU of a telephone fail on \
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
        let scalar = scope.tensor(value)?.rank() == Some(0);
        scalar.then(|| Found::at(scope.at_value(value), message))
    });
    scalars.collect()
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
