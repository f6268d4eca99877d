//! Resizing of the last two dimensions.
//!
//! Where an output element reads follows the formulas documented with
//! `resize_bilinear` in coremltools 9.0. `upsample_bilinear` takes its scale
//! anew from the sizes; `upsample_nearest_neighbor` reads the element whose
//! left edge is last, `resize_nearest_neighbor` the one below the centre of the
//! output element.

use candle_core::Tensor;

use super::build::{COSTLY, Element, reserve, tensor, with_element};
use super::check::{Result, bad, elements, need, size};
use super::float::{Float, with_float};
use super::{layout, parallel};
use crate::call::{Call, Outputs};
use crate::error::KernelError;

/// Which points of the input the output's elements are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sampling {
    StrictAlignCorners,
    AlignCorners,
    UnalignCorners,
    Default,
    OffsetCorners,
}

impl Sampling {
    pub(crate) fn parse(name: &str) -> Result<Self> {
        Ok(match name {
            "STRICT_ALIGN_CORNERS" => Self::StrictAlignCorners,
            "ALIGN_CORNERS" => Self::AlignCorners,
            "UNALIGN_CORNERS" => Self::UnalignCorners,
            "DEFAULT" => Self::Default,
            "OFFSET_CORNERS" => Self::OffsetCorners,
            _ => return Err(bad("sampling_mode", format_args!("unknown mode {name:?}"))),
        })
    }

    /// The point of an input of `size` elements that output `i` of `count` is.
    fn point(self, i: usize, size: usize, count: usize) -> f64 {
        self.offset(i, (size - 1) as f64, count)
    }

    /// How far output `i` of `count` is from the first point of an input whose
    /// last point is at `last`.
    pub(crate) fn offset(self, i: usize, last: f64, count: usize) -> f64 {
        let (at, size, count) = (i as f64, last + 1.0, count as f64);
        let point = match self {
            Self::AlignCorners if count == 1.0 => last / 2.0,
            Self::StrictAlignCorners | Self::AlignCorners => at * (last / (count - 1.0).max(1.0)),
            Self::Default => at * (size / count),
            Self::OffsetCorners => (at + 0.5) * (last.max(1.0) / count),
            Self::UnalignCorners => (at + 0.5) * (size / count) - 0.5,
        };
        // A last point that is no number leaves the point none; it is outside.
        if last >= 0.0 {
            point.clamp(0.0, last)
        } else {
            f64::NAN
        }
    }
}

pub(crate) fn upsample_bilinear(call: &Call<'_>) -> Outputs {
    let x = call.tensor("x")?.data;
    let target = scaled(call, &x)?;
    let align = need("align_corners", call.bool("align_corners")?)?;
    let centres = call.bool("half_pixel_centers")?.unwrap_or(!align);
    let sampling = match (align, centres) {
        (true, false) => Sampling::StrictAlignCorners,
        (false, true) => Sampling::UnalignCorners,
        (false, false) => Sampling::Default,
        (true, true) => {
            return Err(bad(
                "half_pixel_centers",
                "and align_corners exclude each other",
            ));
        }
    };
    call.one(bilinear(&x, target, sampling)?)
}

pub(crate) fn resize_bilinear(call: &Call<'_>) -> Outputs {
    let sampling = Sampling::parse(&need("sampling_mode", call.string("sampling_mode")?)?)?;
    call.one(bilinear(&call.tensor("x")?.data, target(call)?, sampling)?)
}

pub(crate) fn upsample_nearest_neighbor(call: &Call<'_>) -> Outputs {
    let x = call.tensor("x")?.data;
    let target = scaled(call, &x)?;
    call.one(nearest(&x, target, Edge::Left)?)
}

pub(crate) fn resize_nearest_neighbor(call: &Call<'_>) -> Outputs {
    call.one(nearest(&call.tensor("x")?.data, target(call)?, Edge::Centre)?)
}

pub(crate) fn resize(call: &Call<'_>) -> Outputs {
    let x = call.tensor("x")?.data;
    let shape = need("shape", call.ints("shape")?)?;
    let resized = size("resized_dims", need("resized_dims", call.int("resized_dims")?)?)?;
    if resized != 2 || shape.len() < 2 || shape.len() > x.rank() {
        return Err(KernelError::Unsupported(format!(
            "resizing {resized} dimensions to {shape:?}"
        )));
    }
    let own = spatial(&x)?;
    let mut target = [0; 2];
    for i in 0..2 {
        target[i] = match shape[shape.len() - 2 + i] {
            0 => own[i],
            other => size("shape", other)?,
        };
    }
    let sampling = Sampling::parse(&need("sampling_mode", call.string("sampling_mode")?)?)?;
    let mode = need("interpolation_mode", call.string("interpolation_mode")?)?;
    match (&*mode, sampling) {
        ("LINEAR", _) => call.one(bilinear(&x, target, sampling)?),
        ("NEAREST_NEIGHBOR", Sampling::Default | Sampling::UnalignCorners) => {
            call.one(nearest(&x, target, Edge::Centre)?)
        }
        ("NEAREST_NEIGHBOR", _) => Err(KernelError::Unsupported(format!(
            "nearest neighbour with sampling {sampling:?}"
        ))),
        _ => Err(bad("interpolation_mode", format_args!("unknown mode {mode:?}"))),
    }
}

/// Height and width.
fn spatial(x: &Tensor) -> Result<[usize; 2]> {
    match *x.dims() {
        [_, .., h, w] if x.rank() >= 2 => Ok([h, w]),
        _ => Err(bad("x", "has rank below 2")),
    }
}

fn target(call: &Call<'_>) -> Result<[usize; 2]> {
    let one = |name: &str| size(name, need(name, call.int(name)?)?);
    Ok([one("target_size_height")?, one("target_size_width")?])
}

/// Height and width times the scale factors, rounded down.
fn scaled(call: &Call<'_>, x: &Tensor) -> Result<[usize; 2]> {
    let [h, w] = spatial(x)?;
    let one = |name: &str, size: usize| -> Result<usize> {
        let factor = need(name, call.float(name)?)?;
        let scaled = (factor * size as f64).floor();
        if factor > 0.0 && scaled <= super::MAX_ELEMENTS as f64 {
            Ok(scaled as usize)
        } else {
            Err(bad(name, format_args!("{factor} is no factor for {size} elements")))
        }
    };
    Ok([one("scale_factor_height", h)?, one("scale_factor_width", w)?])
}

/// The dimensions of the output, and how many images there are.
fn resized(x: &Tensor, target: [usize; 2]) -> Result<(Vec<usize>, usize)> {
    let own = spatial(x)?;
    if own.contains(&0) && !target.contains(&0) {
        return Err(bad("x", format_args!("has no elements to resize: {:?}", x.dims())));
    }
    let mut dims = x.dims().to_vec();
    let lead = dims.len() - 2;
    dims[lead..].copy_from_slice(&target);
    elements("x", &dims)?;
    Ok((dims, x.dims()[..lead].iter().product()))
}

/// Two neighbours and the share of the second.
struct Between<T> {
    low: usize,
    high: usize,
    share: T,
}

fn between<T: Float>(size: usize, count: usize, sampling: Sampling) -> Vec<Between<T>> {
    (0..count)
        .map(|i| {
            let point = sampling.point(i, size, count);
            let low = point as usize;
            Between {
                low,
                high: (low + 1).min(size - 1),
                share: T::from_f64(point - low as f64),
            }
        })
        .collect()
}

/// `x` with its last two dimensions interpolated to the target size.
///
/// # Errors
/// When `x` is no float, or has rank below 2 or no elements.
pub(crate) fn bilinear(x: &Tensor, target: [usize; 2], sampling: Sampling) -> Result<Tensor> {
    with_float!("x", x, T => bilinear_of::<T>(x, target, sampling))
}

fn bilinear_of<T: Float>(x: &Tensor, target: [usize; 2], sampling: Sampling) -> Result<Tensor> {
    let (dims, images) = resized(x, target)?;
    let count = elements("x", &dims)?;
    if count == 0 {
        return tensor(Vec::<T>::new(), &dims);
    }
    let [h, w] = spatial(x)?;
    let [rows, columns] = target;
    let (down, across) = (between::<T>(h, rows, sampling), between::<T>(w, columns, sampling));
    let data = layout::elements::<T>(x)?;
    let one = T::from_f64(1.0);
    let image = |image: usize, out: &mut [T]| {
        let image = &data[image * h * w..(image + 1) * h * w];
        // Rows of the input stretched to the output's width; two are in use at
        // a time, and neighbours of the next output row are often the same.
        let mut stretched = [vec![T::ZERO; columns], vec![T::ZERO; columns]];
        let mut held = [usize::MAX; 2];
        for (out, between) in out.chunks_exact_mut(columns).zip(&down) {
            for row in [between.low, between.high] {
                if held[row % 2] != row {
                    held[row % 2] = row;
                    let from = &image[row * w..(row + 1) * w];
                    for (to, b) in stretched[row % 2].iter_mut().zip(&across) {
                        *to = from[b.low] * (one - b.share) + from[b.high] * b.share;
                    }
                }
            }
            let (low, high) = (&stretched[between.low % 2], &stretched[between.high % 2]);
            let share = between.share;
            T::wide(|| {
                for ((out, &a), &b) in out.iter_mut().zip(low).zip(high) {
                    *out = a * (one - share) + b * share;
                }
            });
        }
    };
    let mut out = layout::zeros::<T>(&dims)?;
    let size = count / images;
    parallel::chunks(&mut out, size, COSTLY.div_ceil(size), &image);
    tensor(out, &dims)
}

/// Which element of the input an output element takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    /// The one that holds the output element's left edge.
    Left,
    /// The one that holds its centre.
    Centre,
}

impl Edge {
    fn sources(self, size: usize, count: usize) -> Vec<usize> {
        // In halves of an output element, so that the division is exact.
        let shift = usize::from(self == Self::Centre);
        (0..count)
            .map(|i| ((2 * i + shift) as u128 * size as u128 / (2 * count) as u128) as usize)
            .collect()
    }
}

/// `x` with its last two dimensions taken to the target size without
/// interpolation.
///
/// # Errors
/// When `x` has rank below 2 or no elements.
pub(crate) fn nearest(x: &Tensor, target: [usize; 2], edge: Edge) -> Result<Tensor> {
    fn run<T: Element>(x: &Tensor, target: [usize; 2], edge: Edge) -> Result<Tensor> {
        let (dims, images) = resized(x, target)?;
        let count = elements("x", &dims)?;
        if count == 0 {
            return tensor(Vec::<T>::new(), &dims);
        }
        let [h, w] = spatial(x)?;
        let rows = edge.sources(h, target[0]);
        let columns = edge.sources(w, target[1]);
        let data = layout::elements::<T>(x)?;
        let mut out: Vec<T> = reserve(count)?;
        for image in 0..images {
            let image = &data[image * h * w..(image + 1) * h * w];
            let mut last = None;
            for &row in &rows {
                if last == Some(row) {
                    out.extend_from_within(out.len() - columns.len()..);
                } else {
                    let from = &image[row * w..(row + 1) * w];
                    out.extend(columns.iter().map(|&c| from[c]));
                    last = Some(row);
                }
            }
        }
        tensor(out, &dims)
    }
    with_element!(x, T => run::<T>(x, target, edge))
}

#[cfg(test)]
mod tests;
