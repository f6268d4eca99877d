//! Moving elements between spatial dimensions, channels and batch.

use super::Opset::IOS16;
use super::domain::{FLOAT, INT32, UINT32};
use super::{OpDef, Param};
use super::infer::{Types, ints, positive, ranked, tensor};
use crate::shape;
use crate::types::{Dim, TensorType};
use crate::view::{OpView, ParamError};

const X: Param = Param::value("x", FLOAT);

pub(super) static DEFS: &[OpDef] = &[
    OpDef::new(
        "space_to_depth",
        "[N, C, H, W] to [N, C * b^2, H / b, W / b]; the position in the block becomes the outer \
         part of the channel.",
        &[X, Param::scalar("block_size", INT32)],
        space_to_depth,
    ),
    OpDef::new(
        "depth_to_space",
        "[N, C, H, W] to [N, C / b^2, H * b, W * b]; the inverse of `space_to_depth`.",
        &[X, Param::scalar("block_size", INT32)],
        depth_to_space,
    ),
    OpDef::new(
        "pixel_shuffle",
        "[N, C, H, W] to [N, C / f^2, H * f, W * f]; the position in the block is the inner part \
         of the channel.",
        &[X, Param::scalar("upscale_factor", INT32)],
        pixel_shuffle,
    ),
    OpDef::new(
        "pixel_unshuffle",
        "[N, C, H, W] to [N, C * f^2, H / f, W / f]; the inverse of `pixel_shuffle`.",
        &[X, Param::scalar("downscale_factor", UINT32)],
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

/// Batch, channels, height and width of `x`.
fn image<'p>(op: &OpView<'p>) -> Result<(&'p TensorType, [Dim; 4]), ParamError> {
    let x = ranked(op, "x", 4..=4)?;
    Ok((x, [x.shape[0], x.shape[1], x.shape[2], x.shape[3]]))
}

fn square(n: u64) -> Result<u64, ParamError> {
    n.checked_mul(n).ok_or_else(shape::too_large)
}

/// Blocks of the image become channels.
fn deepen(op: &OpView<'_>, param: &str) -> Types {
    let (x, [n, c, h, w]) = image(op)?;
    let block = positive(op, param)?;
    let area = square(block)?;
    let channels = shape::map(c, |c| c.checked_mul(area))?;
    let height = shape::divide("the height of `x`", h, block)?;
    let width = shape::divide("the width of `x`", w, block)?;
    tensor(x.dtype, [n, channels, height, width])
}

/// Channels become blocks of the image.
fn flatten(op: &OpView<'_>, param: &str) -> Types {
    let (x, [n, c, h, w]) = image(op)?;
    let block = positive(op, param)?;
    let channels = shape::divide("the number of channels of `x`", c, square(block)?)?;
    let height = shape::map(h, |h| h.checked_mul(block))?;
    let width = shape::map(w, |w| w.checked_mul(block))?;
    tensor(x.dtype, [n, channels, height, width])
}

fn space_to_depth(op: &OpView<'_>) -> Types {
    deepen(op, "block_size")
}

fn depth_to_space(op: &OpView<'_>) -> Types {
    flatten(op, "block_size")
}

fn pixel_shuffle(op: &OpView<'_>) -> Types {
    flatten(op, "upscale_factor")
}

fn pixel_unshuffle(op: &OpView<'_>) -> Types {
    deepen(op, "downscale_factor")
}

/// The two block sizes, and the amounts at the two ends of both dimensions.
fn batch_blocks(op: &OpView<'_>, param: &str) -> Result<([u64; 2], [u64; 4]), ParamError> {
    let sizes = ints(op, "block_shape")?;
    let &[rows, columns] = sizes.as_slice() else {
        return Err(ParamError::value("block_shape", "must have two elements"));
    };
    let amounts = ints(op, param)?;
    let &[a, b, c, d] = amounts.as_slice() else {
        return Err(ParamError::value(param, "must have two rows of two elements"));
    };
    let amount = |n| shape::size(param, n);
    Ok((
        [
            shape::positive("block_shape", rows)?,
            shape::positive("block_shape", columns)?,
        ],
        [amount(a)?, amount(b)?, amount(c)?, amount(d)?],
    ))
}

fn space_to_batch(op: &OpView<'_>) -> Types {
    let (x, [n, c, h, w]) = image(op)?;
    let ([rows, columns], pads) = batch_blocks(op, "paddings")?;
    let batch = shape::map(n, |n| n.checked_mul(rows)?.checked_mul(columns))?;
    let grown = |dim, a: u64, b: u64| shape::map(dim, |n| n.checked_add(a)?.checked_add(b));
    let height = shape::divide("the padded height", grown(h, pads[0], pads[1])?, rows)?;
    let width = shape::divide("the padded width", grown(w, pads[2], pads[3])?, columns)?;
    tensor(x.dtype, [batch, c, height, width])
}

fn batch_to_space(op: &OpView<'_>) -> Types {
    let (x, [n, c, h, w]) = image(op)?;
    let ([rows, columns], crops) = batch_blocks(op, "crops")?;
    let area = rows.checked_mul(columns).ok_or_else(shape::too_large)?;
    let batch = shape::divide("the batch of `x`", n, area)?;
    let cropped = |dim, by: u64, a: u64, b: u64| {
        let whole = shape::map(dim, |n| n.checked_mul(by))?;
        match whole {
            Dim::Known(n) => n
                .checked_sub(a)
                .and_then(|n| n.checked_sub(b))
                .map(Dim::Known)
                .ok_or_else(|| ParamError::value("crops", format!("cuts more than the {n} there are"))),
            other => Ok(other),
        }
    };
    let height = cropped(h, rows, crops[0], crops[1])?;
    let width = cropped(w, columns, crops[2], crops[3])?;
    tensor(x.dtype, [batch, c, height, width])
}
