//! Pooling.

use super::Default::Bool;
use super::domain::{BOOL, FLOAT, INT32, STRING};
use super::{OpDef, Param};
use crate::types::ValueType;
use crate::view::{OpView, ParamError};

const X: Param = Param::value("x", FLOAT);
const KERNEL_SIZES: Param = Param::constant("kernel_sizes", INT32);
const STRIDES: Param =
    Param::constant("strides", INT32).optional("1 along each spatial dimension");
const PAD_TYPE: Param = Param::constant("pad_type", STRING);
const PAD: Param = Param::constant("pad", INT32).optional("0 on every side");
const CEIL_MODE: Param = Param::constant("ceil_mode", BOOL).or(Bool(false));

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new(
        "avg_pool",
        "Mean over windows of the spatial dimensions of `x` [N, C, *D].",
        &[
            X,
            KERNEL_SIZES,
            STRIDES,
            PAD_TYPE,
            PAD,
            Param::constant("exclude_padding_from_average", BOOL).or(Bool(false)),
            CEIL_MODE,
        ],
        pool,
    ),
    OpDef::new(
        "l2_pool",
        "Square root of the sum of squares over windows of the spatial dimensions.",
        &[X, KERNEL_SIZES, STRIDES, PAD_TYPE, PAD, CEIL_MODE],
        pool,
    ),
    OpDef::new(
        "max_pool",
        "Maximum over windows of the spatial dimensions of `x` [N, C, *D].",
        &[X, KERNEL_SIZES, STRIDES, PAD_TYPE, PAD, CEIL_MODE],
        pool,
    ),
];

fn pool(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
