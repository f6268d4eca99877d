//! `conv_quantized`, an experiment of iOS 15: a convolution whose weight is
//! bytes, `weight * quant_scale + quant_bias` as a number.

use candle_core::{DType, Tensor};

use super::check::{Result, bad, need};
use super::conv;
use crate::call::{Call, Outputs};
use crate::error::KernelError;

pub(crate) fn conv_quantized(call: &Call<'_>) -> Outputs {
    let kind = need("quantization_type", call.string("quantization_type")?)?;
    if kind != "linear" {
        // The operation has no parameter that could hold a table.
        return Err(KernelError::Unsupported(format!(
            "`conv_quantized` with quantization_type {kind:?}"
        )));
    }
    let weight = call.tensor("weight")?.data;
    let nbits = call.int("nbits")?.unwrap_or(8);
    if !(1..=8).contains(&nbits) {
        return Err(bad("nbits", format_args!("{nbits} is outside of 1..=8")));
    }
    // In double precision: one rounding, to the type that `x` is held in.
    let codes = weight.to_dtype(DType::F64)?;
    if let Some(code) = largest(&codes)?.filter(|&v| v >= (1u32 << nbits) as f64) {
        return Err(bad("weight", format_args!("holds {code}, above {nbits} bits")));
    }
    let scaled = codes.broadcast_mul(&per_channel(call, "quant_scale", &codes)?)?;
    let shifted = scaled.broadcast_add(&per_channel(call, "quant_bias", &codes)?)?;
    conv::with_weight(call, shifted)
}

fn largest(codes: &Tensor) -> Result<Option<f64>> {
    let all: Vec<f64> = codes.flatten_all()?.to_vec1()?;
    Ok(all.into_iter().reduce(f64::max))
}

/// One number for all, or one for each output channel.
fn per_channel(call: &Call<'_>, param: &str, weight: &Tensor) -> Result<Tensor> {
    let numbers = call.tensor(param)?.data.to_dtype(DType::F64)?.flatten_all()?;
    let count = numbers.elem_count();
    if count != 1 && weight.dims().first() != Some(&count) {
        return Err(bad(
            param,
            format_args!("has {count} elements for a weight of {:?}", weight.dims()),
        ));
    }
    let mut dims = vec![1; weight.rank().max(1)];
    dims[0] = count;
    Ok(numbers.reshape(dims)?)
}
