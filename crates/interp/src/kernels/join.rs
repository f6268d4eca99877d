//! Ops that put tensors together or take them apart along an axis.

use candle_core::Tensor;

use super::build::{CHEAP, Element, build, tensor, with_element};
use super::check::{Result, axis as checked_axis, bad, elements, length, need, size, times};
use super::layout::{View, narrow, walkable};
use super::runs::{Place, Runs, append_strided, copy};
use super::shape::with_dims;
use crate::call::{Call, Outputs};
use crate::value::Value;

pub(crate) fn concat(call: &Call<'_>) -> Outputs {
    let values = call.tensors("values")?;
    let values: Vec<&Tensor> = values.iter().map(|v| &v.data).collect();
    let axis = need("axis", call.int("axis")?)?;
    let interleave = need("interleave", call.bool("interleave")?)?;
    call.one(concatenated(&values, axis, interleave)?)
}

pub(crate) fn stack(call: &Call<'_>) -> Outputs {
    let values = call.tensors("values")?;
    let values: Vec<&Tensor> = values.iter().map(|v| &v.data).collect();
    call.one(stacked(&values, need("axis", call.int("axis")?)?)?)
}

pub(crate) fn split(call: &Call<'_>) -> Outputs {
    let axis = need("axis", call.int("axis")?)?;
    let count = call.int("num_splits")?;
    let sizes = call.ints("split_sizes")?;
    parts_of(&call.tensor("x")?.data, axis, count, sizes.as_deref())?
        .into_iter()
        .enumerate()
        .map(|(index, part)| call.output(index, part))
        .collect::<Result<Vec<Value>>>()
}

pub(crate) fn tile(call: &Call<'_>) -> Outputs {
    let reps = need("reps", call.ints("reps")?)?;
    call.one(tiled(&call.tensor("x")?.data, &reps)?)
}

/// Checks that tensors hold one type and agree in all dimensions but `free`.
fn agree(values: &[&Tensor], free: Option<usize>) -> Result<()> {
    let Some(first) = values.first() else {
        return Err(bad("values", "no tensors given"));
    };
    for (index, value) in values.iter().enumerate() {
        if value.dtype() != first.dtype() {
            return Err(bad(
                "values",
                format_args!(
                    "number {index} is held as {:?}, the first as {:?}",
                    value.dtype(),
                    first.dtype()
                ),
            ));
        }
        let same = value.rank() == first.rank()
            && (0..first.rank()).all(|i| Some(i) == free || value.dims()[i] == first.dims()[i]);
        if !same {
            return Err(bad(
                "values",
                format_args!(
                    "number {index} has shape {:?}, which does not fit {:?}",
                    value.dims(),
                    first.dims()
                ),
            ));
        }
    }
    Ok(())
}

/// Tensors one after another along `axis`; scalars give a vector. With
/// `interleave` the slices along the axis take turns.
///
/// # Errors
/// When the axis is out of range or the tensors do not fit each other.
pub(crate) fn concatenated(values: &[&Tensor], axis: i64, interleave: bool) -> Result<Tensor> {
    let rank = values.first().map_or(0, |v| v.rank());
    if rank == 0 {
        return stacked(values, 0);
    }
    let axis = checked_axis("axis", axis, rank)?;
    if interleave {
        agree(values, None)?;
        let mut dims = values[0].dims().to_vec();
        dims[axis] = times("values", dims[axis], values.len())?;
        return with_dims(&stacked(values, axis as i64 + 1)?, &dims);
    }
    agree(values, Some(axis))?;
    if let [single] = values {
        return Ok((*single).clone());
    }
    with_element!(values[0], T => concatenated_of::<T>(values, axis))
}

/// One operand of a concatenation.
struct Part<'a, T> {
    storage: &'a [T],
    runs: Runs<1>,
    /// Set when the elements lie in order.
    slice: Option<&'a [T]>,
    /// Elements for each step of the dimensions before the axis.
    chunk: usize,
}

impl<T: Element> Part<'_, T> {
    #[inline(always)]
    fn append(&self, range: std::ops::Range<usize>, out: &mut Vec<T>) {
        match self.slice {
            Some(slice) => out.extend_from_slice(&slice[range]),
            None => append_strided(&self.runs, self.storage, range, out),
        }
    }
}

fn concatenated_of<T: Element>(values: &[&Tensor], axis: usize) -> Result<Tensor> {
    let mut dims = values[0].dims().to_vec();
    dims[axis] = values
        .iter()
        .try_fold(0usize, |sum, v| sum.checked_add(v.dims()[axis]))
        .ok_or_else(|| bad("values", "the sizes along the axis overflow"))?;
    let count = elements("values", &dims)?;
    let values = values
        .iter()
        .map(|v| walkable(v))
        .collect::<Result<Vec<_>>>()?;
    let views = values
        .iter()
        .map(View::<T>::new)
        .collect::<Result<Vec<_>>>()?;
    let parts: Vec<Part<'_, T>> = views
        .iter()
        .zip(&values)
        .map(|(view, x)| Part {
            storage: view,
            runs: Runs::new(x.dims(), [&Place::broadcast(x, x.dims())]),
            slice: view.is_contiguous().then_some(&**view),
            chunk: x.dims()[axis..].iter().product(),
        })
        .collect();
    let row: usize = dims[axis..].iter().product();
    let data = build(
        count,
        CHEAP,
        #[inline(always)]
        |range, out| {
            // Where in which row the range starts.
            let (mut at, end) = (range.start, range.end);
            while at < end {
                let outer = at / row;
                let mut before = outer * row;
                for part in &parts {
                    let from = at.max(before) - before;
                    let to = end.min(before + part.chunk).max(before) - before;
                    if from < to {
                        let base = outer * part.chunk;
                        part.append(base + from..base + to, out);
                        at += to - from;
                    }
                    before += part.chunk;
                }
            }
        },
    )?;
    tensor(data, &dims)
}

/// Tensors of one shape along a new `axis`.
///
/// # Errors
/// When the axis is out of range or the shapes differ.
pub(crate) fn stacked(values: &[&Tensor], axis: i64) -> Result<Tensor> {
    agree(values, None)?;
    let axis = checked_axis("axis", axis, values[0].rank() + 1)?;
    let expanded = values
        .iter()
        .map(|v| Ok(v.unsqueeze(axis)?))
        .collect::<Result<Vec<_>>>()?;
    concatenated(&expanded.iter().collect::<Vec<_>>(), axis as i64, false)
}

/// The parts of `x` along `axis`: `split_sizes`, or `num_splits` equal ones.
/// They are views.
///
/// # Errors
/// When the sizes do not add up, or neither is given.
pub(crate) fn parts_of(
    x: &Tensor,
    axis: i64,
    num_splits: Option<i64>,
    split_sizes: Option<&[i64]>,
) -> Result<Vec<Tensor>> {
    let axis = checked_axis("axis", axis, x.rank())?;
    let total = x.dims()[axis];
    let sizes = match (num_splits, split_sizes) {
        (count, Some(sizes)) => {
            if let Some(count) = count {
                length("split_sizes", sizes, size("num_splits", count)?)?;
            }
            sizes
                .iter()
                .map(|&s| size("split_sizes", s))
                .collect::<Result<Vec<_>>>()?
        }
        (Some(count), None) => {
            let count = size("num_splits", count)?;
            if count == 0 || !total.is_multiple_of(count) {
                return Err(bad(
                    "num_splits",
                    format_args!("{count} does not divide the {total} elements along axis {axis}"),
                ));
            }
            vec![total / count; count]
        }
        (None, None) => return Err(bad("num_splits", "or split_sizes must be given")),
    };
    // Sizes are at most 2^31 each, and there are as many as a list in the file.
    if sizes.iter().map(|&s| s as u128).sum::<u128>() != total as u128 {
        return Err(bad(
            "split_sizes",
            format_args!("{sizes:?} do not add up to the {total} elements along axis {axis}"),
        ));
    }
    let mut start = 0;
    sizes
        .into_iter()
        .map(|size| {
            let part = narrow(x, axis, start, size)?;
            start += size;
            Ok(part)
        })
        .collect()
}

/// `x` repeated `reps[i]` times along dimension `i`.
///
/// # Errors
/// When there is not one positive count per dimension, or the result is too
/// large.
pub(crate) fn tiled(x: &Tensor, reps: &[i64]) -> Result<Tensor> {
    length("reps", reps, x.rank())?;
    let reps = reps
        .iter()
        .map(|&r| match size("reps", r)? {
            0 => Err(bad("reps", "0 repetitions; at least 1 expected")),
            r => Ok(r),
        })
        .collect::<Result<Vec<_>>>()?;
    let dims = x
        .dims()
        .iter()
        .zip(&reps)
        .map(|(&d, &r)| times("reps", d, r))
        .collect::<Result<Vec<_>>>()?;
    elements("reps", &dims)?;
    if reps.iter().all(|&r| r == 1) {
        return Ok(x.clone());
    }
    // Each dimension in two: the repetitions, which do not move, and itself.
    let place = Place {
        offset: 0,
        strides: x.stride().iter().flat_map(|&s| [0, s as isize]).collect(),
    };
    let pairs: Vec<usize> = reps
        .iter()
        .zip(x.dims())
        .flat_map(|(&r, &d)| [r, d])
        .collect();
    with_dims(&copy(x, &pairs, &place)?, &dims)
}

#[cfg(test)]
mod tests;
