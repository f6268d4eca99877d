//! Convolutions of few channels a group, depthwise above all: every output is
//! summed up in a register.

use super::Axis;
use super::input::Prepared;
use crate::kernels::float::Float;
use crate::kernels::parallel;

pub(super) struct Problem<'a, T: Float> {
    pub(super) input: &'a Prepared<'a, T>,
    pub(super) axes: &'a [Axis; 3],
    /// Where each weight of an output channel reads, relative to the window.
    pub(super) taps: &'a [usize],
    pub(super) weight: &'a [T],
    pub(super) bias: Option<&'a [T]>,
    pub(super) outputs: usize,
    pub(super) outputs_each: usize,
    pub(super) inputs_each: usize,
}

/// Multiply-adds of one task.
const TASK: usize = 1 << 16;

/// Fills `out` with the planes of all batches and channels.
pub(super) fn run<T: Float>(problem: &Problem<'_, T>, out: &mut [T]) {
    let volume: usize = problem.axes.iter().map(|a| a.output).product();
    let planes = TASK.div_ceil(volume.saturating_mul(problem.taps.len()).max(1));
    parallel::chunks(out, planes * volume, 1, &|task, out| {
        T::wide(|| {
            for (index, out) in out.chunks_exact_mut(volume).enumerate() {
                plane(problem, task * planes + index, out);
            }
        });
    });
}

/// Plane `index` of the result, counting channels through all batches.
#[inline(always)]
fn plane<T: Float>(problem: &Problem<'_, T>, index: usize, out: &mut [T]) {
    let (batch, output) = (index / problem.outputs, index % problem.outputs);
    let groups = problem.outputs / problem.outputs_each;
    let group = batch * groups + output / problem.outputs_each;
    let input = problem.input.channel(group * problem.inputs_each);
    let weight = &problem.weight[output * problem.taps.len()..][..problem.taps.len()];
    let bias = problem.bias.map_or(T::ZERO, |b| b[output]);
    let width = problem.axes[2].output;
    for (row, out) in out.chunks_exact_mut(width).enumerate() {
        let input = &input[problem.input.row(row, problem.axes)..];
        match width {
            32.. => blocks::<T, 32>(input, problem.taps, weight, bias, out),
            16.. => blocks::<T, 16>(input, problem.taps, weight, bias, out),
            8.. => blocks::<T, 8>(input, problem.taps, weight, bias, out),
            _ => blocks::<T, 1>(input, problem.taps, weight, bias, out),
        }
    }
}

/// A row of at least `N` outputs, `N` at a time. The last block overlaps the
/// one before it rather than being shorter.
#[inline(always)]
fn blocks<T: Float, const N: usize>(
    input: &[T],
    taps: &[usize],
    weight: &[T],
    bias: T,
    out: &mut [T],
) {
    let mut at = 0;
    while at < out.len() {
        let start = at.min(out.len() - N);
        let mut sums = [bias; N];
        for (&tap, &weight) in taps.iter().zip(weight) {
            let input = &input[start + tap..][..N];
            for (sum, &x) in sums.iter_mut().zip(input) {
                *sum += weight * x;
            }
        }
        out[start..start + N].copy_from_slice(&sums);
        at += N;
    }
}
