//! Ops that give a tensor another shape, or make one from a shape.
//!
//! Where the elements stay in order the result is a view of the operand.

use candle_core::{DType, Device, Tensor};
use milwright_ir::ops::Opset;

use super::build::{CHEAP, Element, build, reserve, tensor, with_element};
use super::check::{Result, axes as checked_axes, axis as checked_axis, bad, elements, length, need, size};
use super::layout::{contiguous, integers_of, narrow, to_vec};
use super::runs::{Place, copy};
use crate::call::{Call, Outputs};
use crate::error::KernelError;
use crate::value::Value;

pub(crate) fn reshape(call: &Call<'_>) -> Outputs {
    let zeros = if call.opset >= Opset::IOS17 {
        Zeros::FromTheRight
    } else {
        Zeros::SamePlace
    };
    let shape = need("shape", call.ints("shape")?)?;
    call.one(reshaped(&call.tensor("x")?.data, &shape, zeros)?)
}

pub(crate) fn reshape_like(call: &Call<'_>) -> Outputs {
    let references = call.tensors("ref_tensors")?;
    let integers = |name: &str| -> Result<Vec<i64>> {
        let mut out = Vec::new();
        for tensor in call.tensors(name)? {
            out.extend(integers_of(name, &tensor.data)?);
        }
        length(name, &out, references.len())?;
        Ok(out)
    };
    let (begins, ends) = (integers("begins")?, integers("ends")?);
    let masks = integers("end_masks")?;
    let parts: Vec<_> = references
        .iter()
        .enumerate()
        .map(|(i, r)| (r.dims(), begins[i], (masks[i] == 0).then_some(ends[i])))
        .collect();
    call.one(reshaped_like(&call.tensor("x")?.data, &parts)?)
}

pub(crate) fn flatten2d(call: &Call<'_>) -> Outputs {
    let axis = need("axis", call.int("axis")?)?;
    call.one(flattened(&call.tensor("x")?.data, axis)?)
}

pub(crate) fn transpose(call: &Call<'_>) -> Outputs {
    let perm = need("perm", call.ints("perm")?)?;
    call.one(transposed(&call.tensor("x")?.data, &perm)?)
}

pub(crate) fn expand_dims(call: &Call<'_>) -> Outputs {
    let axes = need("axes", call.ints("axes")?)?;
    call.one(expanded(&call.tensor("x")?.data, &axes)?)
}

pub(crate) fn squeeze(call: &Call<'_>) -> Outputs {
    let axes = match call.ints("axes")? {
        Some(axes) => axes,
        // Those that the program knows to be 1; one that happens to be 1 in
        // this run stays.
        None => {
            let declared = call.view.tensor("x")?.shape.iter();
            let ones = declared.enumerate().filter(|(_, d)| d.known() == Some(1));
            ones.map(|(i, _)| i as i64).collect()
        }
    };
    call.one(squeezed(&call.tensor("x")?.data, &axes)?)
}

pub(crate) fn reverse(call: &Call<'_>) -> Outputs {
    let axes = call.ints("axes")?;
    call.one(reversed(&call.tensor("x")?.data, axes.as_deref())?)
}

pub(crate) fn reverse_sequence(call: &Call<'_>) -> Outputs {
    let lengths = need("lengths", call.ints("lengths")?)?;
    let seq = need("seq_axis", call.int("seq_axis")?)?;
    let batch = need("batch_axis", call.int("batch_axis")?)?;
    call.one(sequence_reversed(&call.tensor("x")?.data, &lengths, seq, batch)?)
}

pub(crate) fn shape(call: &Call<'_>) -> Outputs {
    // Whatever it holds: the shape of strings is not asked for in practice.
    call.one(shape_of(&call.tensor("x")?.data)?)
}

pub(crate) fn fill(call: &Call<'_>) -> Outputs {
    let shape = need("shape", call.ints("shape")?)?;
    let dims = shape
        .iter()
        .map(|&d| size("shape", d))
        .collect::<Result<Vec<_>>>()?;
    filled_as_declared(call, &dims)
}

pub(crate) fn fill_like(call: &Call<'_>) -> Outputs {
    filled_as_declared(call, call.tensor("ref_tensor")?.dims())
}

/// Fills the output, whose type is that of `value`, or of its default.
fn filled_as_declared(call: &Call<'_>, dims: &[usize]) -> Outputs {
    let dtype = call.output_dtype(0)?;
    let value = need("value", call.float("value")?)?;
    let held = call
        .precision
        .storage(dtype)
        .ok_or_else(|| KernelError::Unsupported(format!("a tensor of {dtype}")))?;
    Ok(vec![Value::Tensor(crate::value::Tensor::new(
        dtype,
        filled(dims, &scalar(held, value)?)?,
    )?)])
}

/// A number as a tensor of one element.
fn scalar(held: DType, value: f64) -> Result<Tensor> {
    Ok(Tensor::full(value, (), &Device::Cpu)?.to_dtype(held)?)
}

pub(crate) fn range_1d(call: &Call<'_>) -> Outputs {
    let (start, end) = (call.tensor("start")?, call.tensor("end")?);
    let step = call.tensor("step")?;
    call.one(range_of(&start.data, &end.data, &step.data)?)
}

pub(crate) fn band_part(call: &Call<'_>) -> Outputs {
    let lower = need("lower", call.int("lower")?)?;
    let upper = need("upper", call.int("upper")?)?;
    call.one(band_of(&call.tensor("x")?.data, lower, upper)?)
}

pub(crate) fn one_hot(call: &Call<'_>) -> Outputs {
    let indices = call.tensor("indices")?.data;
    let depth = need("one_hot_vector_size", call.int("one_hot_vector_size")?)?;
    let axis = need("axis", call.int("axis")?)?;
    let dtype = call.output_dtype(0)?;
    let held = call
        .precision
        .storage(dtype)
        .ok_or_else(|| KernelError::Unsupported(format!("a tensor of {dtype}")))?;
    let value = |name: &str| scalar(held, need(name, call.float(name)?)?);
    call.one(one_hot_of(
        &integers_of("indices", &indices)?,
        indices.dims(),
        depth,
        axis,
        &value("on_value")?,
        &value("off_value")?,
    )?)
}

/// How a 0 in the shape of `reshape` is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zeros {
    /// The dimension at the same place; as many entries as dimensions
    /// (up to iOS 16).
    SamePlace,
    /// The dimension at the same place from the right, 1 beyond (from iOS 17).
    FromTheRight,
}

/// The shape that `reshape` gives to `dims`.
///
/// # Errors
/// When it does not hold as many elements, or is ambiguous.
pub(crate) fn reshaped_dims(dims: &[usize], shape: &[i64], zeros: Zeros) -> Result<Vec<usize>> {
    if zeros == Zeros::SamePlace && shape.contains(&0) && shape.len() != dims.len() {
        return Err(bad(
            "shape",
            format_args!(
                "a 0 in {shape:?} stands for a dimension of x, whose shape {dims:?} has another rank"
            ),
        ));
    }
    let mut hole = None;
    let mut out = Vec::with_capacity(shape.len());
    for (i, &entry) in shape.iter().enumerate() {
        out.push(match entry {
            -1 if hole.replace(i).is_some() => {
                return Err(bad("shape", format_args!("{shape:?} has more than one -1")));
            }
            -1 => 1,
            // The same place counted from the right; the ranks are equal in
            // the other reading.
            0 => (i + dims.len())
                .checked_sub(shape.len())
                .map_or(1, |j| dims[j]),
            entry => size("shape", entry)?,
        });
    }
    let total = elements("x", dims)?;
    let known = elements("shape", &out)?;
    if let Some(i) = hole {
        if known == 0 {
            return Err(bad(
                "shape",
                format_args!("the -1 in {shape:?} is ambiguous: the other sizes hold no elements"),
            ));
        }
        out[i] = total / known;
    }
    if elements("shape", &out)? != total {
        return Err(bad(
            "shape",
            format_args!("{shape:?} does not hold the {total} elements of shape {dims:?}"),
        ));
    }
    Ok(out)
}

/// `x` with another shape of as many elements.
///
/// # Errors
/// See [`reshaped_dims`].
pub(crate) fn reshaped(x: &Tensor, shape: &[i64], zeros: Zeros) -> Result<Tensor> {
    with_dims(x, &reshaped_dims(x.dims(), shape, zeros)?)
}

/// `x` with `dims`, which hold as many elements.
pub(crate) fn with_dims(x: &Tensor, dims: &[usize]) -> Result<Tensor> {
    Ok(contiguous(x)?.reshape(dims)?)
}

/// `x` with the parts `from..to` of the shapes of `references` in a row; an end
/// of `None` reaches to the last dimension.
///
/// # Errors
/// When a part is out of range or the shape does not hold as many elements.
pub(crate) fn reshaped_like(
    x: &Tensor,
    references: &[(&[usize], i64, Option<i64>)],
) -> Result<Tensor> {
    let mut dims = Vec::new();
    for &(reference, begin, end) in references {
        // Python's slicing: negative counts from the end, the rest is clipped.
        let rank = reference.len() as i64;
        let clip = |v: i64| (if v < 0 { v.saturating_add(rank) } else { v }).clamp(0, rank) as usize;
        let (begin, end) = (clip(begin), end.map_or(reference.len(), clip));
        dims.extend_from_slice(reference.get(begin..end).unwrap_or(&[]));
    }
    if elements("ref_tensors", &dims)? != x.elem_count() {
        return Err(bad(
            "ref_tensors",
            format_args!(
                "the shape {dims:?} does not hold the {} elements of x",
                x.elem_count()
            ),
        ));
    }
    with_dims(x, &dims)
}

/// `x` as a matrix: the dimensions before `axis`, and those from it on.
///
/// # Errors
/// When the axis is out of range.
pub(crate) fn flattened(x: &Tensor, axis: i64) -> Result<Tensor> {
    let rank = x.rank() as i64;
    let split = if axis < 0 { axis.saturating_add(rank) } else { axis };
    if !(0..=rank).contains(&split) {
        return Err(bad(
            "axis",
            format_args!("{axis} is outside -{rank}..={rank}"),
        ));
    }
    let (before, after) = x.dims().split_at(split as usize);
    with_dims(x, &[elements("x", before)?, elements("x", after)?])
}

/// `x` with its dimensions in the order `perm`: a view.
///
/// # Errors
/// When `perm` does not name every dimension once.
pub(crate) fn transposed(x: &Tensor, perm: &[i64]) -> Result<Tensor> {
    length("perm", perm, x.rank())?;
    let order = perm
        .iter()
        .map(|&p| checked_axis("perm", p, x.rank()))
        .collect::<Result<Vec<_>>>()?;
    checked_axes("perm", perm, x.rank())?;
    if order.is_empty() {
        return Ok(x.clone());
    }
    Ok(x.permute(order)?)
}

/// `x` with dimensions of size 1 at `axes` of the result: a view.
///
/// # Errors
/// When an axis is out of range or named twice.
pub(crate) fn expanded(x: &Tensor, axes: &[i64]) -> Result<Tensor> {
    let rank = x.rank() + axes.len();
    let mut out = x.clone();
    for axis in checked_axes("axes", axes, rank)? {
        out = out.unsqueeze(axis)?;
    }
    Ok(out)
}

/// `x` without the dimensions `axes`: a view.
///
/// # Errors
/// When an axis is out of range or named twice, or its size is not 1.
pub(crate) fn squeezed(x: &Tensor, axes: &[i64]) -> Result<Tensor> {
    let mut out = x.clone();
    for axis in checked_axes("axes", axes, x.rank())?.into_iter().rev() {
        let size = x.dims()[axis];
        if size != 1 {
            return Err(bad(
                "axes",
                format_args!("dimension {axis} has size {size}; only 1 can be removed"),
            ));
        }
        out = out.squeeze(axis)?;
    }
    Ok(out)
}

/// `x` with the order of its elements along `axes` (all, if `None`) reversed.
///
/// # Errors
/// When an axis is out of range or named twice.
pub(crate) fn reversed(x: &Tensor, axes: Option<&[i64]>) -> Result<Tensor> {
    let axes = match axes {
        Some(axes) => checked_axes("axes", axes, x.rank())?,
        None => (0..x.rank()).collect(),
    };
    let mut place = Place::broadcast(x, x.dims());
    for axis in axes {
        let size = x.dims()[axis];
        place.offset += size.saturating_sub(1) * place.strides[axis].unsigned_abs();
        place.strides[axis] = -place.strides[axis];
    }
    copy(x, x.dims(), &place)
}

/// `x` with the first `lengths[b]` elements along `seq_axis` reversed, for
/// every `b` along `batch_axis`.
///
/// # Errors
/// When an axis is out of range, or a length is negative or too large.
pub(crate) fn sequence_reversed(
    x: &Tensor,
    lengths: &[i64],
    seq_axis: i64,
    batch_axis: i64,
) -> Result<Tensor> {
    let seq = checked_axis("seq_axis", seq_axis, x.rank())?;
    let batch = checked_axis("batch_axis", batch_axis, x.rank())?;
    length("lengths", lengths, x.dims()[batch])?;
    if seq == batch {
        return Err(bad("batch_axis", "is the same as seq_axis"));
    }
    let total = x.dims()[seq];
    let mut parts = Vec::with_capacity(lengths.len());
    for (i, &count) in lengths.iter().enumerate() {
        let count = size("lengths", count)?;
        if count > total {
            return Err(bad(
                "lengths",
                format_args!("{count} is more than the {total} elements along axis {seq}"),
            ));
        }
        let row = narrow(x, batch, i, 1)?;
        let head = reversed(&narrow(&row, seq, 0, count)?, Some(&[seq as i64]))?;
        let tail = narrow(&row, seq, count, total - count)?;
        parts.push(super::join::concatenated(&[&head, &tail], seq as i64, false)?);
    }
    if parts.is_empty() {
        return Ok(x.clone());
    }
    super::join::concatenated(&parts.iter().collect::<Vec<_>>(), batch as i64, false)
}

/// The dimensions of `x` as an int32 vector.
///
/// # Errors
/// When a dimension exceeds int32.
pub(crate) fn shape_of(x: &Tensor) -> Result<Tensor> {
    let dims = x
        .dims()
        .iter()
        .map(|&d| i32::try_from(d).map_err(|_| bad("x", format_args!("size {d} exceeds int32"))))
        .collect::<Result<Vec<_>>>()?;
    let rank = dims.len();
    tensor(dims, &[rank])
}

/// A tensor of shape `dims`, every element `value` (one element).
///
/// # Errors
/// When the shape is too large or `value` is not one element.
pub(crate) fn filled(dims: &[usize], value: &Tensor) -> Result<Tensor> {
    fn run<T: Element>(dims: &[usize], value: &Tensor) -> Result<Tensor> {
        let [value] = to_vec::<T>(value)?[..] else {
            return Err(bad("value", "is not one element"));
        };
        let data = build(elements("shape", dims)?, CHEAP, |range, out| {
            out.resize(out.len() + range.len(), value);
        })?;
        tensor(data, dims)
    }
    with_element!(value, T => run::<T>(dims, value))
}

/// `start`, `start + step`, ... up to but not including `end`.
///
/// # Errors
/// When `step` is 0, a value is not finite, the types differ or the result is
/// too large.
pub(crate) fn range_of(start: &Tensor, end: &Tensor, step: &Tensor) -> Result<Tensor> {
    fn run<T: Element>(
        start: &Tensor,
        end: &Tensor,
        step: &Tensor,
        at: impl Fn(T, T, usize) -> T + Sync,
        count: impl Fn(T, T, T) -> Option<f64>,
    ) -> Result<Tensor> {
        let one = |name: &str, t: &Tensor| -> Result<T> {
            match to_vec::<T>(t)?[..] {
                [value] => Ok(value),
                _ => Err(bad(name, "is not one element")),
            }
        };
        let (start, end, step) = (one("start", start)?, one("end", end)?, one("step", step)?);
        let count = count(start, end, step)
            .filter(|count| count.is_finite())
            .ok_or_else(|| {
                bad(
                    "step",
                    format_args!("no range from {start} to {end} by {step}"),
                )
            })?;
        let count = size("end", count.max(0.0) as i64)?;
        let data = build(count, CHEAP, |range, out| {
            out.extend(range.map(|i| at(start, step, i)));
        })?;
        tensor(data, &[count])
    }
    for (name, other) in [("end", end), ("step", step)] {
        if other.dtype() != start.dtype() {
            return Err(bad(
                name,
                format_args!("is held as {:?}, start as {:?}", other.dtype(), start.dtype()),
            ));
        }
    }
    // Floats: the element is rounded once, not once per step.
    let floats = |start: f64, end: f64, step: f64| {
        (step != 0.0).then(|| ((end - start) / step).ceil())
    };
    let integers = |start: i64, end: i64, step: i64| {
        let (span, step) = (i128::from(end) - i128::from(start), i128::from(step));
        (step != 0).then(|| {
            let whole = span / step;
            let more = span % step != 0 && (span < 0) == (step < 0);
            (whole + i128::from(more)) as f64
        })
    };
    match start.dtype() {
        DType::F32 => run::<f32>(
            start,
            end,
            step,
            |start, step, i| (f64::from(start) + f64::from(step) * i as f64) as f32,
            |a, b, c| floats(a.into(), b.into(), c.into()),
        ),
        DType::F64 => run::<f64>(start, end, step, |start, step, i| start + step * i as f64, floats),
        DType::I32 => run::<i32>(
            start,
            end,
            step,
            |start, step, i| start.wrapping_add(step.wrapping_mul(i as i32)),
            |a, b, c| integers(a.into(), b.into(), c.into()),
        ),
        DType::I64 => run::<i64>(
            start,
            end,
            step,
            |start, step, i| start.wrapping_add(step.wrapping_mul(i as i64)),
            integers,
        ),
        other => Err(bad("start", format_args!("is held as {other:?}"))),
    }
}

/// `x` with zeros more than `lower` places below and `upper` places above the
/// diagonal of its last two dimensions; negative keeps that side whole.
///
/// # Errors
/// When `x` has fewer than two dimensions.
pub(crate) fn band_of(x: &Tensor, lower: i64, upper: i64) -> Result<Tensor> {
    fn run<T: Element>(x: &Tensor, lower: i64, upper: i64) -> Result<Tensor> {
        let [.., rows, columns] = *x.dims() else {
            return Err(bad("x", "has rank below 2"));
        };
        let mut out = to_vec::<T>(x)?;
        if columns > 0 {
            for (index, row) in out.chunks_exact_mut(columns).enumerate() {
                let m = (index % rows) as i64;
                // Column n stays if m - n <= lower and n - m <= upper.
                let clip = |v: i64| v.clamp(0, columns as i64) as usize;
                let from = if lower < 0 { 0 } else { clip(m.saturating_sub(lower)) };
                let to = if upper < 0 {
                    columns
                } else {
                    clip(m.saturating_add(upper).saturating_add(1))
                };
                row[..from].fill(T::ZERO);
                row[to.max(from)..].fill(T::ZERO);
            }
        }
        tensor(out, x.dims())
    }
    with_element!(x, T => run::<T>(x, lower, upper))
}

/// Vectors of `depth` along the new `axis`, `on` at the index and `off`
/// elsewhere; an index outside `0..depth` gives `off` throughout.
///
/// # Errors
/// When the axis or depth is out of range, or the values are not of one type.
pub(crate) fn one_hot_of(
    indices: &[i64],
    dims: &[usize],
    depth: i64,
    axis: i64,
    on: &Tensor,
    off: &Tensor,
) -> Result<Tensor> {
    fn run<T: Element>(
        indices: &[i64],
        out_dims: &[usize],
        inner: usize,
        depth: usize,
        on: &Tensor,
        off: &Tensor,
    ) -> Result<Tensor> {
        let ([on], [off]) = (&to_vec::<T>(on)?[..], &to_vec::<T>(off)?[..]) else {
            return Err(bad("on_value", "and off_value must be one element each"));
        };
        let count = elements("one_hot_vector_size", out_dims)?;
        let mut out = reserve(count)?;
        out.resize(count, *off);
        for (i, &index) in indices.iter().enumerate() {
            if let Ok(index) = usize::try_from(index)
                && index < depth
            {
                out[(i / inner * depth + index) * inner + i % inner] = *on;
            }
        }
        tensor(out, out_dims)
    }
    let depth = size("one_hot_vector_size", depth)?;
    let axis = checked_axis("axis", axis, dims.len() + 1)?;
    if on.dtype() != off.dtype() {
        return Err(bad("off_value", "is not of the type of on_value"));
    }
    let mut out_dims = dims.to_vec();
    out_dims.insert(axis, depth);
    let inner: usize = dims[axis..].iter().product();
    with_element!(on, T => run::<T>(indices, &out_dims, inner, depth, on, off))
}

#[cfg(test)]
mod tests;
