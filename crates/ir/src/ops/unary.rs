//! One operand, element by element.

use super::Default::Float;
use super::Opset::IOS17;
use super::domain::{ANY_WIDE, BOOL, FLOAT, FLOAT_U, NUMBER, STRING};
use super::{OpDef, Param};
use super::infer::{self, Types, like_x, tensor};
use crate::view::OpView;

const X: &[Param] = &[Param::value("x", FLOAT)];
const X_NUMBER: &[Param] = &[Param::value("x", NUMBER)];

const EPSILON: &str = "`epsilon` may be of another float type than `x`";

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new("abs", "Absolute value.", X_NUMBER, like_x),
    OpDef::new("acos", "Inverse cosine.", X, like_x),
    OpDef::new("asin", "Inverse sine.", X, like_x),
    OpDef::new("atan", "Inverse tangent.", X, like_x),
    OpDef::new("atanh", "Inverse hyperbolic tangent.", X, like_x),
    OpDef::new("ceil", "Rounds up.", X, like_x),
    OpDef::new("cos", "Cosine.", X, like_x),
    OpDef::new("cosh", "Hyperbolic cosine.", X, like_x),
    OpDef::new("erf", "Gauss error function.", X, like_x),
    OpDef::new("exp", "`e` to the power `x`.", X, like_x),
    OpDef::new("exp2", "2 to the power `x`.", X_NUMBER, like_x),
    OpDef::new("floor", "Rounds down.", X, like_x),
    OpDef::new("round", "Rounds to the nearest integer, halves to even.", X, like_x),
    OpDef::new("sign", "-1, 0 or 1.", X_NUMBER, like_x),
    OpDef::new("sin", "Sine.", X, like_x),
    OpDef::new("sinh", "Hyperbolic sine.", X, like_x),
    OpDef::new("sqrt", "Square root.", X, like_x),
    OpDef::new("square", "`x * x`.", X_NUMBER, like_x),
    OpDef::new("tan", "Tangent.", X, like_x),
    OpDef::new("tanh", "Hyperbolic tangent.", X, like_x),
    OpDef::new(
        "logical_not",
        "True where `x` is false.",
        &[Param::value("x", BOOL)],
        like_x,
    ),
    OpDef::new(
        "inverse",
        "`1 / (x + epsilon)`.",
        &[
            Param::value("x", FLOAT),
            Param::constant("epsilon", FLOAT_U).or(Float(1e-4)),
        ],
        like_x,
    )
    .changes(&[(IOS17, EPSILON)]),
    OpDef::new(
        "log",
        "Natural logarithm of `x + epsilon`.",
        &[
            Param::value("x", FLOAT),
            Param::constant("epsilon", FLOAT_U).or(Float(1e-45)),
        ],
        like_x,
    )
    .changes(&[(IOS17, EPSILON)]),
    OpDef::new(
        "rsqrt",
        "`1 / sqrt(x + epsilon)`.",
        &[
            Param::value("x", FLOAT),
            Param::constant("epsilon", FLOAT_U).or(Float(1e-12)),
        ],
        like_x,
    )
    .changes(&[(IOS17, EPSILON)]),
    OpDef::new(
        "clip",
        "Limits `x` to `alpha ..= beta`.",
        &[
            Param::value("x", FLOAT),
            Param::scalar("alpha", FLOAT),
            Param::scalar("beta", FLOAT),
        ],
        like_x,
    ),
    OpDef::new(
        "threshold",
        "The greater of `x` and `alpha`.",
        &[Param::value("x", NUMBER), Param::scalar("alpha", NUMBER)],
        like_x,
    ),
    OpDef::new(
        "cast",
        "Converts to the element type that `dtype` names; floats to integers towards zero.",
        &[
            Param::value("x", ANY_WIDE),
            Param::scalar("dtype", STRING),
        ],
        cast,
    )
    .changes(&[(IOS17, "8 and 16 bit integers, from and to")]),
];

fn cast(op: &OpView<'_>) -> Types {
    let to = infer::dtype(op, "dtype", &[])?;
    tensor(to, op.tensor("x")?.shape.clone())
}
