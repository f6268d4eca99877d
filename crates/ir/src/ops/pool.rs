//! Pooling.

use super::Default::Bool;
use super::domain::{BOOL, FLOAT, INT32, STRING};
use super::{OpDef, Param};
use super::infer::{Types, bool, ints, ranked, tensor};
use crate::shape::{self, windows};
use crate::view::{OpView, ParamError};

const X: Param = Param::value("x", FLOAT);
const KERNEL_SIZES: Param = Param::constant("kernel_sizes", INT32);
const STRIDES: Param =
    Param::constant("strides", INT32).optional("1 along each spatial dimension");
const PAD_TYPE: Param = Param::scalar("pad_type", STRING);
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

fn pool(op: &OpView<'_>) -> Types {
    let x = ranked(op, "x", 3..=5)?;
    let kernel = ints(op, "kernel_sizes")?;
    let spatial = &x.shape[2..];
    if kernel.len() != spatial.len() {
        return Err(ParamError::value(
            "kernel_sizes",
            format!("has {} elements, but must have {}", kernel.len(), spatial.len()),
        ));
    }
    let kernel = kernel
        .into_iter()
        .map(|k| shape::positive("kernel_sizes", k))
        .collect::<Result<Vec<u64>, _>>()?;
    let ceil = bool(op, "ceil_mode")?;
    let mut result = x.shape[..2].to_vec();
    for (w, &size) in windows(op, &kernel)?.iter().zip(spatial) {
        result.push(w.count_dim(size, ceil)?);
    }
    tensor(x.dtype, result)
}
