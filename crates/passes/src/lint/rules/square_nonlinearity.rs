//! Squares before activations.

use milwright_ir::{OpId, Severity};

use crate::lint::finding::{Confidence, Effect, Found, Rule, Unit};
use crate::lint::scope::Scope;
use crate::lint::target::Family;

pub(super) static RULE: Rule = Rule {
    name: "square-nonlinearity",
    ids: &["OP38"],
    severity: Severity::Warning,
    effect: Effect::LeavesNeuralEngine,
    units: &[Unit::Ane],
    confidence: Confidence::Reported,
    summary: "`square` before an activation does not compile for some widths.",
    details: "\
`square` whose result an activation (`relu`, `sigmoid`, `tanh`, `exp`, `sqrt`, ...) reads, where \
the width modulo 128 is above 64. Seen on M1 and M2 through a private interface.

Write it as `mul(x, x)`.",
    sources: &["sbryngelson/ANEForge docs/developer/op-quirks.md"],
    disputed: None,
    check,
};

const ACTIVATIONS: [&str; 14] = [
    "elu",
    "exp",
    "gelu",
    "leaky_relu",
    "log",
    "relu",
    "relu6",
    "rsqrt",
    "sigmoid",
    "silu",
    "softplus",
    "softsign",
    "sqrt",
    "tanh",
];

fn check(scope: &Scope<'_>) -> Vec<Found> {
    if scope.target.family() > Family::H14 {
        return Vec::new();
    }
    let found = scope.of_type(&["square"]).filter_map(|id| {
        let rest = rest(scope, id).filter(|&r| r > 64)?;
        scope.readers_of(id).find(|&r| scope.is_type(r, &ACTIVATIONS))?;
        let message = format!("a square before an activation, width modulo 128 is {rest}, over 64");
        let found = Found::at(scope.at(id), message).number(rest).limit(64u64);
        Some(found.help("write it as mul(x, x)"))
    });
    found.collect()
}

fn rest(scope: &Scope<'_>, id: OpId) -> Option<u64> {
    let width = scope.result(id)?.shape.last()?.known()?;
    scope.is_half(id).then_some(width % 128)
}

#[cfg(test)]
pub(super) mod cases {
    use milwright_ir::DataType::Float16;

    use crate::lint::testing::Sketch;

    fn program(width: u64) -> Sketch {
        let mut s = Sketch::for_target("m1");
        let x = s.input("x", Float16, &[1, 4, width]);
        let y = s.op("square", &[("x", x)]);
        let y = s.op("tanh", &[("x", y)]);
        s.output(y);
        s
    }

    pub(crate) fn triggers() -> Sketch {
        program(193)
    }

    pub(crate) fn near_miss() -> Sketch {
        program(192)
    }
}
