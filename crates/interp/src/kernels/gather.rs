//! `gather` and `scatter`, along an axis and by coordinates.
//!
//! Negative indices count from the end, in every opset: coremltools 9.0
//! evaluates them so although from iOS 17 on they are documented as out of
//! bounds; only `validate_indices` forbids them. What lies outside the tensor
//! is an error. The documentation calls the result undefined without
//! `validate_indices`, and an undefined result verifies nothing. The exception
//! is an index behind the end in the scatters of iOS 17: coremltools' tests
//! expect the last place there, and say that iOS 18 does otherwise.

use candle_core::{DType, Tensor};
use milwright_ir::ops::Opset;

use super::binary::Number;
use super::build::{CHEAP, Element, build, tensor, with_element};
use super::check::{Result, axis as checked_axis, bad, elements, need, size};
use super::layout::{self, integers_of, to_vec};
use crate::call::{Call, Outputs};

/// How `scatter` puts an update into place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Update,
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
}

impl Mode {
    fn parse(name: &str) -> Result<Self> {
        Ok(match name {
            "update" => Self::Update,
            "add" => Self::Add,
            "sub" => Self::Sub,
            "mul" => Self::Mul,
            "div" => Self::Div,
            "max" => Self::Max,
            "min" => Self::Min,
            _ => {
                return Err(bad(
                    "mode",
                    format_args!(
                        "unknown mode {name:?}; expected update, add, sub, mul, div, max or min"
                    ),
                ));
            }
        })
    }

    /// `scatter*` without `mode` adds: so say coremltools' defaults, other
    /// than the text beside them.
    fn of(call: &Call<'_>) -> Result<Self> {
        Self::parse(&need("mode", call.string("mode")?)?)
    }
}

/// Indices of a call, as they are and with what is allowed.
struct Indices {
    values: Vec<i64>,
    dims: Vec<usize>,
    negative: bool,
    /// An index behind the end means the last place.
    clamped: bool,
}

impl Indices {
    fn of(call: &Call<'_>) -> Result<Self> {
        let indices = call.tensor("indices")?.data;
        // `validate_indices` is there from iOS 17 on.
        let validate = call.bool("validate_indices")?.unwrap_or(false);
        Self::new(&indices, !validate)
    }

    fn new(indices: &Tensor, negative: bool) -> Result<Self> {
        Ok(Self {
            values: integers_of("indices", indices)?,
            dims: indices.dims().to_vec(),
            negative,
            clamped: false,
        })
    }

    /// The indices of a scatter.
    fn of_scatter(call: &Call<'_>) -> Result<Self> {
        let mut indices = Self::of(call)?;
        indices.clamped = indices.negative && call.opset == Opset::IOS17;
        Ok(indices)
    }

    /// The indices into a dimension of size `limit`.
    fn resolve(&self, limit: usize) -> Result<Vec<usize>> {
        let one = |&value: &i64| self.resolve_one(value, limit);
        self.values.iter().map(one).collect()
    }

    fn resolve_one(&self, value: i64, limit: usize) -> Result<usize> {
        let index = if value < 0 && self.negative {
            value.saturating_add(limit as i64)
        } else if self.clamped && limit > 0 {
            value.min(limit as i64 - 1)
        } else {
            value
        };
        usize::try_from(index)
            .ok()
            .filter(|&index| index < limit)
            .ok_or_else(|| {
                let low = if self.negative { -(limit as i64) } else { 0 };
                bad(
                    "indices",
                    format_args!("index {value} is outside {low}..{limit}"),
                )
            })
    }

    /// Row numbers from the coordinates along the last dimension of the
    /// indices, into dimensions `dims`.
    fn rows(&self, dims: &[usize]) -> Result<Vec<usize>> {
        let depth = dims.len();
        if depth == 0 {
            // Empty coordinates: every slice is the whole.
            let count = self.dims[..self.dims.len().saturating_sub(1)].iter().product();
            return Ok(vec![0; count]);
        }
        self.values
            .chunks_exact(depth)
            .map(|coordinates| {
                let mut at = 0;
                for (&value, &dim) in coordinates.iter().zip(dims) {
                    at = at * dim + self.resolve_one(value, dim)?;
                }
                Ok(at)
            })
            .collect()
    }
}

pub(crate) fn gather(call: &Call<'_>) -> Outputs {
    let axis = need("axis", call.int("axis")?)?;
    // From iOS 16 on.
    let batch_dims = call.int("batch_dims")?.unwrap_or(0);
    let x = call.tensor("x")?.data;
    call.one(gathered(&x, &Indices::of(call)?, axis, batch_dims)?)
}

pub(crate) fn gather_along_axis(call: &Call<'_>) -> Outputs {
    let axis = need("axis", call.int("axis")?)?;
    let x = call.tensor("x")?.data;
    call.one(gathered_along(&x, &Indices::of(call)?, axis)?)
}

pub(crate) fn gather_nd(call: &Call<'_>) -> Outputs {
    let batch_dims = call.int("batch_dims")?.unwrap_or(0);
    let x = call.tensor("x")?.data;
    call.one(gathered_nd(&x, &Indices::of(call)?, batch_dims)?)
}

pub(crate) fn scatter(call: &Call<'_>) -> Outputs {
    let axis = need("axis", call.int("axis")?)?;
    let (data, updates) = (call.tensor("data")?, call.tensor("updates")?);
    let indices = Indices::of_scatter(call)?;
    let mode = Mode::of(call)?;
    call.one(scattered(&data.data, &indices, &updates.data, axis, mode)?)
}

pub(crate) fn scatter_along_axis(call: &Call<'_>) -> Outputs {
    let axis = need("axis", call.int("axis")?)?;
    let (data, updates) = (call.tensor("data")?, call.tensor("updates")?);
    let indices = Indices::of_scatter(call)?;
    let mode = Mode::of(call)?;
    call.one(scattered_along(&data.data, &indices, &updates.data, axis, mode)?)
}

pub(crate) fn scatter_nd(call: &Call<'_>) -> Outputs {
    let (data, updates) = (call.tensor("data")?, call.tensor("updates")?);
    let indices = Indices::of_scatter(call)?;
    let mode = Mode::of(call)?;
    call.one(scattered_nd(&data.data, &indices, &updates.data, mode)?)
}

fn batches(batch_dims: i64, x: &[usize], indices: &[usize]) -> Result<usize> {
    let count = size("batch_dims", batch_dims)?;
    match (x.get(..count), indices.get(..count)) {
        (Some(a), Some(b)) if a == b => Ok(count),
        _ => Err(bad(
            "batch_dims",
            format_args!("x {x:?} and indices {indices:?} do not share {count} dimensions"),
        )),
    }
}

/// The slices of `x` at `indices` along `axis`; the first `batch_dims`
/// dimensions of both go together.
fn gathered(x: &Tensor, indices: &Indices, axis: i64, batch_dims: i64) -> Result<Tensor> {
    let dims = x.dims();
    let axis = checked_axis("axis", axis, x.rank())?;
    let batch = batches(batch_dims, dims, &indices.dims)?;
    if batch > axis {
        return Err(bad(
            "batch_dims",
            format_args!("{batch} is beyond axis {axis}"),
        ));
    }
    let limit = dims[axis];
    let resolved = indices.resolve(limit)?;
    let out_dims = [&dims[..axis], &indices.dims[batch..], &dims[axis + 1..]].concat();
    let middle: usize = dims[batch..axis].iter().product();
    let per_batch: usize = indices.dims[batch..].iter().product();
    let unit: usize = dims[axis + 1..].iter().product();
    let rows = Rows {
        numbers: &resolved,
        group: per_batch,
        of: &|outer| (outer / middle * per_batch, outer * limit),
        scale: 1,
        step: 0,
    };
    copy_rows(x, &out_dims, unit, &rows)
}

/// Rows of a tensor, in groups of `group`. Row `k` of a group for which `of`
/// gives `(first, base)` is row `base + numbers[first + k] * scale + k * step`.
struct Rows<'a> {
    numbers: &'a [usize],
    group: usize,
    of: &'a (dyn Fn(usize) -> (usize, usize) + Sync),
    scale: usize,
    step: usize,
}

/// A tensor of those rows of `x`, which have `unit` elements.
fn copy_rows(x: &Tensor, dims: &[usize], unit: usize, rows: &Rows<'_>) -> Result<Tensor> {
    fn run<T: Element>(
        x: &Tensor,
        dims: &[usize],
        unit: usize,
        rows: &Rows<'_>,
    ) -> Result<Tensor> {
        let count = elements("indices", dims)?;
        let data = layout::elements::<T>(x)?;
        let data = &*data;
        let group = rows.group;
        let out = build(count, CHEAP, |range, out| {
            let mut at = range.start;
            while at < range.end {
                let row = at / unit;
                let (g, first) = (row / group, row % group);
                let (own, base) = (rows.of)(g);
                let own = &rows.numbers[own..];
                let of = |k: usize| base + own[k] * rows.scale + k * rows.step;
                if unit == 1 {
                    let to = (first + range.end - at).min(group);
                    out.extend((first..to).map(|k| data[of(k)]));
                    at += to - first;
                    continue;
                }
                for k in first..group {
                    if at >= range.end {
                        break;
                    }
                    let from = at % unit;
                    let to = (from + range.end - at).min(unit);
                    let start = of(k) * unit;
                    out.extend_from_slice(&data[start + from..start + to]);
                    at += to - from;
                }
            }
        })?;
        tensor(out, dims)
    }
    with_element!(x, T => run::<T>(x, dims, unit, rows))
}

/// Shapes of operands that go together but for one axis.
fn along(x: &[usize], indices: &[usize], axis: i64) -> Result<usize> {
    let axis = checked_axis("axis", axis, x.len())?;
    let same = x.len() == indices.len()
        && (0..x.len()).all(|i| i == axis || x[i] == indices[i]);
    if same {
        Ok(axis)
    } else {
        Err(bad(
            "indices",
            format_args!("has shape {indices:?}, which may differ from {x:?} at axis {axis} only"),
        ))
    }
}

/// The elements of `x` at `indices` along `axis`.
fn gathered_along(x: &Tensor, indices: &Indices, axis: i64) -> Result<Tensor> {
    let axis = along(x.dims(), &indices.dims, axis)?;
    let limit = x.dims()[axis];
    let resolved = indices.resolve(limit)?;
    let length = indices.dims[axis];
    let inner: usize = x.dims()[axis + 1..].iter().product();
    let rows = if inner > 1 {
        Rows {
            numbers: &resolved,
            group: inner,
            of: &|row| (row * inner, row / length * limit * inner),
            scale: inner,
            step: 1,
        }
    } else {
        Rows {
            numbers: &resolved,
            group: length,
            of: &|row| (row * length, row * limit),
            scale: 1,
            step: 0,
        }
    };
    copy_rows(x, &indices.dims, 1, &rows)
}

/// The slices of `x` at the coordinates along the last dimension of `indices`.
fn gathered_nd(x: &Tensor, indices: &Indices, batch_dims: i64) -> Result<Tensor> {
    let dims = x.dims();
    let batch = batches(batch_dims, dims, &indices.dims)?;
    let Some((&depth, places)) = indices.dims.split_last() else {
        return Err(bad("indices", "has rank 0; coordinates lie along its last dimension"));
    };
    if batch > places.len() || batch + depth > dims.len() {
        return Err(bad(
            "indices",
            format_args!(
                "{depth} coordinates and {batch} batch dimensions, but x has rank {}",
                dims.len()
            ),
        ));
    }
    let (indexed, rest) = dims[batch..].split_at(depth);
    let unit: usize = rest.iter().product();
    let rows = indices.rows(indexed)?;
    let slab: usize = indexed.iter().product();
    let per_batch: usize = places[batch..].iter().product();
    let out_dims = [places, rest].concat();
    let rows = Rows {
        numbers: &rows,
        group: per_batch,
        of: &|batch| (batch * per_batch, batch * slab),
        scale: 1,
        step: 0,
    };
    copy_rows(x, &out_dims, unit, &rows)
}

fn same_type(data: &Tensor, updates: &Tensor, expected: &[usize]) -> Result<()> {
    if updates.dims() == expected && updates.dtype() == data.dtype() {
        return Ok(());
    }
    Err(bad(
        "updates",
        format_args!(
            "has shape {:?} held as {:?}, expected {expected:?} held as {:?}",
            updates.dims(),
            updates.dtype(),
            data.dtype()
        ),
    ))
}

/// `data` with row `r` of `unit` elements of `updates` put into its row
/// `targets[r]`, in order.
fn put_units(
    data: &Tensor,
    updates: &Tensor,
    unit: usize,
    mode: Mode,
    targets: &[usize],
) -> Result<Tensor> {
    fn run<T: Number>(
        data: &Tensor,
        updates: &Tensor,
        unit: usize,
        mode: Mode,
        targets: &[usize],
    ) -> Result<Tensor> {
        let combine: fn(T, T) -> T = match mode {
            Mode::Update => |_, new| new,
            Mode::Add => T::plus,
            Mode::Sub => T::minus,
            Mode::Mul => T::multiplied,
            Mode::Div => T::divided,
            Mode::Max => T::larger,
            Mode::Min => T::smaller,
        };
        let mut out = to_vec::<T>(data)?;
        let updates = to_vec::<T>(updates)?;
        for (update, &row) in updates.chunks_exact(unit.max(1)).zip(targets) {
            let start = row * unit;
            for (old, &new) in out[start..start + unit].iter_mut().zip(update) {
                *old = combine(*old, new);
            }
        }
        tensor(out, data.dims())
    }
    match data.dtype() {
        DType::F32 => run::<f32>(data, updates, unit, mode, targets),
        DType::F64 => run::<f64>(data, updates, unit, mode, targets),
        DType::I32 => run::<i32>(data, updates, unit, mode, targets),
        other => Err(bad(
            "data",
            format_args!("is held as {other:?}, expected floats or int32"),
        )),
    }
}

/// `data` with the slices of `updates` put in at `indices` along `axis`.
fn scattered(
    data: &Tensor,
    indices: &Indices,
    updates: &Tensor,
    axis: i64,
    mode: Mode,
) -> Result<Tensor> {
    let dims = data.dims();
    let axis = checked_axis("axis", axis, data.rank())?;
    let expected = [&dims[..axis], &indices.dims[..], &dims[axis + 1..]].concat();
    same_type(data, updates, &expected)?;
    let limit = dims[axis];
    let resolved = indices.resolve(limit)?;
    let unit: usize = dims[axis + 1..].iter().product();
    let before: usize = dims[..axis].iter().product();
    let targets: Vec<usize> = (0..before)
        .flat_map(|b| resolved.iter().map(move |&index| b * limit + index))
        .collect();
    put_units(data, updates, unit, mode, &targets)
}

/// `data` with the elements of `updates` put in at `indices` along `axis`.
fn scattered_along(
    data: &Tensor,
    indices: &Indices,
    updates: &Tensor,
    axis: i64,
    mode: Mode,
) -> Result<Tensor> {
    let axis = along(data.dims(), &indices.dims, axis)?;
    same_type(data, updates, &indices.dims)?;
    let limit = data.dims()[axis];
    let resolved = indices.resolve(limit)?;
    let length = indices.dims[axis];
    let inner: usize = data.dims()[axis + 1..].iter().product();
    let targets: Vec<usize> = resolved
        .iter()
        .enumerate()
        .map(|(at, index)| {
            let (row, i) = (at / inner, at % inner);
            (row / length * limit + index) * inner + i
        })
        .collect();
    put_units(data, updates, 1, mode, &targets)
}

/// `data` with the slices of `updates` put in at the coordinates along the last
/// dimension of `indices`.
fn scattered_nd(data: &Tensor, indices: &Indices, updates: &Tensor, mode: Mode) -> Result<Tensor> {
    let dims = data.dims();
    let Some((&depth, places)) = indices.dims.split_last() else {
        return Err(bad("indices", "has rank 0; coordinates lie along its last dimension"));
    };
    if depth > dims.len() {
        return Err(bad(
            "indices",
            format_args!("{depth} coordinates, but data has rank {}", dims.len()),
        ));
    }
    let (indexed, rest) = dims.split_at(depth);
    same_type(data, updates, &[places, rest].concat())?;
    let unit: usize = rest.iter().product();
    let rows = indices.rows(indexed)?;
    put_units(data, updates, unit, mode, &rows)
}

#[cfg(test)]
mod tests;
