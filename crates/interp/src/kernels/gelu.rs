//! `gelu`.

use super::build::COSTLY;
use super::float::{Float, with_float};
use super::unary::map;
use crate::call::{Call, Outputs};
use crate::error::KernelError;

/// `gelu`: `x * Phi(x)` exactly, or by one of two approximations.
pub(crate) fn gelu(call: &Call<'_>) -> Outputs {
    let x = call.tensor("x")?.data;
    let mode = call.string("mode")?;
    let y = with_float!("x", x, T => match mode.as_deref().unwrap_or("EXACT") {
        "EXACT" => map::<T, T>(&x, COSTLY, T::gelu),
        "TANH_APPROXIMATION" => map::<T, T>(&x, COSTLY, T::gelu_tanh),
        "SIGMOID_APPROXIMATION" => map::<T, T>(&x, COSTLY, T::gelu_sigmoid),
        other => Err(KernelError::param(
            "mode",
            format!("{other:?} is none of EXACT, TANH_APPROXIMATION, SIGMOID_APPROXIMATION"),
        )),
    })?;
    call.one(y)
}
