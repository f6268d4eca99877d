//! Slices: `slice_by_index`, `slice_by_size`, `slice_update`.
//!
//! Indices follow Python's slices: negative ones count from the end, what lies
//! outside is clipped. A slice with stride 1 is a view.

use candle_core::Tensor;
use milwright_ir::shape::slice_of;

use super::build::{Element, tensor, with_element};
use super::check::{Result, bad, length, need, size};
use super::layout::{self, narrow, to_vec};
use super::runs::{Place, Runs, copy, inside};
use crate::call::{Call, Outputs};

/// The indices and masks of `slice_by_index`, one entry a dimension.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slice {
    pub(crate) begin: Vec<i64>,
    pub(crate) end: Vec<i64>,
    /// All 1 if `None`.
    pub(crate) stride: Option<Vec<i64>>,
    /// Where set, `begin` is ignored: from the first element on (the last, if
    /// the stride is negative).
    pub(crate) begin_mask: Option<Vec<bool>>,
    /// Where set, `end` is ignored: through the last element.
    pub(crate) end_mask: Option<Vec<bool>>,
    /// Where set, the element at `begin` is taken and the dimension dropped.
    pub(crate) squeeze_mask: Option<Vec<bool>>,
}

impl Slice {
    fn of(call: &Call<'_>) -> Result<Self> {
        Ok(Self {
            begin: need("begin", call.ints("begin")?)?,
            end: need("end", call.ints("end")?)?,
            stride: call.ints("stride")?,
            begin_mask: call.bools("begin_mask")?,
            end_mask: call.bools("end_mask")?,
            squeeze_mask: call.bools("squeeze_mask")?,
        })
    }
}

pub(crate) fn slice_by_index(call: &Call<'_>) -> Outputs {
    call.one(sliced(&call.tensor("x")?.data, &Slice::of(call)?)?)
}

pub(crate) fn slice_by_size(call: &Call<'_>) -> Outputs {
    let begin = need("begin", call.ints("begin")?)?;
    let sizes = need("size", call.ints("size")?)?;
    call.one(sliced_by_size(&call.tensor("x")?.data, &begin, &sizes)?)
}

pub(crate) fn slice_update(call: &Call<'_>) -> Outputs {
    let (x, update) = (call.tensor("x")?, call.tensor("update")?);
    call.one(updated(&x.data, &update.data, &Slice::of(call)?)?)
}

/// What a slice takes of one dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Taken {
    start: usize,
    count: usize,
    step: i64,
    squeeze: bool,
}

fn resolve(dims: &[usize], slice: &Slice) -> Result<Vec<Taken>> {
    let rank = dims.len();
    length("begin", &slice.begin, rank)?;
    length("end", &slice.end, rank)?;
    if let Some(stride) = &slice.stride {
        length("stride", stride, rank)?;
    }
    for (name, mask) in [
        ("begin_mask", &slice.begin_mask),
        ("end_mask", &slice.end_mask),
        ("squeeze_mask", &slice.squeeze_mask),
    ] {
        if let Some(mask) = mask {
            length(name, mask, rank)?;
        }
    }
    let set = |mask: &Option<Vec<bool>>, i: usize| mask.as_ref().is_some_and(|m| m[i]);
    (0..rank)
        .map(|i| {
            let begin = (!set(&slice.begin_mask, i)).then_some(slice.begin[i]);
            let size = dims[i] as i64;
            if set(&slice.squeeze_mask, i) {
                let begin = begin.unwrap_or(0);
                let at = if begin < 0 { begin.saturating_add(size) } else { begin };
                if !(0..size).contains(&at) {
                    return Err(bad(
                        "begin",
                        format_args!("index {begin} is outside dimension {i} of size {size}"),
                    ));
                }
                return Ok(Taken {
                    start: at as usize,
                    count: 1,
                    step: 1,
                    squeeze: true,
                });
            }
            let step = slice.stride.as_ref().map_or(1, |s| s[i]);
            let end = (!set(&slice.end_mask, i)).then_some(slice.end[i]);
            let taken = slice_of(dims[i] as u64, begin, end, step)?;
            // Both lie within the dimension.
            Ok(Taken {
                start: taken.start as usize,
                count: taken.len as usize,
                step,
                squeeze: false,
            })
        })
        .collect()
}

/// Dimensions and place of what is taken.
fn taken_place(x: &Tensor, taken: &[Taken]) -> (Vec<usize>, Place) {
    let mut place = Place::broadcast(x, x.dims());
    for (i, t) in taken.iter().enumerate() {
        place.offset += t.start * place.strides[i].unsigned_abs();
        // With one element the step leads nowhere and may be anything.
        place.strides[i] = if t.count > 1 {
            place.strides[i] * t.step as isize
        } else {
            0
        };
    }
    (taken.iter().map(|t| t.count).collect(), place)
}

fn kept(taken: &[Taken]) -> Vec<usize> {
    let kept = taken.iter().filter(|t| !t.squeeze);
    kept.map(|t| t.count).collect()
}

/// The part of `x` that a slice describes.
///
/// # Errors
/// When there is not one entry a dimension, a stride is 0 or a squeezed index
/// is out of range.
pub(crate) fn sliced(x: &Tensor, slice: &Slice) -> Result<Tensor> {
    let taken = resolve(x.dims(), slice)?;
    let mut out = if taken.iter().all(|t| t.step == 1 || t.count <= 1) {
        let mut out = x.clone();
        for (i, t) in taken.iter().enumerate() {
            out = narrow(&out, i, t.start, t.count)?;
        }
        out
    } else {
        let (dims, place) = taken_place(x, &taken);
        copy(x, &dims, &place)?
    };
    for i in (0..taken.len()).rev().filter(|&i| taken[i].squeeze) {
        out = out.squeeze(i)?;
    }
    Ok(out)
}

/// `sizes` elements of `x` from `begin` on; a size of -1 takes the rest.
///
/// # Errors
/// When there is not one entry a dimension or the slice leaves `x`.
pub(crate) fn sliced_by_size(x: &Tensor, begin: &[i64], sizes: &[i64]) -> Result<Tensor> {
    length("begin", begin, x.rank())?;
    length("size", sizes, x.rank())?;
    let mut out = x.clone();
    for (i, &dim) in x.dims().iter().enumerate() {
        let at = if begin[i] < 0 {
            begin[i].saturating_add(dim as i64)
        } else {
            begin[i]
        };
        let at = usize::try_from(at).ok().filter(|&at| at <= dim).ok_or_else(|| {
            bad(
                "begin",
                format_args!("index {} is outside dimension {i} of size {dim}", begin[i]),
            )
        })?;
        let count = if sizes[i] == -1 {
            dim - at
        } else {
            size("size", sizes[i])?
        };
        if count > dim - at {
            return Err(bad(
                "size",
                format_args!("{count} elements from index {at} leave dimension {i} of size {dim}"),
            ));
        }
        out = narrow(&out, i, at, count)?;
    }
    Ok(out)
}

/// `x` with `update` in place of what a slice describes.
///
/// # Errors
/// Those of [`sliced`], or when `update` has not the slice's shape and type.
pub(crate) fn updated(x: &Tensor, update: &Tensor, slice: &Slice) -> Result<Tensor> {
    let taken = resolve(x.dims(), slice)?;
    let expected = kept(&taken);
    if update.dims() != expected || update.dtype() != x.dtype() {
        return Err(bad(
            "update",
            format_args!(
                "has shape {:?} held as {:?}, expected {expected:?} held as {:?}",
                update.dims(),
                update.dtype(),
                x.dtype()
            ),
        ));
    }
    fn run<T: Element>(x: &Tensor, update: &Tensor, taken: &[Taken]) -> Result<Tensor> {
        let mut out = to_vec::<T>(x)?;
        // The places in the copy, which is contiguous.
        let mut step = 1;
        let mut strides = vec![0isize; taken.len()];
        let mut offset = 0;
        for (i, t) in taken.iter().enumerate().rev() {
            offset += t.start * step;
            if t.count > 1 {
                strides[i] = step as isize * t.step as isize;
            }
            step *= x.dims()[i];
        }
        let place = Place { offset, strides };
        let dims: Vec<usize> = taken.iter().map(|t| t.count).collect();
        inside(&dims, &place, out.len())?;
        let new = layout::elements::<T>(update)?;
        let runs = Runs::new(&dims, [&place]);
        let [step] = runs.steps();
        let mut from = 0;
        runs.for_each(0..new.len(), |len, [at]| {
            let new = &new[from..from + len];
            if step == 1 {
                out[at..at + len].copy_from_slice(new);
            } else {
                for (k, &value) in new.iter().enumerate() {
                    out[(at as isize + k as isize * step) as usize] = value;
                }
            }
            from += len;
        });
        tensor(out, x.dims())
    }
    with_element!(x, T => run::<T>(x, update, &taken))
}

#[cfg(test)]
mod tests;
