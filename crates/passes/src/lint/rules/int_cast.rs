//! Casts between floats and integers.

use milwright_ir::{DataType, OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "int-cast",
    ids: &["DT04"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Measured,
    summary: "Casts between floats and integers interrupt the Neural Engine's part.",
    details: "\
Counts casts from a float to int32 or int8, and back, in the middle of the function: what they \
read is no input, and what they make is not merely returned. Each ends a segment on the Neural \
Engine.

Do it at the edge of the model. From iOS 17 on, indices may be int16 or uint16.",
    sources: &[
        "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/coreml_dispatch.md",
        "sbryngelson/ANEForge docs/op-catalog.md",
    ],
    disputed: None,
    check,
};

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let inner = |&id: &OpId| {
        let (Some(x), Some(&y)) = (scope.operand(id, "x"), scope.op(id).outputs.first()) else {
            return false;
        };
        let dtype = |v| scope.tensor(v).map(|t| t.dtype);
        let (Some(from), Some(to)) = (dtype(x), dtype(y)) else {
            return false;
        };
        let whole = |t| matches!(t, DataType::Int32 | DataType::Int8);
        let between = (from.is_float() && whole(to)) || (whole(from) && to.is_float());
        between && !scope.is_input(x) && !scope.readers(y).is_empty()
    };
    let places = scope.at_all(scope.of_type(&["cast"]).filter(inner));
    let found = Found::each(places, |n| {
        format!("{} between floats and int32 or int8 in the middle of the function", counted(n, "cast"))
    });
    found
        .map(|f| f.help("move them to the edge of the model, or use int16 indices"))
        .into_iter()
        .collect()
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::{Float16, Int32};

    use crate::lint::testing::Sketch;

    fn program(at_the_edge: bool) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 64]);
        let y = if at_the_edge { x } else { s.op("relu", &[("x", x)]) };
        let y = s.cast(y, Int32);
        let y = s.op("abs", &[("x", y)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(false)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(true)
    }
}
