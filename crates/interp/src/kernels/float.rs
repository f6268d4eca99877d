//! The two float types that values are held in, for kernels written once for
//! both: f32 with the vectorised functions, f64 with the standard library's.

use super::layout::{self, Element};
use super::vmath;
use crate::call::Call;
use crate::error::KernelError;

/// f32 or f64.
pub(crate) trait Float: Element {
    /// Negative infinity.
    const LOWEST: Self;
    /// e^x.
    fn exp(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// `1 / (1 + e^-x)`.
    fn sigmoid(self) -> Self;
}

impl Float for f32 {
    const LOWEST: Self = f32::NEG_INFINITY;

    #[inline(always)]
    fn exp(self) -> Self {
        vmath::exp(self)
    }

    #[inline(always)]
    fn tanh(self) -> Self {
        vmath::tanh(self)
    }

    #[inline(always)]
    fn sigmoid(self) -> Self {
        vmath::sigmoid(self)
    }
}

impl Float for f64 {
    const LOWEST: Self = f64::NEG_INFINITY;

    fn exp(self) -> Self {
        f64::exp(self)
    }

    fn tanh(self) -> Self {
        f64::tanh(self)
    }

    fn sigmoid(self) -> Self {
        1.0 / (1.0 + f64::exp(-self))
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
) -> Result<Option<Vec<T>>, KernelError> {
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
    Ok(Some(layout::elements::<T>(&data)?.to_vec()))
}
