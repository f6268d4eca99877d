//! `gelu`.

use candle_core::{Device, Tensor};

use super::{layout, simd, vmath};
use crate::call::{Call, Outputs};
use crate::error::KernelError;

/// `gelu`: `x * Phi(x)` exactly, or by one of two approximations.
pub(crate) fn gelu(call: &Call<'_>) -> Outputs {
    let x = call.tensor("x")?.data;
    let mode = call.string("mode")?;
    let y = match mode.as_deref().unwrap_or("EXACT") {
        "EXACT" => mapped(&x, vmath::gelu, gelu_f64),
        "TANH_APPROXIMATION" => mapped(&x, vmath::gelu_tanh, |x| {
            let inner = std::f64::consts::FRAC_2_PI.sqrt() * (x + 0.044715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        }),
        "SIGMOID_APPROXIMATION" => {
            mapped(&x, vmath::gelu_sigmoid, |x| x / (1.0 + (-1.702 * x).exp()))
        }
        other => {
            return Err(KernelError::param(
                "mode",
                format!("{other:?} is none of EXACT, TANH_APPROXIMATION, SIGMOID_APPROXIMATION"),
            ));
        }
    }?;
    call.one(y)
}

fn gelu_f64(x: f64) -> f64 {
    0.5 * x * (1.0 + candle_core::cpu::erf::erf_f64(x * std::f64::consts::FRAC_1_SQRT_2))
}

fn mapped(
    x: &Tensor,
    single: impl Fn(f32) -> f32 + Sync,
    double: impl Fn(f64) -> f64 + Sync,
) -> Result<Tensor, KernelError> {
    use candle_core::DType;
    let y = match x.dtype() {
        DType::F32 => {
            let y = simd::map(&layout::elements::<f32>(x)?, single);
            Tensor::from_vec(y, x.dims(), &Device::Cpu)
        }
        DType::F64 => {
            let y = simd::map(&layout::elements::<f64>(x)?, double);
            Tensor::from_vec(y, x.dims(), &Device::Cpu)
        }
        other => {
            return Err(KernelError::param(
                "x",
                format!("must be of a float type, but is held as {other:?}"),
            ));
        }
    };
    Ok(y?)
}
