//! Casts for the sake of a constant.

use milwright_ir::{Arg, DataType, OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit, counted};
use crate::lint::scope::Scope;

pub(super) static RULE: Rule = Rule {
    name: "fp32-constant",
    ids: &["DT02"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Documented,
    summary: "An fp32 constant pulls an fp16 operation into single precision.",
    details: "\
Counts elementwise operations that compute in fp32 although everything they read is a constant of \
one element or was cast up from fp16. The casts and the operation leave the Neural Engine.

Write the constant as fp16 in the source model, or convert with fp16 throughout.",
    sources: &[
        "apple/coreai-models neural_engine_rules.md",
        "apple/coreai-models common_issues.md",
    ],
    disputed: None,
    check,
};

const BINARY: [&str; 8] = ["add", "floor_div", "maximum", "minimum", "mul", "pow", "real_div", "sub"];

fn check(scope: &Scope<'_>) -> Vec<Found> {
    let pulled = |&id: &OpId| {
        let op = scope.op(id);
        if !scope.computes_in(id, DataType::Float32) || !scope.is_type(id, &BINARY) {
            return false;
        }
        let floats = op.inputs.iter().flat_map(|(_, args)| args).filter(|arg| {
            let ty = scope.program.arg_type(arg).as_tensor();
            ty.is_some_and(|t| t.dtype == DataType::Float32)
        });
        let (mut constants, mut raised) = (0, 0);
        for arg in floats {
            match arg {
                Arg::Const(_) => constants += 1,
                Arg::Value(v) if scope.is_static(*v) => {
                    let elements = scope.tensor(*v).and_then(|t| t.elements());
                    if elements != Some(1) {
                        return false;
                    }
                    constants += 1;
                }
                Arg::Value(v) => match scope.program.def_op(*v) {
                    Some(cast) if is_raise(scope, cast) => raised += 1,
                    _ => return false,
                },
            }
        }
        constants > 0 && raised > 0
    };
    let places = scope.at_all(scope.active().filter(pulled));
    let found = Found::each(places, |n| {
        format!("{} in fp32 because of an fp32 constant; the rest is fp16", counted(n, "operation"))
    });
    found.map(|f| f.help("make the constants fp16")).into_iter().collect()
}

/// Whether an operation casts fp16 to fp32.
fn is_raise(scope: &Scope<'_>, id: OpId) -> bool {
    let from = scope.param(id, "x").map(|t| t.dtype);
    scope.is_type(id, &["cast"]) && from == Some(DataType::Float16)
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::{self, Float16, Float32};

    use crate::lint::testing::Sketch;

    fn program(dtype: DataType) -> Sketch {
        let mut s = Sketch::new();
        let x = s.input("x", Float16, &[1, 64]);
        let c = s.float(dtype, 0.5);
        let y = match dtype {
            Float16 => s.add(x, c),
            _ => {
                let x = s.cast(x, Float32);
                let y = s.add(x, c);
                s.cast(y, Float16)
            }
        };
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(Float32)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(Float16)
    }
}
