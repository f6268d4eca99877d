//! Activation functions.

use super::Default::{Int, Str};
use super::Opset::IOS17;
use super::domain::{FLOAT, FLOAT_U, INT32, STRING};
use super::{OpDef, Opset, Param};
use crate::types::ValueType;
use crate::view::{OpView, ParamError};

const X: &[Param] = &[Param::value("x", FLOAT)];
const ALPHA: &[Param] = &[Param::value("x", FLOAT), Param::constant("alpha", FLOAT_U)];
const ALPHA_BETA: &[Param] = &[
    Param::value("x", FLOAT),
    Param::constant("alpha", FLOAT_U),
    Param::constant("beta", FLOAT_U),
];
const MIXED: &[(Opset, &str)] = &[(IOS17, "constants may be of another float type than `x`")];

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new("relu", "`max(0, x)`.", X, same),
    OpDef::new("relu6", "`min(max(0, x), 6)`.", X, same),
    OpDef::new("sigmoid", "`1 / (1 + exp(-x))`.", X, same),
    OpDef::new("silu", "`x * sigmoid(x)`.", X, same),
    OpDef::new("softplus", "`log(1 + exp(x))`.", X, same),
    OpDef::new("softsign", "`x / (1 + |x|)`.", X, same),
    OpDef::new(
        "leaky_relu",
        "`x` where `x >= 0`, else `alpha * x`.",
        ALPHA,
        same,
    )
    .changes(MIXED),
    OpDef::new(
        "elu",
        "`x` where `x > 0`, else `alpha * (exp(x) - 1)`.",
        ALPHA,
        same,
    )
    .changes(MIXED),
    OpDef::new(
        "thresholded_relu",
        "`x` where `x >= alpha`, else 0.",
        ALPHA,
        same,
    )
    .changes(MIXED),
    OpDef::new(
        "prelu",
        "`x` where `x >= 0`, else `alpha[c] * x`, with `c` the index along axis 1.",
        ALPHA,
        prelu,
    )
    .changes(MIXED),
    OpDef::new(
        "clamped_relu",
        "`min(beta, x)` where `x >= 0`, else `min(beta, alpha * x)`.",
        ALPHA_BETA,
        same,
    )
    .changes(MIXED),
    OpDef::new("linear_activation", "`alpha * x + beta`.", ALPHA_BETA, same).changes(MIXED),
    OpDef::new("scaled_tanh", "`alpha * tanh(beta * x)`.", ALPHA_BETA, same).changes(MIXED),
    OpDef::new(
        "sigmoid_hard",
        "`min(max(alpha * x + beta, 0), 1)`.",
        ALPHA_BETA,
        same,
    )
    .changes(MIXED),
    OpDef::new(
        "softplus_parametric",
        "`alpha[c] * log(1 + exp(beta[c] * x))`, with `c` the index along axis 1.",
        ALPHA_BETA,
        softplus_parametric,
    )
    .changes(MIXED),
    OpDef::new(
        "gelu",
        "Gaussian error linear unit: exact, or by the approximation that `mode` names \
         (`EXACT`, `TANH_APPROXIMATION`, `SIGMOID_APPROXIMATION`).",
        &[
            Param::value("x", FLOAT),
            Param::constant("mode", STRING).or(Str("EXACT")),
        ],
        gelu,
    ),
    OpDef::new(
        "softmax",
        "`exp(x) / sum(exp(x))` along `axis`.",
        &[
            Param::value("x", FLOAT),
            Param::constant("axis", INT32).or(Int(-1)),
        ],
        softmax,
    ),
];

fn same(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn prelu(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn softplus_parametric(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn gelu(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn softmax(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
