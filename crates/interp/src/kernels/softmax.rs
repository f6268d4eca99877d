//! `softmax`.

use candle_core::Tensor;

use super::build::tensor;
use super::check::{Result, axis};
use super::float::{Float, with_float};
use super::layout;
use super::rows::{build_rows, greatest, sum_of};
use crate::call::{Call, Outputs};

/// `softmax`: `exp(x - max) / sum(exp(x - max))` along `axis`. A row that has
/// NaN or positive infinity, or nothing but negative infinity, is NaN.
pub(crate) fn softmax(call: &Call<'_>) -> Outputs {
    let x = call.tensor("x")?.data;
    let rank = x.rank();
    let axis = axis("axis", call.int("axis")?.unwrap_or(-1), rank)?;
    let last = rank - 1;
    // Along another axis than the last: that axis becomes the last, and the
    // result is the view of it that has the right order.
    let y = with_float!("x", x, T => along_last::<T>(&x.transpose(axis, last)?))?;
    call.one(y.transpose(axis, last)?)
}

/// [`softmax`] along the last dimension.
pub(crate) fn over_last(x: &Tensor) -> Result<Tensor> {
    with_float!("x", x, T => along_last::<T>(x))
}

fn along_last<T: Float>(x: &Tensor) -> Result<Tensor> {
    let width = x.dims().last().copied().unwrap_or(1);
    let rows = x.elem_count().checked_div(width).unwrap_or(0);
    let source = layout::elements::<T>(x)?;
    let made = build_rows(
        rows,
        width,
        || vec![T::default(); width],
        |row: &mut Vec<T>, index| {
            let source = &source[index * width..][..width];
            T::wide(
                #[inline(always)]
                || softmax_row(source, row),
            );
        },
        |row, _, column, out| out.copy_from_slice(&row[column..column + out.len()]),
    )?;
    tensor(made, x.dims())
}

#[inline(always)]
fn softmax_row<T: Float>(x: &[T], y: &mut [T]) {
    let max = greatest(x);
    for (y, &x) in y.iter_mut().zip(x) {
        *y = (x - max).exp();
    }
    let scale = T::from_f64(1.0 / sum_of(y, |v| v));
    for y in y {
        *y *= scale;
    }
}
