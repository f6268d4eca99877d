//! One operand, element by element.

use super::Default::Float;
use super::Opset::IOS17;
use super::domain::{ANY_WIDE, BOOL, FLOAT, FLOAT_U, NUMBER, STRING};
use super::{OpDef, Param};
use crate::types::ValueType;
use crate::view::{OpView, ParamError};

const X: &[Param] = &[Param::value("x", FLOAT)];
const X_NUMBER: &[Param] = &[Param::value("x", NUMBER)];

const EPSILON: &str = "`epsilon` may be of another float type than `x`";

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new("abs", "Absolute value.", X_NUMBER, same),
    OpDef::new("acos", "Inverse cosine.", X, same),
    OpDef::new("asin", "Inverse sine.", X, same),
    OpDef::new("atan", "Inverse tangent.", X, same),
    OpDef::new("atanh", "Inverse hyperbolic tangent.", X, same),
    OpDef::new("ceil", "Rounds up.", X, same),
    OpDef::new("cos", "Cosine.", X, same),
    OpDef::new("cosh", "Hyperbolic cosine.", X, same),
    OpDef::new("erf", "Gauss error function.", X, same),
    OpDef::new("exp", "`e` to the power `x`.", X, same),
    OpDef::new("exp2", "2 to the power `x`.", X_NUMBER, same),
    OpDef::new("floor", "Rounds down.", X, same),
    OpDef::new("round", "Rounds to the nearest integer, halves to even.", X, same),
    OpDef::new("sign", "-1, 0 or 1.", X_NUMBER, same),
    OpDef::new("sin", "Sine.", X, same),
    OpDef::new("sinh", "Hyperbolic sine.", X, same),
    OpDef::new("sqrt", "Square root.", X, same),
    OpDef::new("square", "`x * x`.", X_NUMBER, same),
    OpDef::new("tan", "Tangent.", X, same),
    OpDef::new("tanh", "Hyperbolic tangent.", X, same),
    OpDef::new(
        "logical_not",
        "True where `x` is false.",
        &[Param::value("x", BOOL)],
        same,
    ),
    OpDef::new(
        "inverse",
        "`1 / (x + epsilon)`.",
        &[
            Param::value("x", FLOAT),
            Param::constant("epsilon", FLOAT_U).or(Float(1e-4)),
        ],
        same,
    )
    .changes(&[(IOS17, EPSILON)]),
    OpDef::new(
        "log",
        "Natural logarithm of `x + epsilon`.",
        &[
            Param::value("x", FLOAT),
            Param::constant("epsilon", FLOAT_U).or(Float(1e-45)),
        ],
        same,
    )
    .changes(&[(IOS17, EPSILON)]),
    OpDef::new(
        "rsqrt",
        "`1 / sqrt(x + epsilon)`.",
        &[
            Param::value("x", FLOAT),
            Param::constant("epsilon", FLOAT_U).or(Float(1e-12)),
        ],
        same,
    )
    .changes(&[(IOS17, EPSILON)]),
    OpDef::new(
        "clip",
        "Limits `x` to `alpha ..= beta`.",
        &[
            Param::value("x", FLOAT),
            Param::constant("alpha", FLOAT),
            Param::constant("beta", FLOAT),
        ],
        same,
    ),
    OpDef::new(
        "threshold",
        "The greater of `x` and `alpha`.",
        &[Param::value("x", NUMBER), Param::constant("alpha", NUMBER)],
        same,
    ),
    OpDef::new(
        "cast",
        "Converts to the element type that `dtype` names; floats to integers towards zero.",
        &[
            Param::value("x", ANY_WIDE),
            Param::constant("dtype", STRING),
        ],
        cast,
    )
    .changes(&[(IOS17, "8 and 16 bit integers, from and to")]),
];

fn same(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}

fn cast(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
