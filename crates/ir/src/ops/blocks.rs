//! Moving elements between spatial dimensions, channels and batch.

use super::Opset::IOS16;
use super::domain::{FLOAT, INT32, UINT32};
use super::{OpDef, Param};
use crate::types::ValueType;
use crate::view::{OpView, ParamError};

const X: Param = Param::value("x", FLOAT);

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new(
        "space_to_depth",
        "[N, C, H, W] to [N, C * b^2, H / b, W / b]; the position in the block becomes the outer \
         part of the channel.",
        &[X, Param::constant("block_size", INT32)],
        space_to_depth,
    ),
    OpDef::new(
        "depth_to_space",
        "[N, C, H, W] to [N, C / b^2, H * b, W * b]; the inverse of `space_to_depth`.",
        &[X, Param::constant("block_size", INT32)],
        depth_to_space,
    ),
    OpDef::new(
        "pixel_shuffle",
        "[N, C, H, W] to [N, C / f^2, H * f, W * f]; the position in the block is the inner part \
         of the channel.",
        &[X, Param::constant("upscale_factor", INT32)],
        pixel_shuffle,
    ),
    OpDef::new(
        "pixel_unshuffle",
        "[N, C, H, W] to [N, C * f^2, H / f, W / f]; the inverse of `pixel_shuffle`.",
        &[X, Param::constant("downscale_factor", UINT32)],
        pixel_unshuffle,
    )
    .since(IOS16),
    OpDef::new(
        "space_to_batch",
        "Pads the two spatial dimensions and moves blocks of them into the batch.",
        &[
            X,
            Param::constant("block_shape", INT32),
            Param::constant("paddings", INT32),
        ],
        space_to_batch,
    ),
    OpDef::new(
        "batch_to_space",
        "Moves blocks of the batch into the two spatial dimensions and crops them.",
        &[
            X,
            Param::constant("block_shape", INT32),
            Param::constant("crops", INT32),
        ],
        batch_to_space,
    ),
];

fn space_to_depth(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn depth_to_space(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn pixel_shuffle(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn pixel_unshuffle(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn space_to_batch(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
fn batch_to_space(op: &OpView<'_>) -> Result<Vec<ValueType>, ParamError> {
    super::declared(op)
}
