//! `non_zero`.

use candle_core::Tensor;

use super::build::{Element, tensor, with_element};
use super::check::{Result, bad, times};
use super::layout::elements as elements_of;
use crate::call::{Call, Outputs};

/// The indices of elements that are not zero, a row each, in row-major order.
/// NaN is not zero.
pub(crate) fn non_zero(call: &Call<'_>) -> Outputs {
    call.one(indices(&call.tensor("x")?.data)?)
}

fn indices(x: &Tensor) -> Result<Tensor> {
    with_element!(x, T => indices_of::<T>(x))
}

fn indices_of<T: Element>(x: &Tensor) -> Result<Tensor> {
    let dims = x.dims();
    if dims.iter().any(|&d| i32::try_from(d).is_err()) {
        return Err(bad("x", format_args!("an index into {dims:?} is no int32")));
    }
    let data = elements_of::<T>(x)?;
    let found: Vec<usize> = (0..data.len()).filter(|&i| data[i] != T::ZERO).collect();
    let mut out = vec![0i32; times("x", found.len(), dims.len())?];
    // A scalar has no indices: rows of width 0.
    for (row, mut at) in out.chunks_exact_mut(dims.len().max(1)).zip(&found).map(|(r, &f)| (r, f)) {
        for (index, &dim) in row.iter_mut().zip(dims).rev() {
            *index = (at % dim) as i32;
            at /= dim;
        }
    }
    tensor(out, &[found.len(), dims.len()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn rows_are_indices_in_order() {
        let x = Tensor::new(&[[0f32, f32::NAN, -0.0], [2.0, 0.0, 1e-40]], &Device::Cpu).unwrap();
        let rows = indices(&x).unwrap().to_vec2::<i32>().unwrap();
        assert_eq!(rows, [[0, 1], [1, 0], [1, 2]]);
        let rows = indices(&x.t().unwrap()).unwrap().to_vec2::<i32>().unwrap();
        assert_eq!(rows, [[0, 1], [1, 0], [2, 1]]);
        for (value, expected) in [(1u8, [1, 0]), (0, [0, 0])] {
            let scalar = Tensor::new(value, &Device::Cpu).unwrap();
            assert_eq!(indices(&scalar).unwrap().dims(), expected);
        }
        let none = Tensor::zeros((0, 3), DType::I32, &Device::Cpu).unwrap();
        assert_eq!(indices(&none).unwrap().dims(), [0, 2]);
    }
}
