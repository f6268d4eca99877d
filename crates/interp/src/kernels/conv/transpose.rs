//! Transposed convolution: a product gives what each input contributes to each
//! tap, which is then added up where it belongs.

use super::Axis;
use crate::kernels::check::Result;
use crate::kernels::float::Float;
use crate::kernels::gemm::{self, Bias, Factor, Product, Strided};
use crate::kernels::{layout, parallel};

pub(super) struct Problem<'a, T> {
    pub(super) x: &'a [T],
    /// [channels, outputs / groups, *kernel]
    pub(super) weight: &'a [T],
    pub(super) bias: Option<&'a [T]>,
    pub(super) channels: usize,
    pub(super) outputs: usize,
    pub(super) groups: usize,
    pub(super) axes: &'a [Axis; 3],
}

/// Fills `out`, which must be zero.
pub(super) fn run<T: Factor>(problem: &Problem<'_, T>, out: &mut [T]) -> Result<()> {
    let axes = problem.axes;
    let groups = problem.groups;
    let inputs: usize = axes.iter().map(|a| a.input).product();
    let outputs: usize = axes.iter().map(|a| a.output).product();
    let taps: usize = axes.iter().map(|a| a.kernel).product();
    let inputs_each = problem.channels / groups;
    let rows = problem.outputs / groups * taps;
    // In each group a row for each tap of each output channel.
    let weight = layout::gather(
        problem.weight,
        &[groups, rows, inputs_each],
        &[inputs_each * rows, 1, rows],
    )?;
    let mut parts = layout::zeros::<T>(&[groups, rows, inputs])?;
    let images = out.chunks_exact_mut(problem.outputs * outputs);
    for (image, out) in images.enumerate() {
        if !parts.is_empty() {
            let mut products: Vec<_> = parts
                .chunks_exact_mut(rows * inputs)
                .enumerate()
                .map(|(group, out)| Product {
                    m: rows,
                    k: inputs_each,
                    n: inputs,
                    a: &weight[group * rows * inputs_each..][..rows * inputs_each],
                    a_stride: inputs_each,
                    b: Strided {
                        data: &problem.x[(image * groups + group) * inputs_each * inputs..],
                        row: inputs,
                        col: 1,
                    },
                    bias: Bias::None,
                    out,
                    transposed: false,
                })
                .collect();
            gemm::run(&mut products);
        }
        parallel::chunks(out, outputs, 1, &|channel, out| {
            if let Some(bias) = problem.bias {
                out.fill(bias[channel]);
            }
            let parts = &parts[channel * taps * inputs..][..taps * inputs];
            T::wide(|| collect(parts, axes, out));
        });
    }
    Ok(())
}

/// Adds the contributions to one plane of the result, tap by tap.
#[inline(always)]
fn collect<T: Float>(parts: &[T], axes: &[Axis; 3], out: &mut [T]) {
    let [d, h, w] = axes;
    let mut rows = parts.chunks_exact(w.input.max(1));
    for tz in 0..d.kernel {
        for ty in 0..h.kernel {
            for tx in 0..w.kernel {
                // Inputs `first..` write to the outputs from `target` on.
                let shift = tx * w.dilation;
                let first = w.before.saturating_sub(shift).div_ceil(w.stride);
                let target = (first * w.stride + shift).saturating_sub(w.before);
                for z in 0..d.input {
                    let z = target_of(d, z, tz);
                    for y in 0..h.input {
                        let Some(row) = rows.next() else { return };
                        let (Some(z), Some(y)) = (z, target_of(h, y, ty)) else {
                            continue;
                        };
                        let at = (z * h.output + y) * w.output;
                        let line = &mut out[at..at + w.output];
                        let row = row.get(first..).unwrap_or(&[]);
                        let line = line.get_mut(target..).unwrap_or(&mut []);
                        if w.stride == 1 {
                            for (out, &x) in line.iter_mut().zip(row) {
                                *out += x;
                            }
                        } else {
                            for (out, &x) in line.iter_mut().step_by(w.stride).zip(row) {
                                *out += x;
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Where input `i` goes by tap `tap`, unless that is cut off.
#[inline(always)]
fn target_of(axis: &Axis, i: usize, tap: usize) -> Option<usize> {
    (i * axis.stride + tap * axis.dilation)
        .checked_sub(axis.before)
        .filter(|&o| o < axis.output)
}
