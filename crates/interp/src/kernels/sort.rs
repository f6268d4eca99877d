//! `topk` and `argsort`.
//!
//! Equal elements keep their order and NaN comes last, whether ascending or
//! descending (coremltools 9.0 evaluates both with numpy's `argsort`, whose
//! order of equal elements is arbitrary).

use std::cmp::Ordering;

use candle_core::Tensor;

use super::build::{COSTLY, Element, reserve, tensor, with_element};
use super::check::{Result, axis as checked_axis, bad, need, size};
use super::{layout, parallel};
use crate::call::{Call, Outputs};

pub(crate) fn topk(call: &Call<'_>) -> Outputs {
    let k = need("k", call.int("k")?)?;
    let axis = need("axis", call.int("axis")?)?;
    let ascending = need("ascending", call.bool("ascending")?)?;
    // Sorted whether `sort` asks for it or not: any order is allowed then.
    let (values, indices) = top_of(&call.tensor("x")?.data, k, axis, ascending)?;
    let mut out = vec![call.output(0, values)?];
    // `return_indices` is there from iOS 16 on; before, both are returned.
    if call.bool("return_indices")?.unwrap_or(true) {
        out.push(call.output(1, indices)?);
    }
    Ok(out)
}

pub(crate) fn argsort(call: &Call<'_>) -> Outputs {
    let axis = need("axis", call.int("axis")?)?;
    let ascending = need("ascending", call.bool("ascending")?)?;
    call.one(sorted_indices(&call.tensor("x")?.data, axis, ascending)?)
}

/// The first `k` elements in order along `axis`, and their indices as int32;
/// `k` of -1 means all.
///
/// # Errors
/// When the axis is out of range or has fewer than `k` elements.
pub(crate) fn top_of(x: &Tensor, k: i64, axis: i64, ascending: bool) -> Result<(Tensor, Tensor)> {
    let axis = checked_axis("axis", axis, x.rank())?;
    let length = x.dims()[axis];
    let k = if k == -1 { length } else { size("k", k)? };
    if k > length {
        return Err(bad(
            "k",
            format_args!("{k} is more than the {length} elements along axis {axis}"),
        ));
    }
    // The axis goes last, so that what is sorted lies together.
    let last = x.rank() - 1;
    let mut order: Vec<usize> = (0..=last).filter(|&i| i != axis).collect();
    order.push(axis);
    let mut back: Vec<usize> = (0..last).collect();
    back.insert(axis, last);
    let rows = x.permute(order)?;
    let (values, indices) = with_element!(rows, T => first_of_rows::<T>(&rows, length, k, ascending))?;
    Ok((values.permute(back.clone())?, indices.permute(back)?))
}

/// The indices that sort `x` along `axis`, as int32.
///
/// # Errors
/// When the axis is out of range.
pub(crate) fn sorted_indices(x: &Tensor, axis: i64, ascending: bool) -> Result<Tensor> {
    Ok(top_of(x, -1, axis, ascending)?.1)
}

fn first_of_rows<T: Element>(
    x: &Tensor,
    length: usize,
    k: usize,
    ascending: bool,
) -> Result<(Tensor, Tensor)> {
    let data = layout::elements::<T>(x)?;
    let mut dims = x.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = k;
    }
    let mut indices = layout::zeros::<i32>(&dims)?;
    parallel::chunks(&mut indices, k, COSTLY.div_ceil(length.max(1)), &|index, out| {
        let row = &data[index * length..(index + 1) * length];
        out.copy_from_slice(&first_of_row(row, k, ascending));
    });
    let mut values = reserve(indices.len())?;
    if k > 0 {
        for (row, picked) in data.chunks(length).zip(indices.chunks(k)) {
            values.extend(picked.iter().map(|&i| row[i as usize]));
        }
    }
    Ok((tensor(values, &dims)?, tensor(indices, &dims)?))
}

/// The indices of the first `k` elements in order; `k` is 1 or more.
#[allow(clippy::eq_op, reason = "only NaN differs from itself")]
fn first_of_row<T: Element>(row: &[T], k: usize, ascending: bool) -> Vec<i32> {
    first_by(row.len() as i32, k, &|i, j| {
        let (a, b) = (row[i as usize], row[j as usize]);
        match a.partial_cmp(&b) {
            Some(ordering) if ascending => ordering,
            Some(ordering) => ordering.reverse(),
            None => (a != a).cmp(&(b != b)),
        }
    })
}

/// The first `k` numbers below `count` in an order, which equal numbers keep.
/// Compiled once and not once for an element type.
fn first_by(count: i32, k: usize, order: &dyn Fn(i32, i32) -> Ordering) -> Vec<i32> {
    // The number makes the order total.
    let total = |&i: &i32, &j: &i32| order(i, j).then(i.cmp(&j));
    let mut indices: Vec<i32> = (0..count).collect();
    if k < indices.len() {
        indices.select_nth_unstable_by(k - 1, total);
        indices.truncate(k);
    }
    indices.sort_unstable_by(total);
    indices
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use proptest::prelude::*;

    fn vector(values: &[f32]) -> Tensor {
        Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap()
    }

    #[test]
    fn ties_keep_their_order_and_nan_is_last() {
        let x = vector(&[2.0, f32::NAN, 3.0, 2.0, -1.0, 3.0]);
        let descending = sorted_indices(&x, -1, false).unwrap().to_vec1::<i32>().unwrap();
        assert_eq!(descending, [2, 5, 0, 3, 4, 1]);
        let ascending = sorted_indices(&x, 0, true).unwrap().to_vec1::<i32>().unwrap();
        assert_eq!(ascending, [4, 0, 3, 2, 5, 1]);
        let (values, indices) = top_of(&x, 2, 0, false).unwrap();
        assert_eq!(values.to_vec1::<f32>().unwrap(), [3.0, 3.0]);
        assert_eq!(indices.to_vec1::<i32>().unwrap(), [2, 5]);
        assert!(top_of(&x, 7, 0, false).is_err());
        assert!(top_of(&x, -2, 0, false).is_err());
        assert!(top_of(&x, 1, 1, false).is_err());
        assert_eq!(top_of(&x, 0, 0, false).unwrap().0.dims(), [0]);
    }

    proptest! {
        #[test]
        fn sorts_along_any_axis(
            dims in proptest::collection::vec(1usize..5, 1..5),
            pick in 0usize..4,
            ascending in any::<bool>(),
            seed in 1u32..10_000,
        ) {
            let n: usize = dims.iter().product();
            let data: Vec<i32> = (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) ^ seed) as i32 % 7).collect();
            let x = Tensor::from_vec(data, &dims[..], &Device::Cpu).unwrap();
            let axis = pick % dims.len();
            let length = dims[axis];
            let (values, indices) = top_of(&x, -1, axis as i64, ascending).unwrap();
            let lines = |t: &Tensor| t.transpose(axis, dims.len() - 1).unwrap().contiguous().unwrap()
                .reshape(((), length)).unwrap().to_vec2::<i32>().unwrap();
            for ((line, values), indices) in lines(&x).iter().zip(lines(&values)).zip(lines(&indices)) {
                let mut expected: Vec<(i32, i32)> = line.iter().copied().zip(0..).collect();
                expected.sort_by_key(|&(v, i)| (if ascending { v } else { -v }, i));
                prop_assert_eq!(values, expected.iter().map(|p| p.0).collect::<Vec<_>>());
                prop_assert_eq!(indices, expected.iter().map(|p| p.1).collect::<Vec<_>>());
            }
        }
    }
}
