//! Ops that move elements between the spatial dimensions and the channels or
//! the batch, and windows that overlap.

use candle_core::Tensor;

use super::check::{Result, axis as checked_axis, bad, elements, length, need, size, times};
use super::layout::narrow;
use super::pad::{Mode, padded};
use super::runs::{Place, copy};
use super::shape::with_dims;
use crate::call::{Call, Outputs};

macro_rules! by_factor {
    ($($name:ident = $compute:ident($param:literal);)*) => {
        $(pub(crate) fn $name(call: &Call<'_>) -> Outputs {
            let factor = need($param, call.int($param)?)?;
            call.one($compute(&call.tensor("x")?.data, factor)?)
        })*
    };
}

by_factor! {
    space_to_depth = blocks_to_channels("block_size");
    depth_to_space = channels_to_blocks("block_size");
    pixel_shuffle = shuffled("upscale_factor");
    pixel_unshuffle = unshuffled("downscale_factor");
}

pub(crate) fn space_to_batch(call: &Call<'_>) -> Outputs {
    let block = need("block_shape", call.ints("block_shape")?)?;
    let paddings = need("paddings", call.ints("paddings")?)?;
    call.one(blocks_to_batch(&call.tensor("x")?.data, &block, &paddings)?)
}

pub(crate) fn batch_to_space(call: &Call<'_>) -> Outputs {
    let block = need("block_shape", call.ints("block_shape")?)?;
    let crops = need("crops", call.ints("crops")?)?;
    call.one(batch_to_blocks(&call.tensor("x")?.data, &block, &crops)?)
}

pub(crate) fn crop(call: &Call<'_>) -> Outputs {
    let height = need("crop_height", call.ints("crop_height")?)?;
    let width = need("crop_width", call.ints("crop_width")?)?;
    let x = call.tensor("x")?.data;
    call.one(cropped(&x, [("crop_height", &height), ("crop_width", &width)])?)
}

pub(crate) fn sliding_windows(call: &Call<'_>) -> Outputs {
    let axis = need("axis", call.int("axis")?)?;
    let size = need("size", call.int("size")?)?;
    let stride = need("stride", call.int("stride")?)?;
    call.one(windows_of(&call.tensor("x")?.data, axis, size, stride)?)
}

/// The dimensions of an image batch, `[n, channels, height, width]`.
fn image(x: &Tensor) -> Result<[usize; 4]> {
    <[usize; 4]>::try_from(x.dims())
        .map_err(|_| bad("x", format_args!("has shape {:?}, expected rank 4", x.dims())))
}

fn block(name: &str, value: i64) -> Result<usize> {
    match size(name, value)? {
        0 => Err(bad(name, "is 0")),
        block => Ok(block),
    }
}

fn divided(name: &str, what: &str, value: usize, by: usize) -> Result<usize> {
    if value.is_multiple_of(by) {
        Ok(value / by)
    } else {
        Err(bad(name, format_args!("{what} {value} is not a multiple of {by}")))
    }
}

/// Splits dimensions, reorders the pieces and merges them again.
fn rearrange(x: &Tensor, split: &[usize], order: &[usize], merged: &[usize]) -> Result<Tensor> {
    elements("x", merged)?;
    with_dims(&with_dims(x, split)?.permute(order)?, merged)
}

/// Blocks of `b` by `b` pixels to channels; a pixel's place in the block is
/// the slower part of the channel.
///
/// # Errors
/// When `x` is no image batch or `b` does not divide its size.
pub(crate) fn blocks_to_channels(x: &Tensor, block_size: i64) -> Result<Tensor> {
    let [n, c, h, w] = image(x)?;
    let b = block("block_size", block_size)?;
    let (h, w) = (
        divided("block_size", "height", h, b)?,
        divided("block_size", "width", w, b)?,
    );
    rearrange(
        x,
        &[n, c, h, b, w, b],
        &[0, 3, 5, 1, 2, 4],
        &[n, times("block_size", c, b * b)?, h, w],
    )
}

/// The reverse of [`blocks_to_channels`].
///
/// # Errors
/// When `x` is no image batch or `b * b` does not divide its channels.
pub(crate) fn channels_to_blocks(x: &Tensor, block_size: i64) -> Result<Tensor> {
    let [n, c, h, w] = image(x)?;
    let b = block("block_size", block_size)?;
    let c = divided("block_size", "channels", c, times("block_size", b, b)?)?;
    rearrange(
        x,
        &[n, b, b, c, h, w],
        &[0, 3, 4, 1, 5, 2],
        &[n, c, times("block_size", h, b)?, times("block_size", w, b)?],
    )
}

/// Channels to blocks of `f` by `f` pixels; a pixel's place in the block is the
/// faster part of the channel, as in torch.
///
/// # Errors
/// When `x` is no image batch or `f * f` does not divide its channels.
pub(crate) fn shuffled(x: &Tensor, upscale_factor: i64) -> Result<Tensor> {
    let [n, c, h, w] = image(x)?;
    let f = block("upscale_factor", upscale_factor)?;
    let c = divided("upscale_factor", "channels", c, times("upscale_factor", f, f)?)?;
    rearrange(
        x,
        &[n, c, f, f, h, w],
        &[0, 1, 4, 2, 5, 3],
        &[n, c, times("upscale_factor", h, f)?, times("upscale_factor", w, f)?],
    )
}

/// The reverse of [`shuffled`].
///
/// # Errors
/// When `x` is no image batch or `f` does not divide its size.
pub(crate) fn unshuffled(x: &Tensor, downscale_factor: i64) -> Result<Tensor> {
    let [n, c, h, w] = image(x)?;
    let f = block("downscale_factor", downscale_factor)?;
    let (h, w) = (
        divided("downscale_factor", "height", h, f)?,
        divided("downscale_factor", "width", w, f)?,
    );
    rearrange(
        x,
        &[n, c, h, f, w, f],
        &[0, 1, 3, 5, 2, 4],
        &[n, times("downscale_factor", c, f * f)?, h, w],
    )
}

fn pair(name: &str, values: &[i64]) -> Result<[usize; 2]> {
    length(name, values, 2)?;
    Ok([block(name, values[0])?, block(name, values[1])?])
}

/// Pads the image by `paddings` (`[top, bottom, left, right]`), then moves the
/// pixels of each block to the batch.
///
/// # Errors
/// When `x` is no image batch or the blocks do not divide the padded size.
pub(crate) fn blocks_to_batch(x: &Tensor, block_shape: &[i64], paddings: &[i64]) -> Result<Tensor> {
    image(x)?;
    let [bh, bw] = pair("block_shape", block_shape)?;
    length("paddings", paddings, 4)?;
    let x = padded(x, paddings, Mode::Constant(0.0))?;
    let [n, c, h, w] = image(&x)?;
    let (h, w) = (
        divided("block_shape", "padded height", h, bh)?,
        divided("block_shape", "padded width", w, bw)?,
    );
    rearrange(
        &x,
        &[n, c, h, bh, w, bw],
        &[3, 5, 0, 1, 2, 4],
        &[times("block_shape", n, times("block_shape", bh, bw)?)?, c, h, w],
    )
}

/// Moves batches back to the pixels of blocks, then crops the image by `crops`
/// (`[top, bottom, left, right]`).
///
/// # Errors
/// When `x` is no image batch, the blocks do not divide the batch, or the
/// crops exceed the image.
pub(crate) fn batch_to_blocks(x: &Tensor, block_shape: &[i64], crops: &[i64]) -> Result<Tensor> {
    let [n, c, h, w] = image(x)?;
    let [bh, bw] = pair("block_shape", block_shape)?;
    length("crops", crops, 4)?;
    let n = divided("block_shape", "batch", n, times("block_shape", bh, bw)?)?;
    let (tall, wide) = (times("block_shape", h, bh)?, times("block_shape", w, bw)?);
    let out = rearrange(
        x,
        &[bh, bw, n, c, h, w],
        &[2, 3, 4, 0, 5, 1],
        &[n, c, tall, wide],
    )?;
    cropped(&out, [("crops", &crops[..2]), ("crops", &crops[2..])])
}

/// `x` without the given numbers of rows at the top and the bottom, and of
/// columns left and right, in its last two dimensions; each pair comes with the
/// name of its parameter.
///
/// # Errors
/// When more is cropped than there is.
pub(crate) fn cropped(x: &Tensor, [height, width]: [(&str, &[i64]); 2]) -> Result<Tensor> {
    let rank = x.rank();
    if rank < 2 {
        return Err(bad("x", "has rank below 2"));
    }
    let mut out = x.clone();
    for (axis, (name, amounts)) in [(rank - 2, height), (rank - 1, width)] {
        length(name, amounts, 2)?;
        let (before, after) = (size(name, amounts[0])?, size(name, amounts[1])?);
        let total = out.dims()[axis];
        let left = total.checked_sub(before + after).ok_or_else(|| {
            bad(
                name,
                format_args!("crops {before} and {after} of {total} elements along axis {axis}"),
            )
        })?;
        out = narrow(&out, axis, before, left)?;
    }
    Ok(out)
}

/// Windows of `size` elements, `stride` apart, along `axis`; the elements of a
/// window lie along a new dimension after it.
///
/// # Errors
/// When the axis is out of range, or no window fits.
pub(crate) fn windows_of(x: &Tensor, axis: i64, window: i64, stride: i64) -> Result<Tensor> {
    let axis = checked_axis("axis", axis, x.rank())?;
    let window = size("size", window)?;
    let stride = block("stride", stride)?;
    let total = x.dims()[axis];
    let Some(room) = total.checked_sub(window).filter(|_| window > 0) else {
        return Err(bad(
            "size",
            format_args!("a window of {window} does not fit the {total} elements along axis {axis}"),
        ));
    };
    let mut dims = x.dims().to_vec();
    dims[axis] = room / stride + 1;
    dims.insert(axis + 1, window);
    let mut strides: Vec<isize> = x.stride().iter().map(|&s| s as isize).collect();
    strides.insert(axis + 1, strides[axis]);
    // At most the storage's size, as the last window fits.
    strides[axis] = strides[axis].saturating_mul(if dims[axis] > 1 { stride as isize } else { 0 });
    copy(x, &dims, &Place { offset: 0, strides })
}

#[cfg(test)]
mod tests;
