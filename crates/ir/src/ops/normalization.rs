//! Normalisations.

use super::Default::Float;
use super::Opset::IOS17;
use super::domain::{FLOAT, FLOAT_U, INT32};
use super::{OpDef, Opset, Param};
use super::infer::{Types, fixed, like_x, positive, ranked, shaped};
use crate::shape;
use crate::types::Dim;
use crate::view::{Given, OpView};

const X: Param = Param::value("x", FLOAT);
const GAMMA: Param = Param::constant("gamma", FLOAT_U).optional("1");
const BETA: Param = Param::constant("beta", FLOAT_U).optional("0");
const EPSILON: Param = Param::constant("epsilon", FLOAT_U).or(Float(1e-5));

const MIXED: &[(Opset, &str)] = &[(IOS17, "constants may be of another float type than `x`")];

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new(
        "batch_norm",
        "`gamma * (x - mean) / sqrt(variance + epsilon) + beta`, per channel (axis 1).",
        &[
            X,
            Param::constant("mean", FLOAT_U),
            Param::constant("variance", FLOAT_U),
            GAMMA,
            BETA,
            EPSILON,
        ],
        batch_norm,
    )
    .changes(MIXED),
    OpDef::new(
        "instance_norm",
        "Normalises each channel of each sample by its own mean and variance over the spatial \
         dimensions.",
        &[X, GAMMA, BETA, EPSILON],
        instance_norm,
    )
    .changes(MIXED),
    OpDef::new(
        "layer_norm",
        "Normalises by mean and variance over `axes`; `gamma` and `beta` have the sizes of those \
         axes.",
        &[
            X,
            Param::constant("axes", INT32).optional("all axes"),
            GAMMA,
            BETA,
            EPSILON,
        ],
        layer_norm,
    )
    .changes(MIXED),
    OpDef::new(
        "l2_norm",
        "`x / sqrt(sum(x^2) + epsilon)` over the last three dimensions.",
        &[X, Param::constant("epsilon", FLOAT_U).or(Float(1e-6))],
        l2_norm,
    )
    .changes(MIXED),
    OpDef::new(
        "local_response_norm",
        "`x / (k + alpha / size * sum(x^2))^beta` over a window of `size` channels (axis 1).",
        &[
            X,
            Param::scalar("size", INT32),
            Param::constant("alpha", FLOAT_U).or(Float(1e-4)),
            Param::constant("beta", FLOAT_U).or(Float(0.75)),
            Param::constant("k", FLOAT_U).or(Float(1.0)),
        ],
        local_response_norm,
    )
    .changes(MIXED),
];

fn batch_norm(op: &OpView<'_>) -> Types {
    per_channel(op, &["mean", "variance", "gamma", "beta"])
}

fn instance_norm(op: &OpView<'_>) -> Types {
    per_channel(op, &["gamma", "beta"])
}

fn per_channel(op: &OpView<'_>, params: &[&str]) -> Types {
    let x = ranked(op, "x", 3..=usize::MAX)?;
    for param in params {
        shaped(op, param, &x.shape[1..2])?;
    }
    like_x(op)
}

fn layer_norm(op: &OpView<'_>) -> Types {
    let x = op.tensor("x")?;
    let rank = x.shape.len();
    let mut axes = match op.ints("axes")? {
        Given::Absent => (0..rank).collect(),
        given => shape::axes("axes", &fixed("axes", given)?, rank)?,
    };
    axes.sort_unstable();
    let normalized: Vec<Dim> = axes.into_iter().map(|a| x.shape[a]).collect();
    shaped(op, "gamma", &normalized)?;
    shaped(op, "beta", &normalized)?;
    like_x(op)
}

fn l2_norm(op: &OpView<'_>) -> Types {
    ranked(op, "x", 3..=usize::MAX)?;
    like_x(op)
}

fn local_response_norm(op: &OpView<'_>) -> Types {
    ranked(op, "x", 3..=usize::MAX)?;
    positive(op, "size")?;
    like_x(op)
}
