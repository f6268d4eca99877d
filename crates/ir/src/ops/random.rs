//! Random tensors.

use super::Default::{Float, Int, Str};
use super::domain::{FLOAT, INT32, STRING};
use super::{OpDef, Param};
use crate::types::ValueType;
use crate::view::{OpView, ParamError};

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
            Param::constant("size", INT32).or(Int(1)),
            SEED,
        ],
        categorical,
    ),
];

fn random(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn categorical(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
