//! Pooling: `max_pool`, `avg_pool` and `l2_pool` over windows of one to three
//! spatial dimensions.

use std::ops::Range;

use candle_core::Tensor;
use milwright_ir::shape::{self, Windows};

use super::build::tensor;
use super::check::{Result, computed};
use super::float::{Float, with_float};
use super::{layout, parallel};
use crate::call::{Call, Outputs};
use crate::error::KernelError;

/// Elements read, below which a second thread is not worth it.
const PARALLEL: usize = 1 << 16;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Max,
    /// The mean; whether the padding counts.
    Average {
        padding: bool,
    },
    /// The square root of the sum of squares.
    L2,
}

/// `max_pool`: the greatest element of each window; NaN if there is one.
pub(crate) fn max_pool(call: &Call<'_>) -> Outputs {
    pool(call, Kind::Max)
}

/// `avg_pool`: the mean of each window. The padding counts as zeros, unless
/// `exclude_padding_from_average`; what a window of `ceil_mode` has beyond the
/// padding never counts.
pub(crate) fn avg_pool(call: &Call<'_>) -> Outputs {
    let excluded = call.bool("exclude_padding_from_average")?;
    let padding = !excluded.unwrap_or(false);
    pool(call, Kind::Average { padding })
}

/// `l2_pool`: the square root of the sum of squares of each window.
pub(crate) fn l2_pool(call: &Call<'_>) -> Outputs {
    pool(call, Kind::L2)
}

fn pool(call: &Call<'_>, kind: Kind) -> Outputs {
    let x = call.tensor("x")?.data;
    let [samples, channels, spatial @ ..] = x.dims() else {
        return Err(wrong_rank(&x));
    };
    if !(1..=3).contains(&spatial.len()) {
        return Err(wrong_rank(&x));
    }
    let sizes = call.ints("kernel_sizes")?.unwrap_or_default();
    let sizes: Vec<u64> = sizes
        .into_iter()
        .map(|size| shape::positive("kernel_sizes", size))
        .collect::<std::result::Result<_, _>>()?;
    if sizes.len() != spatial.len() {
        return Err(KernelError::param(
            "kernel_sizes",
            format!("has {} elements, expected {}", sizes.len(), spatial.len()),
        ));
    }
    let ceil = call.bool("ceil_mode")?.unwrap_or(false);
    let mut axes: Vec<Axis> = shape::windows(&call.view, &sizes)?
        .iter()
        .zip(spatial)
        .map(|(windows, &input)| Axis::new(windows, input, ceil, kind))
        .collect::<Result<_>>()?;
    let mut dims = vec![*samples, *channels];
    dims.extend(axes.iter().map(|axis| axis.output));
    // Fewer dimensions are three of which the first are of size 1.
    while axes.len() < 3 {
        axes.insert(0, Axis::UNIT);
    }
    let y = with_float!("x", x, T => pooled::<T>(&x, &axes, &dims, kind))?;
    call.one(y)
}

fn wrong_rank(x: &Tensor) -> KernelError {
    KernelError::param(
        "x",
        format!(
            "has shape {:?}, expected [N, C, *D] with one to three spatial dimensions",
            x.dims()
        ),
    )
}

/// The windows along a spatial dimension.
struct Axis {
    input: usize,
    output: usize,
    size: usize,
    stride: usize,
    before: usize,
    after: usize,
}

/// A window along a dimension.
struct Window {
    /// The elements of the input in it.
    inside: Range<usize>,
    /// The number of elements in it, padding included.
    padded: usize,
}

impl Axis {
    const UNIT: Self = Self {
        input: 1,
        output: 1,
        size: 1,
        stride: 1,
        before: 0,
        after: 0,
    };

    fn new(windows: &Windows, input: usize, ceil: bool, kind: Kind) -> Result<Self> {
        let (before, after) = windows.padding(input as u64)?;
        let axis = Self {
            input,
            output: computed("result", windows.count(input as u64, ceil)?)?,
            size: computed("kernel", windows.size)?,
            stride: computed("stride", windows.stride)?,
            before: computed("padding", before)?,
            after: computed("padding", after)?,
        };
        let last = axis.output.saturating_sub(1);
        let ends = [axis.window(0), axis.window(last)];
        let empty = match kind {
            Kind::Max | Kind::Average { padding: false } => {
                ends.iter().any(|window| window.inside.is_empty())
            }
            Kind::Average { padding: true } | Kind::L2 => {
                ends.iter().any(|window| window.padded == 0)
            }
        };
        if empty && axis.output > 0 {
            return Err(KernelError::mismatch(format!(
                "a window holds no element of the input: {windows:?} over {input} elements"
            )));
        }
        Ok(axis)
    }

    fn window(&self, index: usize) -> Window {
        let first = index.saturating_mul(self.stride);
        let last = first.saturating_add(self.size);
        let beyond = self.before + self.input;
        let start = first.clamp(self.before, beyond) - self.before;
        let end = last.clamp(self.before, beyond) - self.before;
        Window {
            inside: start..end,
            padded: last.min(beyond + self.after).saturating_sub(first),
        }
    }

    /// Takes the elements of a line of the input into the accumulators of the
    /// windows that they are in.
    #[inline(always)]
    fn take<T: Copy, A: Copy>(&self, line: &[T], sums: &mut [A], step: impl Fn(A, T) -> A) {
        if self.output < self.size {
            for (index, sum) in sums.iter_mut().enumerate() {
                let window = &line[self.window(index).inside];
                *sum = window.iter().fold(*sum, |a, &x| step(a, x));
            }
            return;
        }
        for tap in 0..self.size.min(self.before + self.input) {
            // The windows whose element `tap` is inside.
            let low = self.before.saturating_sub(tap).div_ceil(self.stride);
            let high = (self.before + self.input - 1 - tap) / self.stride + 1;
            let high = high.min(self.output);
            if low >= high {
                continue;
            }
            let sums = &mut sums[low..high];
            let line = &line[low * self.stride + tap - self.before..];
            match self.stride {
                1 => {
                    for (sum, &x) in sums.iter_mut().zip(line) {
                        *sum = step(*sum, x);
                    }
                }
                2 => {
                    // The last window may be one element short of a pair.
                    let pairs = line.as_chunks::<2>().0;
                    for (sum, pair) in sums.iter_mut().zip(pairs) {
                        *sum = step(*sum, pair[0]);
                    }
                    if sums.len() > pairs.len() {
                        sums[pairs.len()] = step(sums[pairs.len()], line[2 * pairs.len()]);
                    }
                }
                _ => {
                    for (sum, &x) in sums.iter_mut().zip(line.iter().step_by(self.stride)) {
                        *sum = step(*sum, x);
                    }
                }
            }
        }
    }
}

fn pooled<T: Float>(x: &Tensor, axes: &[Axis], dims: &[usize], kind: Kind) -> Result<Tensor> {
    let [depth, height, width] = axes else {
        return Err(KernelError::Internal("pooling without three axes".into()));
    };
    let source = layout::elements::<T>(x)?;
    let mut out = layout::zeros::<T>(dims)?;
    let shares: Vec<f64> = match kind {
        Kind::Average { padding } => (0..width.output)
            .map(|i| counted(width.window(i), padding))
            .collect(),
        _ => Vec::new(),
    };
    let line = |sums: &mut [f64], index: usize, out: &mut [T]| {
        let (rest, h) = (index / height.output, index % height.output);
        let (plane, d) = (rest / depth.output, rest % depth.output);
        let (d, h) = (depth.window(d), height.window(h));
        let lines = d.inside.clone().flat_map(|d| {
            let h = h.inside.clone();
            h.map(move |h| ((plane * depth.input + d) * height.input + h) * width.input)
        });
        let lines = lines.map(|start| &source[start..start + width.input]);
        sums.fill(0.0);
        match kind {
            Kind::Max => {
                out.fill(T::LOWEST);
                for line in lines {
                    width.take(line, out, larger);
                }
            }
            Kind::Average { padding } => {
                for line in lines {
                    width.take(line, sums, |sum, x: T| sum + x.to_f64());
                }
                let share = counted(d, padding) * counted(h, padding);
                for ((y, sum), w) in out.iter_mut().zip(sums).zip(&shares) {
                    *y = T::from_f64(*sum / (share * w));
                }
            }
            Kind::L2 => {
                for line in lines {
                    width.take(line, sums, |sum, x: T| sum + x.to_f64() * x.to_f64());
                }
                for (y, sum) in out.iter_mut().zip(sums) {
                    *y = T::from_f64(sum.sqrt());
                }
            }
        }
    };
    let reads = [depth, height, width].map(|axis| axis.size.min(axis.input));
    let reads = reads.into_iter().fold(width.output, usize::saturating_mul);
    let lines = PARALLEL / reads.clamp(1, PARALLEL);
    parallel::chunks(&mut out, lines * width.output, 1, &|part, out| {
        let mut sums = vec![0.0; width.output];
        for (index, out) in out.chunks_mut(width.output).enumerate() {
            T::wide(
                #[inline(always)]
                || line(&mut sums, part * lines + index, out),
            );
        }
    });
    tensor(out, dims)
}

fn counted(window: Window, padding: bool) -> f64 {
    let count = if padding {
        window.padded
    } else {
        window.inside.len()
    };
    count as f64
}

/// The larger of two; NaN if either is.
#[inline(always)]
fn larger<T: Float>(a: T, b: T) -> T {
    let is_nan = a.partial_cmp(&a).is_none();
    if a >= b || is_nan { a } else { b }
}
