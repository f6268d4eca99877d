//! `select`.

use candle_core::{DType, Tensor};

use super::build::{CHEAP, Element, fill, tensor, with_element};
use super::check::{Result, bad, broadcast, elements};
use super::layout::{View, walkable};
use super::runs::{Place, RUN, Runs, run_of};
use crate::call::{Call, Outputs};

pub(crate) fn select(call: &Call<'_>) -> Outputs {
    let (a, b) = (call.tensor("a")?, call.tensor("b")?);
    call.one(selected(&call.tensor("cond")?.data, &a.data, &b.data)?)
}

/// The elements of `a` where `cond` is true, else of `b`, broadcast to each
/// other; `cond` is broadcast to them.
///
/// # Errors
/// When the shapes do not broadcast, `cond` has more elements than the other
/// two, `cond` is not a bool or `a` and `b` differ in type.
pub(crate) fn selected(cond: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if cond.dtype() != DType::U8 {
        return Err(bad(
            "cond",
            format_args!("is held as {:?}, expected a bool", cond.dtype()),
        ));
    }
    if a.dtype() != b.dtype() {
        return Err(bad(
            "b",
            format_args!("is held as {:?} but a as {:?}", b.dtype(), a.dtype()),
        ));
    }
    let dims = broadcast("b", a.dims(), b.dims())?;
    if broadcast("cond", &dims, cond.dims())? != dims {
        return Err(bad(
            "cond",
            format_args!(
                "has the shape {:?}, which is not broadcast to {dims:?}, that of `a` and `b`",
                cond.dims()
            ),
        ));
    }
    with_element!(a, T => selected_of::<T>(cond, a, b, &dims))
}

fn selected_of<T: Element>(
    cond: &Tensor,
    a: &Tensor,
    b: &Tensor,
    dims: &[usize],
) -> Result<Tensor> {
    let (cond, a, b) = (walkable(cond)?, walkable(a)?, walkable(b)?);
    let runs = Runs::new(
        dims,
        [
            &Place::broadcast(&cond, dims),
            &Place::broadcast(&a, dims),
            &Place::broadcast(&b, dims),
        ],
    );
    let steps = runs.steps();
    let (x, y) = (View::<T>::new(&a)?, View::<T>::new(&b)?);
    let c = View::<u8>::new(&cond)?;
    let (c, x, y) = (&*c, &*x, &*y);
    let data = fill(elements("cond", dims)?, CHEAP, &|start, out| {
        let [mut first, mut second] = [[T::ZERO; RUN]; 2];
        runs.pieces(start, out, |out, [i, j, k], part| {
            let x = run_of(x, steps[1], j, part.clone(), &mut first);
            let y = run_of(y, steps[2], k, part.clone(), &mut second);
            if steps[0] == 0 {
                // One condition for the run: it is a run of `a` or `b`.
                out.copy_from_slice(if c[i] != 0 { x } else { y });
                return;
            }
            let c = &c[i + part.start..];
            for (((out, &c), &x), &y) in out.iter_mut().zip(c).zip(x).zip(y) {
                *out = if c != 0 { x } else { y };
            }
        });
    })?;
    tensor(data, dims)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn selects_like_nested_loops(
            dims in proptest::collection::vec(1usize..4, 0..4),
            ones in proptest::collection::vec(proptest::array::uniform3(any::<bool>()), 4),
            drops in proptest::array::uniform3(0usize..3),
        ) {
            let shape = |k: usize| -> Vec<usize> {
                dims.iter().zip(&ones).map(|(&d, one)| if one[k] { 1 } else { d })
                    .skip(drops[k].min(dims.len())).collect()
            };
            let make = |shape: &[usize], salt: i64| {
                let n: usize = shape.iter().product();
                Tensor::from_vec((0..n as i64).map(|i| i * salt).collect(), shape, &Device::Cpu).unwrap()
            };
            let (c, a, b) = (shape(0), shape(1), shape(2));
            let n: usize = c.iter().product();
            let cond = Tensor::from_vec((0..n).map(|i| (i * 7 % 3 == 1) as u8).collect(), &c[..], &Device::Cpu).unwrap();
            let (a, b) = (make(&a, 5), make(&b, -3));
            let given = broadcast("b", a.dims(), b.dims()).unwrap();
            let grows = broadcast("cond", &given, cond.dims()).unwrap() != given;
            let out = selected(&cond, &a, &b);
            prop_assert_eq!(out.is_err(), grows);
            let Ok(out) = out else { return Ok(()) };
            prop_assert_eq!(out.dims(), &given[..]);
            let full = |t: &Tensor| t.broadcast_as(out.dims()).unwrap().contiguous().unwrap().flatten_all().unwrap();
            let (c, a, b) = (full(&cond).to_vec1::<u8>().unwrap(), full(&a).to_vec1::<i64>().unwrap(), full(&b).to_vec1::<i64>().unwrap());
            let expected: Vec<i64> = (0..c.len()).map(|i| if c[i] != 0 { a[i] } else { b[i] }).collect();
            prop_assert_eq!(out.flatten_all().unwrap().to_vec1::<i64>().unwrap(), expected);
        }
    }

    #[test]
    fn operands_that_do_not_fit_are_errors() {
        let cond = Tensor::new(&[1u8, 0], &Device::Cpu).unwrap();
        let a = Tensor::new(&[1f32, 2.0], &Device::Cpu).unwrap();
        let b = Tensor::new(&[1i32, 2], &Device::Cpu).unwrap();
        assert!(selected(&cond, &a, &b).is_err());
        assert!(selected(&a, &a, &a).is_err());
        let c = Tensor::new(&[1f32, 2.0, 3.0], &Device::Cpu).unwrap();
        assert!(selected(&cond, &a, &c).is_err());
    }
}
