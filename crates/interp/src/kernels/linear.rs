//! `linear`, `matmul` and `einsum`.

use candle_core::{DType, Tensor};

use super::check::{Result, broadcast};
use super::gemm::{self, Bias, Factor, Product, Strided};
use super::layout::{self, Elements, Odometer, View};
use crate::call::{Call, Outputs};
use crate::error::KernelError;

pub(crate) fn linear(call: &Call<'_>) -> Outputs {
    same_kind(call, "weight")?;
    let x = call.tensor("x")?.data;
    let weight = call.tensor("weight")?.data;
    let bias = call.opt_tensor("bias")?.map(|t| t.data);
    if weight.rank() != 2 || x.rank() == 0 {
        return Err(KernelError::mismatch(format!(
            "`x` of shape {:?} and `weight` of shape {:?}, but they must be [.., D_in] and \
             [D_out, D_in]",
            x.dims(),
            weight.dims()
        )));
    }
    if let Some(bias) = &bias
        && bias.dims() != &weight.dims()[..1]
    {
        return Err(KernelError::param(
            "bias",
            format!(
                "has shape {:?}, but `weight` has {} rows",
                bias.dims(),
                weight.dims()[0]
            ),
        ));
    }
    call.one(multiply(&x, &weight.t()?, bias.as_ref())?)
}

pub(crate) fn matmul(call: &Call<'_>) -> Outputs {
    let transposed = |operand: &str, flag: &str| -> Result<Tensor> {
        let t = call.tensor(operand)?.data;
        let rank = t.rank();
        Ok(match call.bool(flag)?.unwrap_or(false) {
            true if rank >= 2 => t.transpose(rank - 2, rank - 1)?,
            _ => t,
        })
    };
    same_kind(call, "y")?;
    let x = transposed("x", "transpose_x")?;
    let y = transposed("y", "transpose_y")?;
    if x.rank() == 0 || y.rank() == 0 {
        return Err(KernelError::mismatch("`x` and `y` must not be scalars"));
    }
    let row = x.rank() == 1;
    let column = y.rank() == 1;
    let x = if row { x.unsqueeze(0)? } else { x };
    let y = if column { y.unsqueeze(1)? } else { y };
    let mut out = multiply(&x, &y, None)?;
    if column {
        out = out.squeeze(out.rank() - 1)?;
    }
    if row {
        out = out.squeeze(out.rank() - if column { 1 } else { 2 })?;
    }
    call.one(out)
}

/// Checks that `x` and another operand are both floats or both integers, or
/// that the result is a float (from iOS 17 on, a constant may be of another
/// type than the other operand, whose type the result has). What an integer
/// result of a float would be, no specification says.
fn same_kind(call: &Call<'_>, other: &str) -> Result<()> {
    let (x, y) = (call.tensor("x")?.dtype, call.tensor(other)?.dtype);
    let result = call.output_dtype(0)?;
    if x.is_float() == y.is_float() || result.is_float() {
        return Ok(());
    }
    Err(KernelError::mismatch(format!(
        "`x` is {x} and `{other}` is {y}: a product of them that is {result} is not defined"
    )))
}

pub(crate) fn einsum(call: &Call<'_>) -> Outputs {
    let values = call.tensors("values")?;
    let equation = call.string("equation")?.unwrap_or_default();
    let [x, y] = &values[..] else {
        return Err(KernelError::param(
            "values",
            format!("has {} tensors, but must have 2", values.len()),
        ));
    };
    // The product over `w` for each `n` and `h`: "nchw,nwhu->nchu", or without
    // `n`, whatever the letters are.
    let letters: String = equation.split_whitespace().collect();
    let mut seen = Vec::new();
    let canonical: String = letters
        .chars()
        .map(|c| {
            if !c.is_alphabetic() {
                return c;
            }
            let index = seen.iter().position(|&s| s == c).unwrap_or_else(|| {
                seen.push(c);
                seen.len() - 1
            });
            char::from(b'a' + index.min(25) as u8)
        })
        .collect();
    let order: &[usize] = match canonical.as_str() {
        "abcd,adce->abce" => &[0, 2, 1, 3],
        "abc,cbd->abd" => &[1, 0, 2],
        _ => {
            return Err(KernelError::Unsupported(format!(
                "the equation `{equation}`; MIL defines `nchw,nwhu->nchu` and `chw,whr->chr`"
            )));
        }
    };
    if x.dims().len() != order.len() || y.dims().len() != order.len() {
        return Err(KernelError::mismatch(format!(
            "operands of shapes {:?} and {:?} for the equation `{equation}`",
            x.dims(),
            y.dims()
        )));
    }
    let product = multiply(&x.data.permute(order)?, &y.data.permute(order)?, None)?;
    call.one(product.permute(order)?)
}

/// `x * y + bias` for `x` [.., m, k] (or [k]) and `y` [.., k, n], batches
/// broadcast; the bias has one number a column of `y`. Any strides. Of an
/// integer and a float operand (iOS 17), the product is of the float's type.
pub(crate) fn multiply(x: &Tensor, y: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let wide = |t: &Tensor, dtype| -> Result<Tensor> {
        Ok(if t.dtype() == dtype {
            t.clone()
        } else {
            t.to_dtype(dtype)?
        })
    };
    let product = match (x.dtype().is_float(), y.dtype().is_float()) {
        (false, true) => y.dtype(),
        _ => x.dtype(),
    };
    match product {
        dtype @ DType::F32 => {
            let bias = bias.map(|b| wide(b, dtype)).transpose()?;
            typed::<f32>(&wide(x, dtype)?, &wide(y, dtype)?, bias.as_ref())
        }
        dtype @ DType::F64 => {
            let bias = bias.map(|b| wide(b, dtype)).transpose()?;
            typed::<f64>(&wide(x, dtype)?, &wide(y, dtype)?, bias.as_ref())
        }
        dtype => {
            // Sums of 32-bit integers are exact in f64 up to 2^53; beyond, an
            // integer result would have overflowed anyway.
            let bias = bias.map(|b| wide(b, DType::F64)).transpose()?;
            let sum = typed::<f64>(&wide(x, DType::F64)?, &wide(y, DType::F64)?, bias.as_ref())?;
            Ok(sum.to_dtype(dtype)?)
        }
    }
}

fn typed<T: Factor>(x: &Tensor, y: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (rx, ry) = (x.rank(), y.rank());
    let lifted;
    let vector = rx == 1;
    let x = if vector {
        lifted = x.unsqueeze(0)?;
        &lifted
    } else {
        x
    };
    let rx = rx.max(2);
    let (m, k) = (x.dims()[rx - 2], x.dims()[rx - 1]);
    let (depth, n) = (y.dims()[ry - 2], y.dims()[ry - 1]);
    if k != depth {
        return Err(KernelError::mismatch(format!(
            "a product of shapes {:?} and {:?}",
            x.dims(),
            y.dims()
        )));
    }
    let batch = broadcast("y", &x.dims()[..rx - 2], &y.dims()[..ry - 2])?;
    let mut dims = batch.clone();
    dims.extend([m, n]);
    let mut out = layout::zeros::<T>(&dims)?;
    let bias = bias.map(layout::elements::<T>).transpose()?;
    let bias = bias.as_deref();
    if m * n > 0 && batch.iter().product::<usize>() > 0 {
        let x = Operand::new(View::new(x)?, &batch);
        let y = Operand::new(View::new(y)?, &batch);
        products(x, y, &batch, (m, k, n), bias, &mut out)?;
    }
    if vector {
        dims.remove(dims.len() - 2);
    }
    Ok(Tensor::from_vec(out, dims, &candle_core::Device::Cpu)?)
}

/// A batch of matrices in memory.
struct Operand<'a, T> {
    data: Elements<'a, T>,
    /// Distances between matrices along the dimensions of the batch.
    batch: Vec<usize>,
    row: usize,
    col: usize,
}

impl<'a, T: Factor> Operand<'a, T> {
    fn new(view: View<'a, T>, batch: &[usize]) -> Self {
        let rank = view.dims.len();
        let own = rank - 2;
        let mut strides = vec![0; batch.len() - own];
        let sizes = view.dims[..own].iter().zip(&view.strides);
        strides.extend(sizes.map(|(&d, &s)| if d == 1 { 0 } else { s }));
        Self {
            batch: strides,
            row: view.strides[rank - 2],
            col: view.strides[rank - 1],
            data: Elements::Place(view),
        }
    }

    /// Makes rows contiguous, for all batches.
    fn with_contiguous_rows(self, batch: &[usize], rows: usize, cols: usize) -> Result<Self> {
        let mut dims = batch.to_vec();
        // A broadcast matrix is copied once.
        for (d, &s) in dims.iter_mut().zip(&self.batch) {
            *d = if s == 0 { 1 } else { *d };
        }
        dims.extend([rows, cols]);
        let mut strides = self.batch.clone();
        strides.extend([self.row, self.col]);
        let copy = layout::gather(&self.data, &dims, &strides)?;
        let mut step = rows * cols;
        let mut batch = self.batch;
        for (s, &d) in batch.iter_mut().zip(&dims).rev() {
            *s = if d == 1 { 0 } else { step };
            step *= d;
        }
        Ok(Self {
            data: Elements::Copy(copy),
            batch,
            row: cols,
            col: 1,
        })
    }
}

/// All products of a batch, whose results follow one another in `out`.
fn products<T: Factor>(
    mut x: Operand<'_, T>,
    y: Operand<'_, T>,
    batch: &[usize],
    (m, k, n): (usize, usize, usize),
    bias: Option<&[T]>,
    out: &mut [T],
) -> Result<()> {
    // One of the two is read along `k`, row by row, and must be contiguous
    // there; the other is packed and may have any strides.
    let x_fits = x.col == 1 || k == 1;
    let y_fits = y.row == 1 || k == 1;
    // Where both fit, either is packed against the grain, and the result of
    // packing `x` is written against it too, once for every few hundred `k`.
    let packing_x = k.saturating_add(n.saturating_mul(k.div_ceil(512))).saturating_mul(m);
    let transposed = y_fits && (!x_fits || packing_x < k.saturating_mul(n));
    if !x_fits && !transposed {
        x = x.with_contiguous_rows(batch, m, k)?;
    }
    // One matrix for all batches, whose rows lie evenly: one product.
    let mut m = m;
    let mut batch = batch;
    if y.batch.iter().all(|&s| s == 0) && batch.iter().product::<usize>() > 1 {
        let mut dims = batch.to_vec();
        dims.push(m);
        let mut strides = x.batch.clone();
        strides.push(x.row);
        let (dims, strides) = layout::merged(&dims, &strides);
        if let ([rows], [stride]) = (&dims[..], &strides[..]) {
            (m, x.row, batch) = (*rows, *stride, &[]);
            x.batch.clear();
        }
    }
    let y_batch = if batch.is_empty() { &[][..] } else { &y.batch };
    let mut position = Odometer::at(batch, 0);
    let mut list = Vec::new();
    for out in out.chunks_exact_mut(m * n) {
        let x_data = &x.data[position.offset(&x.batch)..];
        let y_data = &y.data[position.offset(y_batch)..];
        position.next();
        let bias = |rows| match bias {
            None => Bias::None,
            Some(b) if rows => Bias::Rows(b),
            Some(b) => Bias::Cols(b),
        };
        list.push(match transposed {
            false => Product {
                m,
                k,
                n,
                a: x_data,
                a_stride: x.row,
                b: Strided {
                    data: y_data,
                    row: y.row,
                    col: y.col,
                },
                bias: bias(false),
                out,
                transposed: false,
            },
            true => Product {
                m: n,
                k,
                n: m,
                a: y_data,
                a_stride: y.col,
                b: Strided {
                    data: x_data,
                    row: x.col,
                    col: x.row,
                },
                bias: bias(true),
                out,
                transposed: true,
            },
        });
    }
    gemm::run(&mut list);
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use candle_core::{D, Device};
    use proptest::prelude::*;

    /// Numbers whose products and sums of a few thousand are exact.
    pub(crate) fn numbers(dims: &[usize], seed: u64) -> Tensor {
        let mut state = seed | 1;
        let data: Vec<f32> = (0..dims.iter().product())
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                // Eighths: every sum is exact.
                ((state >> 60) as f32 - 8.0) / 8.0
            })
            .collect();
        Tensor::from_vec(data, dims, &Device::Cpu).unwrap()
    }

    /// By definition, in f64.
    fn naive(x: &Tensor, y: &Tensor, bias: Option<&Tensor>) -> Vec<f32> {
        let x = x.to_dtype(DType::F64).unwrap();
        let y = y.to_dtype(DType::F64).unwrap();
        let dims = broadcast("y", &x.dims()[..x.rank() - 2], &y.dims()[..y.rank() - 2]).unwrap();
        let x = x.broadcast_left(()).unwrap();
        let (m, k) = (x.dim(D::Minus2).unwrap(), x.dim(D::Minus1).unwrap());
        let n = y.dim(D::Minus1).unwrap();
        let full = |t: &Tensor, a, b| {
            let mut d = dims.clone();
            d.extend([a, b]);
            let t = t.broadcast_as(d).unwrap().flatten_all().unwrap();
            t.to_vec1::<f64>().unwrap()
        };
        let (x, y) = (full(&x, m, k), full(&y, k, n));
        let bias = bias.map(|b| b.to_vec1::<f32>().unwrap());
        let mut out = Vec::new();
        for b in 0..dims.iter().product() {
            for i in 0..m {
                for j in 0..n {
                    let mut sum = bias.as_ref().map_or(0.0, |b| f64::from(b[j]));
                    for p in 0..k {
                        sum += x[(b * m + i) * k + p] * y[(b * k + p) * n + j];
                    }
                    out.push(sum as f32);
                }
            }
        }
        out
    }

    fn check(x: &Tensor, y: &Tensor, bias: Option<&Tensor>) {
        let got = multiply(x, y, bias).unwrap();
        let want = naive(x, y, bias);
        assert_eq!(got.flatten_all().unwrap().to_vec1::<f32>().unwrap(), want);
        let wide = multiply(&x.to_dtype(DType::F64).unwrap(), y, bias).unwrap();
        let wide = wide.to_dtype(DType::F32).unwrap();
        assert_eq!(wide.flatten_all().unwrap().to_vec1::<f32>().unwrap(), want);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn any_strides_match_the_definition(
            (m, k, n) in (0usize..70, 0usize..60, 0usize..120),
            batch in prop::collection::vec(1usize..4, 0..3),
            squeezed in (any::<bool>(), any::<bool>()),
            turned in (any::<bool>(), any::<bool>()),
            biased in any::<bool>(),
            seed in any::<u64>(),
        ) {
            let make = |rows: usize, cols: usize, one: bool, turned: bool, seed| {
                let mut dims: Vec<usize> = batch.iter().map(|&b| if one { 1 } else { b }).collect();
                if turned {
                    dims.extend([cols, rows]);
                    numbers(&dims, seed).transpose(D::Minus1, D::Minus2).unwrap()
                } else {
                    dims.extend([rows, cols]);
                    numbers(&dims, seed)
                }
            };
            let x = make(m, k, squeezed.0, turned.0, seed);
            let y = make(k, n, squeezed.1, turned.1, seed.rotate_left(9));
            let bias = biased.then(|| numbers(&[n], seed.rotate_left(21)));
            check(&x, &y, bias.as_ref());
        }
    }

    #[test]
    fn large_products_use_all_paths() {
        // Several blocks of columns and of depth, on several threads.
        for (m, k, n) in [
            (700, 30, 500),
            (9, 3000, 1000),
            (1000, 1100, 9),
            (500, 600, 700),
        ] {
            let x = numbers(&[m, k], 3);
            let y = numbers(&[k, n], 5);
            let exact = x.matmul(&y).unwrap().flatten_all().unwrap();
            let exact = exact.to_vec1::<f32>().unwrap();
            for (x, y) in [
                (x.clone(), y.clone()),
                (x.clone(), y.t().unwrap().contiguous().unwrap().t().unwrap()),
                (x.t().unwrap().contiguous().unwrap().t().unwrap(), y.clone()),
            ] {
                let got = multiply(&x, &y, None).unwrap().flatten_all().unwrap();
                assert_eq!(got.to_vec1::<f32>().unwrap(), exact);
            }
        }
    }

    #[test]
    fn broadcast_views_are_operands() {
        let x = numbers(&[2, 1, 5, 7], 1)
            .broadcast_as((2, 3, 5, 7))
            .unwrap();
        let y = numbers(&[3, 7, 4], 2);
        check(&x, &y, None);
        let heads = numbers(&[2, 9, 3, 8], 4).permute((0, 2, 1, 3)).unwrap();
        check(&heads, &heads.transpose(2, 3).unwrap(), None);
        let rows = numbers(&[2, 9, 8], 4).narrow(1, 2, 5).unwrap();
        check(&rows, &numbers(&[8, 30], 6), Some(&numbers(&[30], 8)));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let x = numbers(&[2, 3], 1);
        assert!(multiply(&x, &numbers(&[4, 5], 1), None).is_err());
        let batch = numbers(&[2, 2, 3], 1);
        assert!(multiply(&batch, &numbers(&[3, 3, 4], 1), None).is_err());
        let ints = Tensor::new(&[[1i32, 2], [3, 4]], &Device::Cpu).unwrap();
        let product = multiply(&ints, &ints, None).unwrap();
        assert_eq!(product.to_vec2::<i32>().unwrap(), [[7, 10], [15, 22]]);
    }
}
