//! `quantize` and `dequantize`.

use candle_core::{DType, Tensor};
use milwright_ir::DataType;

use super::build::tensor;
use super::check::{Result, axis as checked_axis, bad, need};
use super::float::Float;
use super::layout::{elements as elements_of, integers_of, to_vec};
use crate::call::{Call, Outputs};

/// `clamp(round(input / scale) + zero_point)`; a half rounds to the even
/// neighbour.
pub(crate) fn quantize(call: &Call<'_>) -> Outputs {
    let input = call.tensor("input")?.data;
    let along = Along::read(call, &input)?;
    let scale = call.tensor("scale")?.data;
    let dtype = call.output_dtype(0)?;
    let (low, high) = match dtype {
        DataType::Int8 => (-128, 127),
        DataType::UInt8 => (0, 255),
        other => {
            return Err(bad(
                "output_dtype",
                format_args!("{other}, but must be int8 or uint8"),
            ));
        }
    };
    let zero = along.zeros(call)?;
    let codes = match input.dtype() {
        DType::F32 => codes::<f32>(&input, &scale, &zero, &along, low, high)?,
        DType::F64 => codes::<f64>(&input, &scale, &zero, &along, low, high)?,
        other => return Err(bad("input", format_args!("is held as {other:?}"))),
    };
    let dims = input.dims();
    call.one(match dtype {
        DataType::UInt8 => tensor(codes.into_iter().map(|v| v as u8).collect(), dims)?,
        _ => tensor(codes, dims)?,
    })
}

fn codes<T: Float>(
    input: &Tensor,
    scale: &Tensor,
    zero: &[i64],
    along: &Along,
    low: i32,
    high: i32,
) -> Result<Vec<i32>> {
    let scale = along.scales::<T>(scale)?;
    if let Some(zero) = scale.iter().find(|v| v.to_f64() == 0.0) {
        return Err(bad("scale", format_args!("{} divides by zero", zero.to_f64())));
    }
    let data = elements_of::<T>(input)?;
    Ok(data
        .iter()
        .enumerate()
        .map(|(i, &v)| {
            let at = along.of(i);
            let steps = (v / scale[at.min(scale.len() - 1)]).to_f64().round_ties_even();
            // NaN becomes 0, as in a cast.
            (steps + zero[at.min(zero.len() - 1)] as f64).clamp(low.into(), high.into()) as i32
        })
        .collect())
}

/// `scale * (input - zero_point)`.
pub(crate) fn dequantize(call: &Call<'_>) -> Outputs {
    let input = call.tensor("input")?.data;
    let along = Along::read(call, &input)?;
    let scale = call.tensor("scale")?.data;
    let zero = along.zeros(call)?;
    let codes = integers_of("input", &input)?;
    let dims = input.dims();
    call.one(match call.precision.float() {
        DType::F64 => tensor(values::<f64>(&codes, &scale, &zero, &along)?, dims)?,
        _ => tensor(values::<f32>(&codes, &scale, &zero, &along)?, dims)?,
    })
}

fn values<T: Float>(
    codes: &[i64],
    scale: &Tensor,
    zero: &[i64],
    along: &Along,
) -> Result<Vec<T>> {
    let scale = along.scales::<T>(scale)?;
    Ok(codes
        .iter()
        .enumerate()
        .map(|(i, &code)| {
            let at = along.of(i);
            let steps = T::from_f64((code - zero[at.min(zero.len() - 1)]) as f64);
            steps * scale[at.min(scale.len() - 1)]
        })
        .collect())
}

/// Which scale an element has.
struct Along {
    /// Number of scales; 1 for the whole tensor.
    count: usize,
    /// Elements between two positions along the axis.
    inner: usize,
}

impl Along {
    fn read(call: &Call<'_>, input: &Tensor) -> Result<Self> {
        if call.tensor("scale")?.data.rank() == 0 {
            return Ok(Self { count: 1, inner: 1 });
        }
        let axis = checked_axis("axis", need("axis", call.int("axis")?)?, input.rank())?;
        Ok(Self {
            count: input.dims()[axis],
            inner: input.dims()[axis + 1..].iter().product(),
        })
    }

    fn of(&self, element: usize) -> usize {
        element / self.inner % self.count
    }

    /// The given numbers: one, or one for each position.
    fn check(&self, param: &str, count: usize) -> Result<()> {
        if count == self.count || count == 1 {
            return Ok(());
        }
        Err(bad(
            param,
            format_args!("has {count} elements, expected {}", self.count),
        ))
    }

    fn scales<T: Float>(&self, scale: &Tensor) -> Result<Vec<T>> {
        self.check("scale", scale.elem_count())?;
        to_vec::<T>(&scale.to_dtype(T::DTYPE)?)
    }

    fn zeros(&self, call: &Call<'_>) -> Result<Vec<i64>> {
        match call.opt_tensor("zero_point")? {
            None => Ok(vec![0]),
            Some(zero) => {
                let zero = integers_of("zero_point", &zero.data)?;
                self.check("zero_point", zero.len())?;
                Ok(zero)
            }
        }
    }
}
