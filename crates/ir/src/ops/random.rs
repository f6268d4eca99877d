//! Random tensors.

use super::Default::{Float, Int, Str};
use super::domain::{FLOAT, INT32, STRING};
use super::{OpDef, Param};
use super::infer::{Types, choice, positive, ranked, shape_param, tensor};
use crate::types::{DataType, Dim};
use crate::view::OpView;

const SHAPE: Param = Param::value("shape", INT32);
const SEED: Param = Param::constant("seed", INT32).or(Int(-1));

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new(
        "random_bernoulli",
        "1 with probability `prob`, else 0.",
        &[
            SHAPE,
            Param::constant("prob", FLOAT).or(Float(0.5)),
            SEED,
        ],
        random,
    ),
    OpDef::new(
        "random_normal",
        "Normally distributed numbers.",
        &[
            SHAPE,
            Param::constant("mean", FLOAT).or(Float(0.0)),
            Param::constant("stddev", FLOAT).or(Float(1.0)),
            SEED,
        ],
        random,
    ),
    OpDef::new(
        "random_uniform",
        "Numbers uniformly distributed over `low .. high`.",
        &[
            SHAPE,
            Param::constant("low", FLOAT).or(Float(0.0)),
            Param::constant("high", FLOAT).or(Float(1.0)),
            SEED,
        ],
        random,
    ),
    OpDef::new(
        "random_categorical",
        "`size` draws from the distributions in `x`, which are `logits` or `probs` by `mode`.",
        &[
            Param::value("x", FLOAT),
            Param::constant("mode", STRING).or(Str("logits")),
            Param::scalar("size", INT32).or(Int(1)),
            SEED,
        ],
        categorical,
    ),
];

fn random(op: &OpView<'_>) -> Types {
    let mut dtype = DataType::Float32;
    for param in ["prob", "mean", "stddev", "low", "high"] {
        if let Some(ty) = op.opt_tensor(param)? {
            dtype = ty.dtype;
        }
    }
    tensor(dtype, shape_param(op, "shape")?)
}

fn categorical(op: &OpView<'_>) -> Types {
    let x = ranked(op, "x", 1..=usize::MAX)?;
    choice(op, "mode", &["logits", "probs"])?;
    let mut result = x.shape.clone();
    if let Some(last) = result.last_mut() {
        *last = Dim::Known(positive(op, "size")?);
    }
    tensor(x.dtype, result)
}
