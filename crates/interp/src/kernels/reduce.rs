//! Reductions over axes, arg reductions and cumulative sums.
//!
//! Rows of floats are summed in the order of torch 2.7's CPU kernel
//! (`aten/src/ATen/native/cpu/SumKernel.cpp`), columns in runs that are emptied
//! into f64. Either order is fixed: a sum is the same on every machine, whatever
//! its number of threads. Where a model divides by what rounding leaves of a
//! difference, torch's order alone gives torch's result. Integers are
//! reduced in i64 and wrap around when narrowed, like numpy's; an integer
//! `reduce_mean`, `reduce_l2_norm` or `reduce_log_*` is computed in f64 and
//! truncated (coremltools 9.0, `iOS15/reduction.py`).

use candle_core::{DType, Tensor};

use super::build::{COSTLY, Element, tensor};
use super::check::{Result, axes as checked_axes, axis as checked_axis, bad, elements, need};
use super::layout::{self, contiguous};
use super::parallel;
use crate::call::{Call, Outputs};
use crate::error::KernelError;

macro_rules! functions {
    ($($name:ident = $op:ident;)*) => {
        $(pub(crate) fn $name(call: &Call<'_>) -> Outputs {
            let axes = call.ints("axes")?;
            let keep_dims = need("keep_dims", call.bool("keep_dims")?)?;
            let x = call.tensor("x")?.data;
            call.one(reduce(Reduction::$op, &x, axes.as_deref(), keep_dims)?)
        })*
    };
}

functions! {
    reduce_sum = Sum;
    reduce_mean = Mean;
    reduce_max = Max;
    reduce_min = Min;
    reduce_prod = Prod;
    reduce_l1_norm = L1Norm;
    reduce_l2_norm = L2Norm;
    reduce_log_sum = LogSum;
    reduce_log_sum_exp = LogSumExp;
    reduce_sum_square = SumSquare;
}

pub(crate) fn reduce_argmax(call: &Call<'_>) -> Outputs {
    index_of_extreme(call, true)
}

pub(crate) fn reduce_argmin(call: &Call<'_>) -> Outputs {
    index_of_extreme(call, false)
}

fn index_of_extreme(call: &Call<'_>, largest: bool) -> Outputs {
    let axis = need("axis", call.int("axis")?)?;
    let keep_dims = need("keep_dims", call.bool("keep_dims")?)?;
    call.one(arg_reduce(largest, &call.tensor("x")?.data, axis, keep_dims)?)
}

pub(crate) fn cumsum(call: &Call<'_>) -> Outputs {
    let axis = need("axis", call.int("axis")?)?;
    let exclusive = need("exclusive", call.bool("exclusive")?)?;
    let reverse = need("reverse", call.bool("reverse")?)?;
    call.one(cumulated(&call.tensor("x")?.data, axis, exclusive, reverse)?)
}

/// What a reduction computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reduction {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
    L1Norm,
    L2Norm,
    LogSum,
    LogSumExp,
    SumSquare,
}

/// Independent sums kept while walking a row: four vectors.
const LANES: usize = 4 * VECTOR;

/// Lanes of a vector of torch's sums, on every CPU.
const VECTOR: usize = 8;

/// Sums of sums, each over more elements than the one before.
const LEVELS: usize = 4;

/// Rows added in the element type before they go to the wide sums.
const ROWS: usize = 32;

/// Columns that are reduced together.
const TILE: usize = 512;

/// A number type with what reductions need of it.
trait Reduce: Element {
    /// What sums and products are kept in.
    type Wide: Copy + Send + Sync;
    const EMPTY: Self::Wide;
    const UNIT: Self::Wide;
    fn widened(self) -> Self::Wide;
    fn plus(a: Self::Wide, b: Self::Wide) -> Self::Wide;
    fn times(a: Self::Wide, b: Self::Wide) -> Self::Wide;
    fn narrow(wide: Self::Wide) -> Self;
    fn as_f64(wide: Self::Wide) -> f64;
    fn from_float(value: f64) -> Self;
    fn with(self, other: Self) -> Self;
    fn magnitude(self) -> Self;
    fn square(self) -> Self;
    fn is_nan(self) -> bool;
    /// Whether many elements can be added in the type itself first.
    const LANED: bool;
}

macro_rules! reduce_float {
    ($($t:ty),*) => { $(impl Reduce for $t {
        type Wide = f64;
        const EMPTY: f64 = 0.0;
        const UNIT: f64 = 1.0;
        const LANED: bool = true;
        #[inline(always)]
        fn widened(self) -> f64 { f64::from(self) }
        #[inline(always)]
        fn plus(a: f64, b: f64) -> f64 { a + b }
        #[inline(always)]
        fn times(a: f64, b: f64) -> f64 { a * b }
        #[inline(always)]
        fn narrow(wide: f64) -> Self { wide as $t }
        #[inline(always)]
        fn as_f64(wide: f64) -> f64 { wide }
        #[inline(always)]
        fn from_float(value: f64) -> Self { value as $t }
        #[inline(always)]
        fn with(self, other: Self) -> Self { self + other }
        #[inline(always)]
        fn magnitude(self) -> Self { self.abs() }
        #[inline(always)]
        fn square(self) -> Self { self * self }
        #[inline(always)]
        fn is_nan(self) -> bool { <$t>::is_nan(self) }
    })* };
}
reduce_float!(f32, f64);

macro_rules! reduce_integer {
    ($($t:ty),*) => { $(impl Reduce for $t {
        type Wide = i64;
        const EMPTY: i64 = 0;
        const UNIT: i64 = 1;
        const LANED: bool = false;
        #[inline(always)]
        fn widened(self) -> i64 { i64::from(self) }
        #[inline(always)]
        fn plus(a: i64, b: i64) -> i64 { a.wrapping_add(b) }
        #[inline(always)]
        fn times(a: i64, b: i64) -> i64 { a.wrapping_mul(b) }
        #[inline(always)]
        fn narrow(wide: i64) -> Self { wide as $t }
        #[inline(always)]
        fn as_f64(wide: i64) -> f64 { wide as f64 }
        #[inline(always)]
        fn from_float(value: f64) -> Self { value as $t }
        #[inline(always)]
        fn with(self, other: Self) -> Self { self.wrapping_add(other) }
        #[inline(always)]
        fn magnitude(self) -> Self { self.wrapping_abs() }
        #[inline(always)]
        fn square(self) -> Self { self.wrapping_mul(self) }
        #[inline(always)]
        fn is_nan(self) -> bool { false }
    })* };
}
reduce_integer!(i32);

/// Reduces the columns from some number on of a slab into a slice.
type Columns<'a, T> = &'a (dyn Fn(&[T], usize, &mut [T]) + Sync);

/// A tensor seen as `[outer, length, inner]`, reduced along `length`.
struct Plan {
    x: Tensor,
    outer: usize,
    length: usize,
    inner: usize,
    dims: Vec<usize>,
}

impl Plan {
    /// `trailing`: the reduced axes must come last, so that `inner` is 1.
    fn new(x: &Tensor, axes: &[usize], keep_dims: bool, trailing: bool) -> Result<Self> {
        let dims = x.dims();
        elements("x", dims)?;
        let reduced = |i: &usize| axes.contains(i);
        let real: Vec<usize> = (0..dims.len()).filter(|&i| dims[i] != 1).collect();
        let first = real.iter().position(reduced).unwrap_or(real.len());
        let last = real.iter().rposition(reduced).map_or(first, |i| i + 1);
        let together = real[first..last].iter().all(reduced);
        let product = |of: &[usize]| of.iter().map(|&i| dims[i]).product::<usize>();
        let out_dims = (0..dims.len())
            .filter_map(|i| match axes.contains(&i) {
                true => keep_dims.then_some(1),
                false => Some(dims[i]),
            })
            .collect();
        let inner = product(&real[last..]);
        if together && (inner == 1 || !trailing) {
            return Ok(Self {
                x: contiguous(x)?,
                outer: product(&real[..first]),
                length: product(&real[first..last]),
                inner,
                dims: out_dims,
            });
        }
        let kept: Vec<usize> = (0..dims.len()).filter(|i| !reduced(i)).collect();
        let order: Vec<usize> = kept.iter().chain(axes).copied().collect();
        Ok(Self {
            x: contiguous(&x.permute(order)?)?,
            outer: product(&kept),
            length: product(axes),
            inner: 1,
            dims: out_dims,
        })
    }

    /// One value per row of `length` elements; `inner` is 1.
    fn rows<T: Element, O: Element>(&self, f: &(dyn Fn(&[T]) -> O + Sync)) -> Result<Tensor> {
        let data = layout::elements::<T>(&self.x)?;
        let mut out = layout::zeros::<O>(&[self.outer])?;
        let least = COSTLY.div_ceil(self.length.max(1));
        parallel::chunks(&mut out, least, 1, &|index, out| {
            for (i, y) in out.iter_mut().enumerate() {
                *y = f(&data[(index * least + i) * self.length..][..self.length]);
            }
        });
        tensor(out, &self.dims)
    }

    /// One value per column; `f` reduces the columns from some number on of a
    /// slab of `length` rows into the slice it is given.
    fn columns<T: Element>(&self, f: impl Fn(&[T], usize, &mut [T]) + Sync) -> Result<Tensor> {
        self.each_tile::<T>(&|slab, from, out| {
            T::wide(
                #[inline(always)]
                || f(slab, from, out),
            );
        })
    }

    /// [`Plan::columns`], compiled once and not once for a function.
    fn each_tile<T: Element>(&self, f: Columns<'_, T>) -> Result<Tensor> {
        let data = layout::elements::<T>(&self.x)?;
        let slab = self.length * self.inner;
        let mut out = layout::zeros::<T>(&[self.outer, self.inner])?;
        let mut tiles: Vec<(usize, usize, &mut [T])> = Vec::new();
        for (o, row) in out.chunks_mut(self.inner).enumerate() {
            for (tile, out) in row.chunks_mut(TILE).enumerate() {
                tiles.push((o, tile * TILE, out));
            }
        }
        let least = COSTLY.div_ceil(self.length.max(1).saturating_mul(TILE));
        parallel::chunks(&mut tiles, 1, least, &|_, tiles| {
            for (o, from, out) in tiles {
                f(&data[*o * slab..][..slab], *from, out);
            }
        });
        tensor(out, &self.dims)
    }
}

/// MIL reduces floats and int32 only.
fn unreducible(dtype: DType) -> KernelError {
    bad("x", format_args!("is held as {dtype:?}, expected floats or int32"))
}

/// The sum of `g` over a row, in the order of torch's CPU kernel.
///
/// Lane `i` of [`LANES`] adds every `LANES`th element; sums of a few blocks go
/// over into coarser and coarser sums, [`LEVELS`] in all. What is left of the
/// row is added last, the lanes first to [`VECTOR`] and then one by one.
#[inline(always)]
fn row_sum<T: Reduce>(row: &[T], g: impl Fn(T) -> T) -> T::Wide {
    if !T::LANED {
        return row
            .iter()
            .fold(T::EMPTY, |total, &x| T::plus(total, g(x).widened()));
    }
    let (blocks, tail) = row.as_chunks::<LANES>();
    let power = (blocks.len().next_power_of_two().ilog2() / LEVELS as u32).max(4);
    let mut levels = [[T::ZERO; LANES]; LEVELS];
    for (index, run) in blocks.chunks(1 << power).enumerate() {
        for block in run {
            for (lane, &x) in levels[0].iter_mut().zip(block) {
                *lane = lane.with(g(x));
            }
        }
        let mut carried = index + 1;
        if run.len() == 1 << power {
            for level in 1..LEVELS {
                let below = std::mem::replace(&mut levels[level - 1], [T::ZERO; LANES]);
                for (lane, x) in levels[level].iter_mut().zip(below) {
                    *lane = lane.with(x);
                }
                if carried % (1 << power) != 0 {
                    break;
                }
                carried >>= power;
            }
        }
    }
    let [mut lanes, coarser @ ..] = levels;
    for level in coarser {
        for (lane, x) in lanes.iter_mut().zip(level) {
            *lane = lane.with(x);
        }
    }
    let (vectors, rest) = tail.as_chunks::<VECTOR>();
    for vector in vectors {
        for (lane, &x) in lanes.iter_mut().zip(vector) {
            *lane = lane.with(g(x));
        }
    }
    let (sums, others) = lanes.split_at_mut(VECTOR);
    for other in others.chunks(VECTOR) {
        for (sum, &x) in sums.iter_mut().zip(other) {
            *sum = sum.with(x);
        }
    }
    let total = rest.iter().fold(T::ZERO, |total, &x| total.with(g(x)));
    sums.iter().fold(total, |total, &x| total.with(x)).widened()
}

/// The sum over a row by `sum`, which several threads share if it is long.
fn long_row_sum<T: Reduce>(row: &[T], sum: &(dyn Fn(&[T]) -> T::Wide + Sync)) -> T::Wide {
    if row.len() < 2 * COSTLY {
        return sum(row);
    }
    let mut parts = vec![T::EMPTY; row.len().div_ceil(COSTLY)];
    parallel::chunks(&mut parts, 1, 1, &|index, part| {
        let end = row.len().min((index + 1) * COSTLY);
        part.fill(sum(&row[index * COSTLY..end]));
    });
    parts.into_iter().fold(T::EMPTY, T::plus)
}

/// The extreme of a row; NaN if there is one.
#[inline(always)]
fn row_extreme<T: Reduce>(row: &[T], better: impl Fn(T, T) -> bool) -> T {
    let keep = |best: T, x: T| {
        if better(x, best) || x.is_nan() { x } else { best }
    };
    let Some(&first) = row.first() else {
        return T::ZERO;
    };
    let mut lanes = [first; LANES];
    let whole = row.chunks_exact(LANES);
    let rest = whole.remainder();
    for group in whole {
        for (lane, &x) in lanes.iter_mut().zip(group) {
            *lane = keep(*lane, x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = keep(*lane, x);
    }
    lanes.into_iter().fold(first, keep)
}

fn wide_extreme<T: Reduce>(row: &[T], better: impl Fn(T, T) -> bool) -> T {
    T::wide(
        #[inline(always)]
        || row_extreme(row, better),
    )
}

fn sums<T: Reduce>(
    plan: &Plan,
    g: impl Fn(T) -> T + Sync + Copy,
    finish: &(dyn Fn(T::Wide) -> T + Sync),
) -> Result<Tensor> {
    if plan.inner == 1 {
        let sum = |row: &[T]| {
            T::wide(
                #[inline(always)]
                || row_sum(row, g),
            )
        };
        return plan.rows::<T, T>(&|row| finish(long_row_sum(row, &sum)));
    }
    plan.columns::<T>(
        #[inline(always)]
        |slab, from, out| {
            let mut totals = [T::EMPTY; TILE];
            let mut partial = [T::ZERO; TILE];
            for (index, row) in slab.chunks_exact(plan.inner).enumerate() {
                let row = &row[from..from + out.len()];
                if T::LANED {
                    for (sum, &x) in partial.iter_mut().zip(row) {
                        *sum = sum.with(g(x));
                    }
                    if index % ROWS == ROWS - 1 {
                        for (total, sum) in totals.iter_mut().zip(&mut partial) {
                            *total = T::plus(*total, sum.widened());
                            *sum = T::ZERO;
                        }
                    }
                } else {
                    for (total, &x) in totals.iter_mut().zip(row) {
                        *total = T::plus(*total, g(x).widened());
                    }
                }
            }
            for (total, sum) in totals.iter_mut().zip(&partial) {
                *total = T::plus(*total, sum.widened());
            }
            for (y, &total) in out.iter_mut().zip(&totals) {
                *y = finish(total);
            }
        },
    )
}

fn plain_sums<T: Reduce>(plan: &Plan, finish: &(dyn Fn(T::Wide) -> T + Sync)) -> Result<Tensor> {
    sums::<T>(plan, |x| x, finish)
}

fn sums_of_squares<T: Reduce>(
    plan: &Plan,
    finish: &(dyn Fn(T::Wide) -> T + Sync),
) -> Result<Tensor> {
    sums::<T>(plan, T::square, finish)
}

fn extremes<T: Reduce>(plan: &Plan, better: impl Fn(T, T) -> bool + Sync + Copy) -> Result<Tensor> {
    if plan.inner == 1 {
        return plan.rows::<T, T>(&|row| wide_extreme(row, better));
    }
    plan.columns::<T>(
        #[inline(always)]
        |slab, from, out| {
            let mut rows = slab.chunks_exact(plan.inner);
            if let Some(first) = rows.next() {
                out.copy_from_slice(&first[from..from + out.len()]);
            }
            for row in rows {
                for (best, &x) in out.iter_mut().zip(&row[from..]) {
                    *best = if better(x, *best) || x.is_nan() { x } else { *best };
                }
            }
        },
    )
}

/// Reduces `x` over `axes` (all of them if `None`, none if empty).
///
/// # Errors
/// When an axis is out of range or named twice, and for the maximum or minimum
/// of nothing.
pub(crate) fn reduce(
    op: Reduction,
    x: &Tensor,
    axes: Option<&[i64]>,
    keep_dims: bool,
) -> Result<Tensor> {
    let axes = match axes {
        Some(axes) => checked_axes("axes", axes, x.rank())?,
        None => (0..x.rank()).collect(),
    };
    match x.dtype() {
        DType::F32 => reduce_of::<f32>(op, x, &axes, keep_dims),
        DType::F64 => reduce_of::<f64>(op, x, &axes, keep_dims),
        DType::I32 => reduce_of::<i32>(op, x, &axes, keep_dims),
        other => Err(unreducible(other)),
    }
}

fn reduce_of<T: Reduce>(
    op: Reduction,
    x: &Tensor,
    axes: &[usize],
    keep_dims: bool,
) -> Result<Tensor> {
    let trailing = matches!(op, Reduction::Prod | Reduction::LogSumExp);
    let plan = Plan::new(x, axes, keep_dims, trailing)?;
    if plan.length == 0
        && plan.outer * plan.inner > 0
        && matches!(op, Reduction::Max | Reduction::Min)
    {
        return Err(bad("x", "the extreme of no elements is not defined"));
    }
    if plan.outer * plan.inner == 0 {
        return tensor(Vec::<T>::new(), &plan.dims);
    }
    let count = plan.length as f64;
    match op {
        Reduction::Sum => plain_sums::<T>(&plan, &T::narrow),
        Reduction::Mean => {
            plain_sums::<T>(&plan, &|sum| T::from_float(T::as_f64(sum) / count))
        }
        Reduction::LogSum => plain_sums::<T>(&plan, &|sum| T::from_float(T::as_f64(sum).ln())),
        Reduction::L1Norm => sums::<T>(&plan, T::magnitude, &T::narrow),
        Reduction::SumSquare => sums_of_squares::<T>(&plan, &T::narrow),
        Reduction::L2Norm => {
            sums_of_squares::<T>(&plan, &|sum| T::from_float(T::as_f64(sum).sqrt()))
        }
        Reduction::Max => extremes::<T>(&plan, |a, b| a > b),
        Reduction::Min => extremes::<T>(&plan, |a, b| a < b),
        Reduction::Prod => plan.rows::<T, T>(&|row| {
            T::narrow(row.iter().fold(T::UNIT, |all, &x| T::times(all, x.widened())))
        }),
        Reduction::LogSumExp => plan.rows::<T, T>(&|row| {
            if row.is_empty() {
                return T::from_float(f64::NEG_INFINITY);
            }
            let top = wide_extreme(row, |a, b| a > b).to_f64();
            // An infinite shift would make NaN of infinities.
            let shift = if top.is_finite() { top } else { 0.0 };
            let sum: f64 = row.iter().map(|x| (x.to_f64() - shift).exp()).sum();
            T::from_float(sum.ln() + shift)
        }),
    }
}

/// The index of the largest (`largest`) or smallest element along `axis`, as
/// int32; the first one among equals, and the first NaN before all.
///
/// # Errors
/// When the axis is out of range or has no elements.
pub(crate) fn arg_reduce(
    largest: bool,
    x: &Tensor,
    axis: i64,
    keep_dims: bool,
) -> Result<Tensor> {
    let axis = checked_axis("axis", axis, x.rank())?;
    let plan = Plan::new(x, &[axis], keep_dims, true)?;
    if plan.length == 0 && plan.outer > 0 {
        return Err(bad("x", "the index of an extreme of no elements is not defined"));
    }
    if plan.outer == 0 {
        return tensor(Vec::<i32>::new(), &plan.dims);
    }
    fn run<T: Reduce>(plan: &Plan, better: impl Fn(T, T) -> bool + Sync) -> Result<Tensor> {
        plan.rows::<T, i32>(&|row| {
            let best = wide_extreme(row, &better);
            let found = if best.is_nan() {
                row.iter().position(|x| x.is_nan())
            } else {
                row.iter().position(|&x| x == best)
            };
            found.unwrap_or(0) as i32
        })
    }
    fn either<T: Reduce>(plan: &Plan, largest: bool) -> Result<Tensor> {
        if largest {
            run::<T>(plan, |a, b| a > b)
        } else {
            run::<T>(plan, |a, b| a < b)
        }
    }
    match x.dtype() {
        DType::F32 => either::<f32>(&plan, largest),
        DType::F64 => either::<f64>(&plan, largest),
        DType::I32 => either::<i32>(&plan, largest),
        other => Err(unreducible(other)),
    }
}

/// Sums of the elements up to each one along `axis`; `exclusive` leaves the
/// element itself out, `reverse` sums from the end.
///
/// # Errors
/// When the axis is out of range.
pub(crate) fn cumulated(x: &Tensor, axis: i64, exclusive: bool, reverse: bool) -> Result<Tensor> {
    let axis = checked_axis("axis", axis, x.rank())?;
    fn run<T: Reduce>(x: &Tensor, axis: usize, exclusive: bool, reverse: bool) -> Result<Tensor> {
        let length = x.dims()[axis];
        let inner: usize = x.dims()[axis + 1..].iter().product();
        let mut out = layout::to_vec::<T>(x)?;
        if out.is_empty() {
            return tensor(out, x.dims());
        }
        let slab = |_, slab: &mut [T]| {
            let mut sums = vec![T::EMPTY; inner];
            for step in 0..length {
                let at = if reverse { length - 1 - step } else { step } * inner;
                for (sum, x) in sums.iter_mut().zip(&mut slab[at..at + inner]) {
                    let next = T::plus(*sum, x.widened());
                    *x = T::narrow(if exclusive { *sum } else { next });
                    *sum = next;
                }
            }
        };
        let size = length * inner;
        parallel::chunks(&mut out, size, COSTLY.div_ceil(size), &slab);
        tensor(out, x.dims())
    }
    match x.dtype() {
        DType::F32 => run::<f32>(x, axis, exclusive, reverse),
        DType::F64 => run::<f64>(x, axis, exclusive, reverse),
        DType::I32 => run::<i32>(x, axis, exclusive, reverse),
        other => Err(unreducible(other)),
    }
}

#[cfg(test)]
mod tests;
