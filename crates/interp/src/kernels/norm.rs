//! Normalisations: `layer_norm`, `batch_norm`, `instance_norm`, `l2_norm` and
//! `local_response_norm`.
//!
//! Means and sums are exact to the last bit or two of f32: partial sums in
//! f32, their sum in f64, and variances from the differences to the mean.

use candle_core::Tensor;
use milwright_ir::{ParamError, shape};

use super::build::tensor;
use super::check::{Result, axes};
use super::float::{Float, given, with_float};
use super::layout;
use super::rows::{build_rows, sum_of};
use crate::call::{Call, Outputs};
use crate::error::KernelError;

/// `layer_norm`: `gamma * (x - mean) / sqrt(variance + epsilon) + beta` with
/// mean and variance over `axes` (all, when not given).
pub(crate) fn layer_norm(call: &Call<'_>) -> Outputs {
    let x = call.tensor("x")?.data;
    let rank = x.rank();
    let chosen = match call.ints("axes")? {
        None => vec![true; rank],
        Some(given) => {
            let mut chosen = vec![false; rank];
            for axis in axes("axes", &given, rank)? {
                chosen[axis] = true;
            }
            chosen
        }
    };
    let (inner, outer): (Vec<usize>, Vec<usize>) = (0..rank).partition(|&d| chosen[d]);
    let dims: Vec<usize> = inner.iter().map(|&d| x.dims()[d]).collect();
    let width: usize = dims.iter().product();
    // The chosen axes become the last ones; the result is seen in the old order.
    let order: Vec<usize> = outer.into_iter().chain(inner).collect();
    let mut back = vec![0; rank];
    for (to, &from) in order.iter().enumerate() {
        back[from] = to;
    }
    let x = x.permute(order)?;
    let epsilon = epsilon(call, 1e-5)?;
    let y = with_float!("x", x, T => {
        let gamma = vector::<T>(call, "gamma", &dims, 1.0)?;
        let beta = vector::<T>(call, "beta", &dims, 0.0)?;
        normalised::<T>(&x, width, epsilon, |row, _, column, x, y| {
            let (gamma, beta) = (&gamma[column..][..y.len()], &beta[column..][..y.len()]);
            for (((y, &x), &gamma), &beta) in y.iter_mut().zip(x).zip(gamma).zip(beta) {
                *y = row.of(x) * gamma + beta;
            }
        })
    })?;
    call.one(y.permute(back)?)
}

/// `instance_norm`: each channel of each sample by its own mean and variance.
pub(crate) fn instance_norm(call: &Call<'_>) -> Outputs {
    let x = call.tensor("x")?.data;
    let (channels, width) = channels(&x)?;
    let epsilon = epsilon(call, 1e-5)?;
    let y = with_float!("x", x, T => {
        let gamma = vector::<T>(call, "gamma", &[channels], 1.0)?;
        let beta = vector::<T>(call, "beta", &[channels], 0.0)?;
        normalised::<T>(&x, width, epsilon, |row, index, _, x, y| {
            let (gamma, beta) = (gamma[index % channels], beta[index % channels]);
            for (y, &x) in y.iter_mut().zip(x) {
                *y = row.of(x) * gamma + beta;
            }
        })
    })?;
    call.one(y)
}

/// What the elements of a row have in common. The mean is held in two parts,
/// so that a mean far above the spread costs no accuracy.
#[derive(Clone, Copy, Default)]
struct Moments<T> {
    mean: T,
    below: T,
    scale: T,
}

impl<T: Float> Moments<T> {
    #[inline(always)]
    fn new(x: &[T], epsilon: f64) -> Self {
        let n = x.len() as f64;
        let exact = sum_of(x, |v| v) / n;
        let mean = T::from_f64(exact);
        let below = exact - mean.to_f64();
        let squares = sum_of(x, |v| (v - mean) * (v - mean)) / n;
        let variance = (squares - below * below).max(0.0);
        Self {
            mean,
            below: T::from_f64(below),
            scale: T::from_f64(1.0 / (variance + epsilon).sqrt()),
        }
    }

    #[inline(always)]
    fn of(self, x: T) -> T {
        ((x - self.mean) - self.below) * self.scale
    }
}

/// Rows of `width` elements; `fill` gets the moments and the number of the row,
/// the column, and elements of `x` and of the result from there on.
fn normalised<T: Float>(
    x: &Tensor,
    width: usize,
    epsilon: f64,
    fill: impl Fn(Moments<T>, usize, usize, &[T], &mut [T]) + Sync,
) -> Result<Tensor> {
    let source = layout::elements::<T>(x)?;
    let made = build_rows(
        source.len().checked_div(width).unwrap_or(0),
        width,
        Moments::default,
        |moments, row| {
            let source = &source[row * width..][..width];
            *moments = T::wide(
                #[inline(always)]
                || Moments::new(source, epsilon),
            );
        },
        |&moments, row, column, out| {
            let source = &source[row * width + column..][..out.len()];
            T::wide(
                #[inline(always)]
                || fill(moments, row, column, source, out),
            );
        },
    )?;
    tensor(made, x.dims())
}

/// `batch_norm`: `gamma * (x - mean) / sqrt(variance + epsilon) + beta`, all of
/// them per channel.
pub(crate) fn batch_norm(call: &Call<'_>) -> Outputs {
    let x = call.tensor("x")?.data;
    call.one(with_float!("x", x, T => batch_norm_of::<T>(call, &x))?)
}

fn batch_norm_of<T: Float>(call: &Call<'_>, x: &Tensor) -> Result<Tensor> {
    let (channels, spatial) = channels(x)?;
    let epsilon = epsilon(call, 1e-5)?;
    let mean = required::<T>(call, "mean", channels)?;
    let variance = required::<T>(call, "variance", channels)?;
    let gamma = vector::<T>(call, "gamma", &[channels], 1.0)?;
    let beta = vector::<T>(call, "beta", &[channels], 0.0)?;
    let scale: Vec<T> = gamma
        .iter()
        .zip(&variance)
        .map(|(gamma, v)| T::from_f64(gamma.to_f64() / (v.to_f64() + epsilon).sqrt()))
        .collect();
    per_channel(x, channels, spatial, [&mean, &scale, &beta])
}

/// `(x - mean) * scale + beta`. Few elements a channel are done for all
/// channels of a sample at a time.
fn per_channel<T: Float>(
    x: &Tensor,
    channels: usize,
    spatial: usize,
    [mean, scale, beta]: [&[T]; 3],
) -> Result<Tensor> {
    const FEW: usize = 16;
    let source = layout::elements::<T>(x)?;
    let made = if spatial < FEW {
        let width = channels * spatial;
        let spread = |v: &[T]| -> Vec<T> {
            let each = v.iter();
            each.flat_map(|&v| std::iter::repeat_n(v, spatial))
                .collect()
        };
        let (mean, scale, beta) = (spread(mean), spread(scale), spread(beta));
        build_rows(
            source.len().checked_div(width).unwrap_or(0),
            width,
            || (),
            |(), _| (),
            |(), row, column, out| {
                let source = &source[row * width + column..][..out.len()];
                let mean = &mean[column..][..out.len()];
                let scale = &scale[column..][..out.len()];
                let beta = &beta[column..][..out.len()];
                T::wide(
                    #[inline(always)]
                    || {
                        for ((((y, &x), &m), &s), &b) in
                            out.iter_mut().zip(source).zip(mean).zip(scale).zip(beta)
                        {
                            *y = (x - m) * s + b;
                        }
                    },
                );
            },
        )
    } else {
        build_rows(
            source.len() / spatial,
            spatial,
            || (),
            |(), _| (),
            |(), row, column, out| {
                let source = &source[row * spatial + column..][..out.len()];
                let c = row % channels;
                let (m, s, b) = (mean[c], scale[c], beta[c]);
                T::wide(
                    #[inline(always)]
                    || {
                        for (y, &x) in out.iter_mut().zip(source) {
                            *y = (x - m) * s + b;
                        }
                    },
                );
            },
        )
    }?;
    tensor(made, x.dims())
}

/// `l2_norm`: `x / sqrt(sum(x^2) + epsilon)` with the sum over the last three
/// dimensions.
pub(crate) fn l2_norm(call: &Call<'_>) -> Outputs {
    let x = call.tensor("x")?.data;
    let dims = x.dims();
    let Some(leading) = dims.len().checked_sub(3) else {
        return Err(KernelError::param(
            "x",
            format!("has shape {dims:?}, expected three dimensions or more"),
        ));
    };
    let width: usize = dims[leading..].iter().product();
    let epsilon = epsilon(call, 1e-6)?;
    let y = with_float!("x", x, T => of_length_one::<T>(&x, width, epsilon))?;
    call.one(y)
}

fn of_length_one<T: Float>(x: &Tensor, width: usize, epsilon: f64) -> Result<Tensor> {
    let source = layout::elements::<T>(x)?;
    let made: Vec<T> = build_rows(
        source.len().checked_div(width).unwrap_or(0),
        width,
        || 0.0,
        |scale, row| {
            let squares = source[row * width..][..width].iter();
            let squares: f64 = squares.map(|v| v.to_f64() * v.to_f64()).sum();
            *scale = 1.0 / (squares + epsilon).sqrt();
        },
        |&scale, row, column, out| {
            let source = &source[row * width + column..];
            for (y, x) in out.iter_mut().zip(source) {
                *y = T::from_f64(x.to_f64() * scale);
            }
        },
    )?;
    tensor(made, x.dims())
}

/// `local_response_norm`: `x / (k + alpha / size * sum(x^2))^beta` with the sum
/// over a window of `size` channels, of which `size / 2` (rounded down) come
/// before the element's own; what the window holds outside of `x` is 0.
///
/// Channels are the third dimension from the end: a tensor of rank 3 is one
/// sample. coremltools 9.0 documents rank 3 as [N, C, D], but the results that
/// its tests expect of Core ML (`TestNormalizationLocalResponseNorm`, smoke)
/// are those of [C, H, W].
pub(crate) fn local_response_norm(call: &Call<'_>) -> Outputs {
    let x = call.tensor("x")?.data;
    let one_sample = x.rank() == 3;
    let x = if one_sample { x.unsqueeze(0)? } else { x };
    let size = call.int("size")?.ok_or_else(|| {
        KernelError::Param(ParamError::Missing {
            param: "size".to_owned(),
        })
    })?;
    let size = shape::positive("size", size)?;
    let float = |name, default| Ok::<_, KernelError>(call.float(name)?.unwrap_or(default));
    let alpha = float("alpha", 1e-4)? / size as f64;
    let (beta, k) = (float("beta", 0.75)?, float("k", 1.0)?);
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let scaled = |squares: f64| (k + alpha * squares).powf(beta);
    let y = with_float!("x", x, T => among_channels::<T>(&x, size, scaled))?;
    call.one(if one_sample { y.squeeze(0)? } else { y })
}

/// Every element divided by a function of the sum of squares in its window.
fn among_channels<T: Float>(
    x: &Tensor,
    size: usize,
    divisor: impl Fn(f64) -> f64 + Sync,
) -> Result<Tensor> {
    let (channels, spatial) = channels(x)?;
    let source = layout::elements::<T>(x)?;
    let made: Vec<T> = build_rows(
        source.len().checked_div(spatial).unwrap_or(0),
        spatial,
        || (),
        |(), _| (),
        |(), row, column, out| {
            let (sample, channel) = (row / channels, row % channels);
            let first = channel.saturating_sub(size / 2);
            let last = channel.saturating_add((size - 1) / 2).min(channels - 1);
            let at = |channel| (sample * channels + channel) * spatial + column;
            for (i, y) in out.iter_mut().enumerate() {
                let window = (first..=last).map(|c| source[at(c) + i].to_f64());
                let squares: f64 = window.map(|v| v * v).sum();
                *y = T::from_f64(source[at(channel) + i].to_f64() / divisor(squares));
            }
        },
    )?;
    tensor(made, x.dims())
}

/// The number of channels (dimension 1) and of elements in each.
fn channels(x: &Tensor) -> Result<(usize, usize)> {
    match x.dims() {
        [_, channels, spatial @ ..] => Ok((*channels, spatial.iter().product())),
        dims => Err(KernelError::param(
            "x",
            format!("has shape {dims:?}, expected [N, C, *D]"),
        )),
    }
}

fn epsilon(call: &Call<'_>, default: f64) -> Result<f64> {
    Ok(call.float("epsilon")?.unwrap_or(default))
}

/// A parameter of a value per channel, in the type of `x`.
fn required<T: Float>(call: &Call<'_>, param: &str, channels: usize) -> Result<Vec<T>> {
    call.tensor(param)?;
    vector(call, param, &[channels], 0.0)
}

/// As [`given`], with `default` everywhere when it is not given.
fn vector<T: Float>(call: &Call<'_>, param: &str, dims: &[usize], default: f64) -> Result<Vec<T>> {
    let found = given(call, param, dims)?;
    Ok(found.unwrap_or_else(|| vec![T::from_f64(default); dims.iter().product()]))
}
