//! The input of a convolution, laid out so that every row of windows is a
//! contiguous run.

use std::borrow::Cow;
use std::ops::Range;

use super::Axis;
use crate::kernels::check::Result;
use crate::kernels::float::Float;
use crate::kernels::gemm::Panels;
use crate::kernels::{layout, parallel};

/// A padded copy of the input, or the input itself where nothing is padded and
/// windows move by one. Along the last dimension, which is `stride` phases of
/// `phase` elements, element `i` is at `i % stride * phase + i / stride`: so
/// the elements that one tap reads in successive windows are neighbours.
pub(super) struct Prepared<'a, T: Float> {
    data: Cow<'a, [T]>,
    /// Distances between channels, along the first and the second spatial
    /// dimension.
    pitch: [usize; 3],
    phase: usize,
}

impl<'a, T: Float> Prepared<'a, T> {
    pub(super) fn new(x: &'a [T], channels: usize, axes: &[Axis; 3]) -> Result<Self> {
        let [d, h, w] = axes;
        let fits = |a: &Axis| a.before == 0 && (a.output - 1) * a.stride + a.span() <= a.input;
        if axes.iter().all(fits) && w.stride == 1 {
            return Ok(Self {
                data: Cow::Borrowed(x),
                pitch: [d.input * h.input * w.input, h.input * w.input, w.input],
                phase: w.input,
            });
        }
        let covered = |a: &Axis| (a.output - 1) * a.stride + a.span();
        let (depth, height) = (covered(d), covered(h));
        let phase = covered(w).div_ceil(w.stride);
        let mut data = layout::zeros::<T>(&[channels, depth, height, w.stride, phase])?;
        let row = w.stride * phase;
        // Rows of the input that lie in the padded one.
        let inside = |a: &Axis, i: usize| i.checked_sub(a.before).filter(|&i| i < a.input);
        let rows_per_task = (1usize << 14).div_ceil(row);
        parallel::chunks(&mut data, row * rows_per_task, 1, &|task, rows| {
            for (index, out) in rows.chunks_exact_mut(row).enumerate() {
                let index = task * rows_per_task + index;
                let (channel, z, y) = (
                    index / (depth * height),
                    index / height % depth,
                    index % height,
                );
                if let (Some(z), Some(y)) = (inside(d, z), inside(h, y)) {
                    let from = ((channel * d.input + z) * h.input + y) * w.input;
                    spread(&x[from..from + w.input], w, phase, out);
                }
            }
        });
        Ok(Self {
            data: Cow::Owned(data),
            pitch: [depth * height * row, height * row, row],
            phase,
        })
    }

    /// Where each tap of the kernel reads, relative to its window.
    pub(super) fn taps(&self, axes: &[Axis; 3]) -> Vec<usize> {
        let [d, h, w] = axes;
        let mut taps = Vec::with_capacity(d.kernel * h.kernel * w.kernel);
        for z in 0..d.kernel {
            for y in 0..h.kernel {
                for x in 0..w.kernel {
                    let x = x * w.dilation;
                    taps.push(
                        z * d.dilation * self.pitch[1]
                            + y * h.dilation * self.pitch[2]
                            + x % w.stride * self.phase
                            + x / w.stride,
                    );
                }
            }
        }
        taps
    }

    /// The taps in every channel of a group.
    pub(super) fn taps_of_group(&self, taps: &[usize], channels: usize) -> Vec<usize> {
        (0..channels)
            .flat_map(|c| taps.iter().map(move |t| c * self.pitch[0] + t))
            .collect()
    }

    /// From channel `channel` (of all batches) on.
    pub(super) fn channel(&self, channel: usize) -> &[T] {
        &self.data[channel * self.pitch[0]..]
    }

    /// Where the windows of row `row` of the result start.
    #[inline(always)]
    pub(super) fn row(&self, row: usize, axes: &[Axis; 3]) -> usize {
        let [d, h, _] = axes;
        let (z, y) = (row / h.output, row % h.output);
        z * d.stride * self.pitch[1] + y * h.stride * self.pitch[2]
    }
}

/// Writes a row of the input into its place in a padded one, split in phases.
fn spread<T: Copy>(x: &[T], w: &Axis, phase: usize, out: &mut [T]) {
    let covered = out.len();
    if w.stride == 1 {
        let count = x.len().min(covered.saturating_sub(w.before));
        out[covered.min(w.before)..][..count].copy_from_slice(&x[..count]);
        return;
    }
    for (p, out) in out.chunks_exact_mut(phase).enumerate() {
        // The first element of this phase that is not padding.
        let skipped = w.before.saturating_sub(p).div_ceil(w.stride);
        let first = (p + skipped * w.stride).saturating_sub(w.before);
        let source = x.get(first..).unwrap_or(&[]);
        let out = out.get_mut(skipped..).unwrap_or(&mut []);
        for (out, &x) in out.iter_mut().zip(source.iter().step_by(w.stride)) {
            *out = x;
        }
    }
}

/// The windows of one group as the columns of a matrix: a row is a tap of a
/// channel.
pub(super) struct Columns<'a, T: Float> {
    input: &'a Prepared<'a, T>,
    data: &'a [T],
    taps: &'a [usize],
    axes: &'a [Axis; 3],
}

impl<'a, T: Float> Columns<'a, T> {
    pub(super) fn new(
        input: &'a Prepared<'a, T>,
        channel: usize,
        taps: &'a [usize],
        axes: &'a [Axis; 3],
    ) -> Self {
        Self {
            input,
            data: input.channel(channel),
            taps,
            axes,
        }
    }
}

/// Columns of a panel that are neighbours in the input.
#[derive(Clone, Copy, Default)]
struct Run {
    /// First column.
    at: usize,
    len: usize,
    /// Where it starts in the input.
    from: usize,
}

/// Columns of the widest panel, each of which may be a run.
const RUNS: usize = 48;

impl<T: Float> Panels<T> for Columns<'_, T> {
    #[inline(always)]
    fn pack(&self, rows: Range<usize>, cols: Range<usize>, width: usize, out: &mut [T]) {
        let line = self.axes[2].output;
        let mut runs = [Run::default(); RUNS];
        let mut count = 0;
        let mut col = cols.start;
        while col < cols.end && count < RUNS {
            let (row, x) = (col / line, col % line);
            let len = (line - x).min(cols.end - col);
            let from = self.input.row(row, self.axes) + x;
            match runs[..count].last_mut() {
                Some(last) if last.from + last.len == from => last.len += len,
                _ => {
                    runs[count] = Run {
                        at: col - cols.start,
                        len,
                        from,
                    };
                    count += 1;
                }
            }
            col += len;
        }
        let runs = &runs[..count];
        let mut channel = rows.start / self.taps.len();
        let mut tap = rows.start % self.taps.len();
        for out in out.chunks_exact_mut(width).take(rows.len()) {
            let base = channel * self.input.pitch[0] + self.taps[tap];
            for run in runs {
                let source = &self.data[base + run.from..][..run.len];
                let out = &mut out[run.at..][..run.len];
                // Of a length known to the compiler in the commonest case.
                if let ([out], []) = out.as_chunks_mut::<RUNS>()
                    && let ([source], []) = source.as_chunks::<RUNS>()
                {
                    *out = *source;
                } else {
                    for (out, &x) in out.iter_mut().zip(source) {
                        *out = x;
                    }
                }
            }
            tap += 1;
            if tap == self.taps.len() {
                tap = 0;
                channel += 1;
            }
        }
    }
}
