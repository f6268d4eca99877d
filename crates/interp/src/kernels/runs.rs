//! Walks several operands in step over one output shape.
//!
//! The output's dimensions are merged as far as every operand allows, so that
//! what remains is a short list of outer dimensions and one inner run. Kernels
//! then work on whole runs (slices, scalars), never on computed indices.

use std::ops::Range;

use candle_core::Tensor;

use super::build::{CHEAP, Element, build, tensor, with_element};
use super::check::{Result, elements};
use super::layout::View;
use crate::error::KernelError;

/// Where one operand lies in its [`View`], by output dimension.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Position of the first element.
    pub(crate) offset: usize,
    /// Step in the view for a step in each output dimension; 0 repeats.
    pub(crate) strides: Vec<isize>,
}

impl Place {
    /// A tensor as it broadcasts to `dims` by numpy's rules; the shapes have
    /// been checked.
    pub(crate) fn broadcast(x: &Tensor, dims: &[usize]) -> Self {
        let own = x.dims();
        let lead = dims.len().saturating_sub(own.len());
        let strides = (0..dims.len())
            .map(|i| match i.checked_sub(lead) {
                Some(j) if own[j] != 1 => x.stride()[j] as isize,
                _ => 0,
            })
            .collect();
        Self { offset: 0, strides }
    }
}

#[derive(Debug)]
struct Outer<const N: usize> {
    size: usize,
    steps: [isize; N],
}

/// The walk over `N` operands.
#[derive(Debug)]
pub(crate) struct Runs<const N: usize> {
    /// Outermost first.
    outer: Vec<Outer<N>>,
    offsets: [isize; N],
    inner: usize,
    inner_steps: [isize; N],
}

impl<const N: usize> Runs<N> {
    /// Plans the walk over a shape of `dims`.
    pub(crate) fn new(dims: &[usize], places: [&Place; N]) -> Self {
        let mut merged: Vec<Outer<N>> = Vec::with_capacity(dims.len());
        for (i, &size) in dims.iter().enumerate() {
            if size == 1 {
                continue;
            }
            let steps: [isize; N] = std::array::from_fn(|k| places[k].strides[i]);
            match merged.last_mut() {
                // A step of the outer dimension equals a pass over this one.
                Some(last)
                    if (0..N).all(|k| last.steps[k] == steps[k].wrapping_mul(size as isize)) =>
                {
                    last.size = last.size.wrapping_mul(size);
                    last.steps = steps;
                }
                _ => merged.push(Outer { size, steps }),
            }
        }
        let (inner, inner_steps) = merged.pop().map_or((1, [1; N]), |d| (d.size, d.steps));
        Self {
            outer: merged,
            offsets: std::array::from_fn(|k| places[k].offset as isize),
            inner,
            inner_steps,
        }
    }

    /// The step of each operand inside a run: 1 means a slice, 0 one value.
    pub(crate) fn steps(&self) -> [isize; N] {
        self.inner_steps
    }

    /// Calls `f(length, positions)` for every run that makes up the output
    /// elements `range`, in order.
    pub(crate) fn for_each(&self, range: Range<usize>, mut f: impl FnMut(usize, [usize; N])) {
        self.walk(range, &mut f);
    }

    /// Calls `f` with every piece of `out`, whose first element is the output
    /// element `start`: at most [`RUN`] elements of a run. `f` also gets where
    /// the operands of the run begin, and which part of it the piece is.
    pub(crate) fn pieces<T>(
        &self,
        start: usize,
        out: &mut [T],
        mut f: impl FnMut(&mut [T], [usize; N], Range<usize>),
    ) {
        let mut to = 0;
        self.for_each(start..start + out.len(), |len, at| {
            for from in (0..len).step_by(RUN) {
                let part = from..len.min(from + RUN);
                let piece = &mut out[to..to + part.len()];
                to += part.len();
                f(piece, at, part);
            }
        });
    }

    /// [`Runs::for_each`], compiled once and not once for a function.
    fn walk(&self, range: Range<usize>, f: &mut dyn FnMut(usize, [usize; N])) {
        if range.is_empty() {
            return;
        }
        // No allocation for the ranks that occur.
        let (mut few, mut many);
        let index = if self.outer.len() <= 8 {
            few = [0usize; 8];
            &mut few[..self.outer.len()]
        } else {
            many = vec![0usize; self.outer.len()];
            &mut many[..]
        };
        let mut at = self.offsets;
        let mut rest = range.start / self.inner;
        for (i, dim) in self.outer.iter().enumerate().rev() {
            index[i] = rest % dim.size;
            rest /= dim.size;
            for (at, step) in at.iter_mut().zip(dim.steps) {
                *at += index[i] as isize * step;
            }
        }
        let mut left = range.len();
        let mut skip = range.start % self.inner;
        loop {
            let run = (self.inner - skip).min(left);
            f(
                run,
                std::array::from_fn(|k| (at[k] + skip as isize * self.inner_steps[k]) as usize),
            );
            left -= run;
            if left == 0 {
                return;
            }
            skip = 0;
            for (i, dim) in self.outer.iter().enumerate().rev() {
                index[i] += 1;
                for (at, step) in at.iter_mut().zip(dim.steps) {
                    *at += step;
                }
                if index[i] < dim.size {
                    break;
                }
                index[i] = 0;
                for (at, step) in at.iter_mut().zip(dim.steps) {
                    *at -= dim.size as isize * step;
                }
            }
        }
    }
}

/// Elements that [`run_of`] gives at a time.
pub(crate) const RUN: usize = 1024;

/// At most [`RUN`] elements of an operand inside of a run that starts at `at`,
/// as a slice: of the operand itself where its step is 1, else of `copied`. So
/// a kernel needs one loop only.
pub(crate) fn run_of<'a, T: Copy>(
    operand: &'a [T],
    step: isize,
    at: usize,
    range: Range<usize>,
    copied: &'a mut [T; RUN],
) -> &'a [T] {
    if step == 1 {
        return &operand[at + range.start..at + range.end];
    }
    let copied = &mut copied[..range.len()];
    if step == 0 {
        copied.fill(operand[at]);
    } else {
        for (y, k) in copied.iter_mut().zip(range) {
            *y = operand[(at as isize + k as isize * step) as usize];
        }
    }
    copied
}

/// Appends the elements `range` of a strided view of `storage`.
pub(crate) fn append_strided<T: Copy>(
    runs: &Runs<1>,
    storage: &[T],
    range: Range<usize>,
    out: &mut Vec<T>,
) {
    let [step] = runs.steps();
    runs.for_each(range, |len, [at]| match step {
        1 => out.extend_from_slice(&storage[at..at + len]),
        0 => out.resize(out.len() + len, storage[at]),
        2.. => out.extend(
            storage[at..]
                .iter()
                .step_by(step.unsigned_abs())
                .take(len)
                .copied(),
        ),
        _ => out.extend(
            storage[..=at]
                .iter()
                .rev()
                .step_by(step.unsigned_abs())
                .take(len)
                .copied(),
        ),
    });
}

/// A new tensor of shape `dims` whose elements lie at `place` in the view of
/// `x`: strides may be negative, repeat or overlap.
///
/// # Errors
/// When the place leaves the view or the shape is too large.
pub(crate) fn copy(x: &Tensor, dims: &[usize], place: &Place) -> Result<Tensor> {
    fn run<T: Element>(x: &Tensor, dims: &[usize], place: &Place) -> Result<Tensor> {
        let view = View::<T>::new(x)?;
        let storage = &*view;
        inside(dims, place, storage.len())?;
        let runs = Runs::new(dims, [place]);
        let data = build(elements("x", dims)?, CHEAP, |range, out| {
            append_strided(&runs, storage, range, out)
        })?;
        tensor(data, dims)
    }
    with_element!(x, T => run::<T>(x, dims, place))
}

/// Checks that a place stays inside `len` elements for `dims`.
pub(crate) fn inside(dims: &[usize], place: &Place, len: usize) -> Result<()> {
    if dims.contains(&0) {
        return Ok(());
    }
    let (mut low, mut high) = (place.offset as i128, place.offset as i128);
    for (&size, &stride) in dims.iter().zip(&place.strides) {
        let reach = (size as i128 - 1) * stride as i128;
        if reach < 0 {
            low += reach;
        } else {
            high += reach;
        }
    }
    if low >= 0 && high < len as i128 {
        Ok(())
    } else {
        Err(KernelError::Internal(format!(
            "elements {low}..={high} of a view of {len}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn walks_like_nested_loops(
            shape in proptest::collection::vec((1usize..4, 0usize..3, any::<bool>()), 0..5),
            from in 0usize..200,
            len in 0usize..200,
        ) {
            let dims: Vec<usize> = shape.iter().map(|s| s.0).collect();
            // Two operands: one dense, one with repeats, gaps and reversals.
            let mut dense = vec![0isize; dims.len()];
            let mut acc = 1isize;
            for i in (0..dims.len()).rev() {
                dense[i] = acc;
                acc *= dims[i] as isize;
            }
            let odd: Vec<isize> = shape
                .iter()
                .zip(&dense)
                .map(|(s, d)| s.1 as isize * d * if s.2 { -1 } else { 1 })
                .collect();
            let a = Place { offset: 7, strides: dense };
            let b = Place { offset: 10_000, strides: odd };
            let total: usize = dims.iter().product();
            let mut expected = Vec::new();
            for linear in 0..total {
                let mut rest = linear;
                let (mut pa, mut pb) = (a.offset as isize, b.offset as isize);
                for i in (0..dims.len()).rev() {
                    let index = (rest % dims[i]) as isize;
                    rest /= dims[i];
                    pa += index * a.strides[i];
                    pb += index * b.strides[i];
                }
                expected.push([pa as usize, pb as usize]);
            }
            let start = from.min(total);
            let end = (start + len).min(total);
            let runs = Runs::new(&dims, [&a, &b]);
            let steps = runs.steps();
            let mut seen = Vec::new();
            runs.for_each(start..end, |len, at| {
                for i in 0..len as isize {
                    seen.push(std::array::from_fn(|k| (at[k] as isize + i * steps[k]) as usize));
                }
            });
            prop_assert_eq!(&seen[..], &expected[start..end]);
        }
    }
}
