//! The two float types that values are held in, for kernels written once for
//! both.
//!
//! For f32 the functions that hot models call come from [`super::vmath`], which
//! vectorises. The rest is computed in f64 and rounded: the single-precision
//! functions of C libraries differ by several units in the last place. For f64
//! all are the standard library's.

use super::build::Element;
use super::check::Result;
use super::{layout, vmath};
use crate::call::Call;
use crate::error::KernelError;

macro_rules! declare {
    (
        exact: $($name:ident),*;
        rounded: $($precise:ident),*;
        vectorised: $($fast:ident = $double:expr),* $(,)?
    ) => {
        /// f32 or f64.
        pub(crate) trait Float: Element {
            /// Negative infinity.
            const LOWEST: Self;
            $(fn $name(self) -> Self;)*
            $(fn $precise(self) -> Self;)*
            $(fn $fast(self) -> Self;)*
        }

        impl Float for f64 {
            const LOWEST: Self = f64::NEG_INFINITY;
            $(#[inline(always)] fn $name(self) -> Self { f64::$name(self) })*
            $(fn $precise(self) -> Self { f64::$precise(self) })*
            $(fn $fast(self) -> Self { $double(self) })*
        }

        impl Float for f32 {
            const LOWEST: Self = f32::NEG_INFINITY;
            $(#[inline(always)] fn $name(self) -> Self { f32::$name(self) })*
            $(fn $precise(self) -> Self { f64::$precise(self.into()) as f32 })*
            $(#[inline(always)] fn $fast(self) -> Self { vmath::$fast(self) })*
        }
    };
}
declare!(
    exact: abs, ceil, floor, round_ties_even, sqrt;
    rounded: acos, asin, atan, atanh, cos, cosh, exp_m1, sin, sinh, tan;
    vectorised:
        exp = f64::exp,
        exp2 = f64::exp2,
        ln = f64::ln,
        tanh = f64::tanh,
        erf = candle_core::cpu::erf::erf_f64,
        sigmoid = double::sigmoid,
        silu = double::silu,
        softplus = double::softplus,
        gelu = double::gelu,
        gelu_tanh = double::gelu_tanh,
        gelu_sigmoid = double::gelu_sigmoid,
);

/// The functions of f64 that the standard library does not have; see
/// [`super::vmath`] for what they are.
mod double {
    use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI};

    pub(super) fn sigmoid(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    pub(super) fn silu(x: f64) -> f64 {
        x * sigmoid(x)
    }

    /// Neither overflows nor loses small values.
    pub(super) fn softplus(x: f64) -> f64 {
        let above = if x < 0.0 { 0.0 } else { x };
        above + (-x.abs()).exp().ln_1p()
    }

    pub(super) fn gelu(x: f64) -> f64 {
        0.5 * x * (1.0 + candle_core::cpu::erf::erf_f64(x * FRAC_1_SQRT_2))
    }

    pub(super) fn gelu_tanh(x: f64) -> f64 {
        let inner = FRAC_2_PI.sqrt() * (x + 0.044715 * x * x * x);
        0.5 * x * (1.0 + inner.tanh())
    }

    pub(super) fn gelu_sigmoid(x: f64) -> f64 {
        x / (1.0 + (-1.702 * x).exp())
    }
}

/// Runs `$body` with `$t` standing for the float type that `$tensor` is held
/// in; for another type, an error that names parameter `$param`.
macro_rules! with_float {
    ($param:expr, $tensor:expr, $t:ident => $body:expr) => {
        match $tensor.dtype() {
            candle_core::DType::F32 => {
                type $t = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $t = f64;
                $body
            }
            other => Err($crate::error::KernelError::param(
                $param,
                format!("must be of a float type, but is held as {other:?}"),
            )),
        }
    };
}
pub(crate) use with_float;

/// The elements of a parameter that need not be given, of shape `dims`, as `T`
/// (a parameter may be of another float type than the operand).
///
/// # Errors
/// It has another shape or is no tensor of numbers.
pub(crate) fn given<T: Float>(
    call: &Call<'_>,
    param: &str,
    dims: &[usize],
) -> Result<Option<Vec<T>>> {
    let Some(tensor) = call.opt_tensor(param)? else {
        return Ok(None);
    };
    if tensor.dims() != dims {
        return Err(KernelError::param(
            param,
            format!("has shape {:?}, expected {dims:?}", tensor.dims()),
        ));
    }
    let data = tensor.data.to_dtype(T::DTYPE)?;
    layout::to_vec(&data).map(Some)
}
