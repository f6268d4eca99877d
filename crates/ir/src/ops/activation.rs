//! Activation functions.

use super::Default::{Int, Str};
use super::Opset::IOS17;
use super::domain::{FLOAT, FLOAT_U, INT32, STRING};
use super::{OpDef, Opset, Param};
use super::infer::{Types, choice, int, like_x, ranked, shaped};
use crate::shape;
use crate::view::OpView;

const X: &[Param] = &[Param::value("x", FLOAT)];
const ALPHA: &[Param] = &[Param::value("x", FLOAT), Param::scalar("alpha", FLOAT_U)];
const ALPHA_BETA: &[Param] = &[
    Param::value("x", FLOAT),
    Param::scalar("alpha", FLOAT_U),
    Param::scalar("beta", FLOAT_U),
];
const MIXED: &[(Opset, &str)] = &[(IOS17, "constants may be of another float type than `x`")];

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new("relu", "`max(0, x)`.", X, like_x),
    OpDef::new("relu6", "`min(max(0, x), 6)`.", X, like_x),
    OpDef::new("sigmoid", "`1 / (1 + exp(-x))`.", X, like_x),
    OpDef::new("silu", "`x * sigmoid(x)`.", X, like_x),
    OpDef::new("softplus", "`log(1 + exp(x))`.", X, like_x),
    OpDef::new("softsign", "`x / (1 + |x|)`.", X, like_x),
    OpDef::new(
        "leaky_relu",
        "`x` where `x >= 0`, else `alpha * x`.",
        ALPHA,
        like_x,
    )
    .changes(MIXED),
    OpDef::new(
        "elu",
        "`x` where `x > 0`, else `alpha * (exp(x) - 1)`.",
        ALPHA,
        like_x,
    )
    .changes(MIXED),
    OpDef::new(
        "thresholded_relu",
        "`x` where `x >= alpha`, else 0.",
        ALPHA,
        like_x,
    )
    .changes(MIXED),
    OpDef::new(
        "prelu",
        "`x` where `x >= 0`, else `alpha[c] * x`, with `c` the index along axis 1.",
        &[Param::value("x", FLOAT), Param::constant("alpha", FLOAT_U)],
        prelu,
    )
    .changes(MIXED),
    OpDef::new(
        "clamped_relu",
        "`min(beta, x)` where `x >= 0`, else `min(beta, alpha * x)`.",
        ALPHA_BETA,
        like_x,
    )
    .changes(MIXED),
    OpDef::new("linear_activation", "`alpha * x + beta`.", ALPHA_BETA, like_x).changes(MIXED),
    OpDef::new("scaled_tanh", "`alpha * tanh(beta * x)`.", ALPHA_BETA, like_x).changes(MIXED),
    OpDef::new(
        "sigmoid_hard",
        "`min(max(alpha * x + beta, 0), 1)`.",
        ALPHA_BETA,
        like_x,
    )
    .changes(MIXED),
    OpDef::new(
        "softplus_parametric",
        "`alpha[c] * log(1 + exp(beta[c] * x))`, with `c` the index along axis 1.",
        &[
            Param::value("x", FLOAT),
            Param::constant("alpha", FLOAT_U),
            Param::constant("beta", FLOAT_U),
        ],
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
            Param::scalar("axis", INT32).or(Int(-1)),
        ],
        softmax,
    ),
];

fn prelu(op: &OpView<'_>) -> Types {
    let x = ranked(op, "x", 2..=usize::MAX)?;
    shaped(op, "alpha", &x.shape[1..2])?;
    like_x(op)
}

fn softplus_parametric(op: &OpView<'_>) -> Types {
    let x = ranked(op, "x", 2..=usize::MAX)?;
    shaped(op, "alpha", &x.shape[1..2])?;
    shaped(op, "beta", &x.shape[1..2])?;
    like_x(op)
}

fn gelu(op: &OpView<'_>) -> Types {
    choice(
        op,
        "mode",
        &["EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"],
    )?;
    like_x(op)
}

fn softmax(op: &OpView<'_>) -> Types {
    let rank = op.tensor("x")?.shape.len();
    shape::axis("axis", int(op, "axis")?, rank)?;
    like_x(op)
}
