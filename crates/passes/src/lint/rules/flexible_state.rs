//! States of variable size.

use milwright_ir::features::Flexibility;
use milwright_ir::{Severity, ValueType};

use crate::lint::finding::{Confidence, Effect, Found, Rule};
use crate::lint::patterns::{flexibility, states};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "flexible-state",
    ids: &["FLX06"],
    severity: Severity::Error,
    effect: Effect::Load,
    units: &[],
    confidence: Confidence::Reported,
    summary: "A state has a size that is not fixed.",
    details: "\
A state keeps its tensor from one prediction to the next, and its shape has to be fixed. Models \
with a flexible size in a state were seen to fail when they load.

Give the state the largest length, and say by an input how much of it is in use.",
    sources: &["apple/coremltools#2537"],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let open = states(scope).into_iter().filter(|&v| {
        let ValueType::State(inner) = &scope.value(v).ty else {
            return false;
        };
        let fixed = inner.as_tensor().and_then(|t| t.known_shape()).is_some();
        let declared = scope.input_feature(v).and_then(|f| flexibility(&f.kind));
        !fixed || declared.is_some_and(|f| *f != Flexibility::Fixed)
    });
    let found = open.map(|v| {
        let name = &scope.value(v).name;
        let message = format!("state `{name}` has a size that is not fixed");
        Found::at(scope.at_value(v), message).help("fix the state at its largest size")
    });
    found.collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;
    use milwright_ir::{Dim, TensorType, ValueType};

    use crate::lint::testing::Sketch;

    fn program(open: bool) -> Sketch {
        let mut s = Sketch::new();
        let state = s.state("cache", Float16, &[1, 64]);
        if open {
            let shape = vec![Dim::Known(1), Dim::Unknown];
            let inner = ValueType::from(TensorType::new(Float16, shape));
            s.program.values[state].ty = ValueType::State(Box::new(inner));
        }
        let x = s.op("read_state", &[("input", state)]);
        let y = s.op("relu", &[("x", x)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(true)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(false)
    }
}
